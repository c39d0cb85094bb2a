#!/usr/bin/python3
"""The control plane at size: simulated hosts and trainers against a real coordinator over gRPC on this machine.

control_plane_bench.py [--ranks 64,512,4096] [--slots 8] [--rounds 5] [--seed 1] [--output table|json]

For each size: time from submitting a job until every rank has joined and has read the key that rank 0 published; the same after 1 % of
the trainers are killed at once; the coordinator's CPU time and memory. Hosts, trainers and coordinator share the cores.
"""
import argparse
import json
import os
import pathlib
import select
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "integration"))
from harness import RINGMASTER, find_binary  # noqa: E402

LIMIT_S = 600


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def measure(ranks, options):
    with tempfile.TemporaryDirectory(prefix="ringmaster-size-") as folder:
        with open(f"{folder}/log", "w", encoding="utf-8") as log:
            coordinator = subprocess.Popen([RINGMASTER, "coordinator", "--listen", "127.0.0.1:0", "--state-dir", f"{folder}/state"],
                                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            wait_until_it_serves(coordinator)
            return run_cluster(pathlib.Path(folder, "state", "coordinator.address").read_text().strip(), coordinator.pid, ranks, options)
        finally:
            coordinator.terminate()
            coordinator.wait(timeout=30)


def wait_until_it_serves(coordinator):
    if not select.select([coordinator.stdout], [], [], 10)[0] or not coordinator.stdout.readline():
        raise SystemExit("control_plane_bench: the coordinator did not say within 10 s that it serves")


def run_cluster(address, pid, ranks, options):
    began = cpu_seconds(pid)
    cluster = subprocess.Popen([find_binary("tests/bench/control_plane/control_plane_cluster"), "--coordinator", address,
                                "--hosts", str(max(1, ranks // options.slots)), "--slots", str(min(ranks, options.slots)),
                                "--rounds", str(options.rounds), "--seed", str(options.seed), "--idle", "3"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if not cluster.stdout.readline().startswith("{"):
        raise SystemExit(f"control_plane_bench: {ranks} ranks: exit code {cluster.wait(timeout=LIMIT_S)}")
    idle, memory, since = cpu_seconds(pid), resident_mib(pid), time.monotonic()
    result = json.loads(cluster.stdout.readline())
    seconds = time.monotonic() - since
    result["cpu_s"] = idle - began
    result["idle_cpu_percent"] = 100 * (cpu_seconds(pid) - idle) / seconds
    result["heartbeats_per_s"] = result.pop("heartbeats") / seconds
    result["memory_mib"] = memory
    cluster.wait(timeout=LIMIT_S)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", default="64,512,4096")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    results = []
    for ranks in map(int, options.ranks.split(",")):
        results.append(measure(ranks, options))
        if options.output == "json":
            print(json.dumps(results[-1]), flush=True)
    if options.output == "json":
        return
    print("ranks  hosts  attach ms  form ms  1% lost: p50 ms  longest ms  CPU s  idle CPU %  heartbeats/s  MiB  KiB/rank")
    for one in results:
        churn = one.get("churn_ms") or [0]
        print(f"{one['ranks']:5}  {one['hosts']:5}  {one['attach_ms']:9.0f}  {one['form_ms']:7.0f}  {statistics.median(churn):15.0f}  "
              f"{max(churn):10.0f}  {one['cpu_s']:5.1f}  {one['idle_cpu_percent']:10.1f}  {one['heartbeats_per_s']:12.0f}  "
              f"{one['memory_mib']:3.0f}  {1024 * one['memory_mib'] / one['ranks']:8.0f}")


if __name__ == "__main__":
    main()
