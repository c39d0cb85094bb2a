#!/usr/bin/python3
"""How long a training step takes over a slow network, and how much of it is spent waiting for the other rank.

training_bench.py [--mbit N] [--steps N] [--rounds N] [--set KEY=VALUE].. [--compare DIRECTORY]

examples/char_gpt.yaml on two hosts that are network namespaces, with links limited in both directions (HTB), one rank each. Prints step time, share
of communication and the final losses of each round. --compare: binaries of another version, in turn with these. Needs root.
"""
import argparse
import os
import pathlib
import re
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "integration"))
import harness  # noqa: E402
from line_rate_bench import limit  # noqa: E402
from netns_test import make_hosts, on, remove_hosts  # noqa: E402

TOKENS = 24 * 64  # of a step of the example


def train(binaries, options):
    """(milliseconds a step, percent in communication, last line with a loss)"""
    harness.RINGMASTER = str(binaries / "ringmaster")
    with harness.Sandbox() as sandbox:
        coordinator = sandbox.coordinator(port=7077, host="10.77.0.1", prefix=on(1))
        for host in (1, 2):
            sandbox.worker(coordinator.address, f"h{host}", 1, prefix=on(host))
        user = {"env": {"RINGMASTER_COORDINATOR": coordinator.address}, "prefix": on(1)}
        sets = [f"train.steps={options.steps}", "name=net", f"checkpoint.directory={sandbox.path('checkpoints')}", *options.set]
        arguments = [word for pair in sets for word in ("--set", pair)]
        harness.ringmaster("submit", str(harness.ROOT / "examples" / "char_gpt.yaml"), *arguments, check=0, **user)
        watch = sandbox.start("watch", "net", "--output", "json", name="watch", **user)
        finished, code = watch.finish(timeout=options.steps * 0.3 + 60)
        assert code == 0, finished
        log = harness.ringmaster("logs", "net", "--rank", 0, check=0, **user).stdout
    steps = re.findall(r"^.*step \d+/\d+ loss ([\d.]+) .* ([\d.]+) tokens/s comm (\d+)%", log, re.MULTILINE)
    loss, rate, share = steps[-1]
    return TOKENS / float(rate) * 1e3, float(share), loss


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mbit", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--compare", type=pathlib.Path)
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("training_bench: network namespaces need root")
    versions = {"this": pathlib.Path(harness.RINGMASTER).parent}
    if options.compare:
        versions["other"] = options.compare
    results = {name: [] for name in versions}
    try:
        make_hosts()
        limit(options.mbit)
        for number in range(options.rounds):
            for name, binaries in versions.items():
                results[name].append(train(binaries, options))
                print("round %d, %s: %.1f ms a step, %.0f %% in communication, loss %s" % (number + 1, name, *results[name][-1]), flush=True)
    finally:
        remove_hosts()
    for name, rounds in results.items():
        print(f"{name}: median {statistics.median(r[0] for r in rounds):.1f} ms a step, {statistics.median(r[1] for r in rounds):.0f} %")


if __name__ == "__main__":
    main()
