#!/usr/bin/python3
"""How much of a slow network's line rate an all-reduce uses.

line_rate_bench.py [--hosts 2,3,4] [--mbit N] [--sizes LIST] [--seconds N] [--rounds N] [--order canonical|fastest]

Hosts are network namespaces whose links are limited in both directions (HTB); one rank runs on each. Prints for each number of hosts and size the
median of the rounds' bus bandwidth (what the busiest link must carry at the least), its share of the line rate and the range; and what plain TCP
streams from each host to each other carry in the same rounds (plain_streams.py): less than the line by the headers of packets. Needs root.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "integration"))
from harness import RINGMASTER  # noqa: E402
from netns_test import PREFIX, make_hosts, on, remove_hosts  # noqa: E402


def limit(mbit):
    """Either end of each link may send that much. A timer that is late by less than a millisecond costs nothing of it: it has bursts of 128 KiB."""
    for host in range(1, 5):
        for namespace, device in ((f"{PREFIX}-h{host}", "eth0"), (f"{PREFIX}-hub", f"v{host}")):
            tc = ["tc", "-n", namespace]
            subprocess.run([*tc, "qdisc", "add", "dev", device, "root", "handle", "1:", "htb", "default", "1"], check=True)
            subprocess.run([*tc, "class", "add", "dev", device, "parent", "1:", "classid", "1:1", "htb", "rate", f"{mbit}mbit", "quantum", "60000",
                            "burst", "128k", "cburst", "128k"], check=True)


def measure(hosts, options):
    """{bytes: GB/s}"""
    with tempfile.TemporaryDirectory() as directory:
        ranks = [
            subprocess.Popen(
                [*on(rank + 1), RINGMASTER, "bench", "collectives", "--rank", str(rank), "--ranks", str(hosts), "--rendezvous", directory,
                 "--address", f"10.77.0.{rank + 1}", "--transport", "tcp", "--sizes", options.sizes, "--seconds", str(options.seconds),
                 "--order", options.order, "--no-pin"],
                stdout=subprocess.PIPE, text=True) for rank in range(hosts)]
        try:
            outputs = [rank.communicate(timeout=300)[0] for rank in ranks]
        finally:
            for rank in ranks:
                rank.kill()
    codes = [rank.returncode for rank in ranks]
    if any(codes):
        sys.exit(f"line_rate_bench: the ranks ended with {codes}")
    rows = [json.loads(line) for line in outputs[0].splitlines()]
    if any(row["errors"] for row in rows):
        sys.exit("line_rate_bench: wrong elements")
    return {row["bytes"]: row["busbw_gbs"] for row in rows if row["in_place"]}


def plain_streams(hosts, seconds):
    """GB/s into the slowest host."""
    addresses = [f"10.77.0.{host + 1}" for host in range(hosts)]
    nodes = [
        subprocess.Popen(
            [*on(host + 1), sys.executable, pathlib.Path(__file__).with_name("plain_streams.py"), addresses[host], str(seconds),
             *(peer for peer in addresses if peer != addresses[host])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for host in range(hosts)]
    try:
        if any(node.stdout.readline() != "ready\n" for node in nodes):
            sys.exit("line_rate_bench: a host cannot be called by the others")
        for node in nodes:
            node.stdin.write("go\n")
            node.stdin.flush()
        return min(float(node.communicate(timeout=60)[0]) for node in nodes) * 1e-9 / 8
    finally:
        for node in nodes:
            node.kill()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", default="2,3,4")
    parser.add_argument("--mbit", type=int, default=1000)
    parser.add_argument("--sizes", default="4M,16M,64M")
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--order", choices=["canonical", "fastest"], default="canonical")
    options = parser.parse_args()
    counts = [int(word) for word in options.hosts.split(",")]
    results = {}
    try:
        make_hosts()
        limit(options.mbit)
        for _ in range(options.rounds):
            for hosts in counts:
                rates = {**measure(hosts, options), "streams": plain_streams(hosts, max(1.0, options.seconds))}
                for size, rate in rates.items():
                    results.setdefault((hosts, str(size)), []).append(rate * 8000 / options.mbit)
    finally:
        remove_hosts()
    print(f"{'hosts':>6} {'bytes':>12} {'Mbit/s':>9} {'of line':>8}   range of {options.rounds} rounds")
    for (hosts, size), shares in results.items():
        share = statistics.median(shares)
        print(f"{hosts:6} {size:>12} {share * options.mbit:9.0f} {share:8.3f}   {min(shares):.3f} to {max(shares):.3f}")


if __name__ == "__main__":
    main()
