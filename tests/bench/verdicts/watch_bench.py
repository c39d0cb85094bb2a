#!/usr/bin/python3
"""What being watched costs a job, and whether a job that nothing ails is ever blamed.

watch_bench.py [--steps N] [--ranks N] [--window SECONDS] [--alone SECONDS]

One job of many short steps on a coordinator and a worker of its own. Its rank 0's progress board is read from outside while the worker, which
reads the boards and sends the heartbeats, is stopped and goes on by turns (on, off, off, on): the steps of both kinds of windows are compared.
Prints the verdicts that were given (there should be none), the difference, and the processor time of worker and coordinator, measured before the
windows begin.
"""
import argparse
import mmap
import os
import pathlib
import signal
import statistics
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "integration"))
from harness import Sandbox, check_nothing_left, ringmaster, ringmaster_json  # noqa: E402


def board_of(pid):
    environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    descriptor = next(entry.split(b"=")[1].decode() for entry in environment if entry.startswith(b"RINGMASTER_PROGRESS_BOARD_FD="))
    with open(f"/proc/{pid}/fd/{descriptor}", "rb") as file:
        return mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ)


def step_of(board):
    return struct.unpack_from("<q", board, 16)[0]


def processor_seconds(pid):
    return sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--window", type=float, default=0.5)
    parser.add_argument("--alone", type=float, default=10, metavar="SECONDS", help="for the processor time")
    options = parser.parse_args()
    with Sandbox() as sandbox:
        coordinator = sandbox.coordinator()
        worker = sandbox.worker(coordinator.address, "w", options.ranks)
        file = sandbox.job("watched", parallel={"data": options.ranks}, model={"gpt": {"layers": 1, "heads": 2, "channels": 32, "context": 16}},
                           train={"steps": options.steps, "global_batch": 2 * options.ranks, "optimizer": {"adamw": {"learning_rate": 0.001}},
                                  "validation_samples": 16, "seed": 1, "log_every": 10**9},
                           checkpoint={"directory": str(sandbox.path("checkpoints")), "every_steps": 20_000, "keep": 2})
        ringmaster("submit", file, "--coordinator", coordinator.address, check=0)
        watch = sandbox.start("watch", "watched", "--coordinator", coordinator.address, "--output", "json", name="watch")
        for event in watch.events(timeout=60):
            if event.get("event") == "progress" and event["step"] > 100:
                break
        watch.stop()
        pid = ringmaster_json("status", "watched", "--coordinator", coordinator.address)["jobs"][0]["ranks"][0]["pid"]
        board = board_of(pid)
        began, since = [processor_seconds(process.pid) for process in (worker, coordinator)], time.monotonic()
        time.sleep(options.alone)  # the measurement itself
        elapsed = time.monotonic() - since
        used = [(processor_seconds(process.pid) - before) / elapsed for process, before in zip((worker, coordinator), began)]
        watch = sandbox.start("watch", "watched", "--coordinator", coordinator.address, "--output", "json", name="watch")
        events = watch.events(timeout=60)  # verdicts given so far come first
        rates = {True: [], False: []}

        def window(watched):
            os.kill(worker.pid, signal.SIGCONT if watched else signal.SIGSTOP)
            before, at = step_of(board), time.monotonic()
            time.sleep(options.window)  # the measurement itself
            rates[watched].append((step_of(board) - before) / (time.monotonic() - at))

        while step_of(board) < options.steps - 20_000:
            for watched in (True, False, False, True):
                window(watched)
        os.kill(worker.pid, signal.SIGCONT)
        job, verdicts, failures = None, 0, 0
        for event in events:
            job = event.get("job", job)
            verdicts += event.get("event") == "verdict"
            failures += event.get("event") == "failure"
        assert watch.process.wait(30) == 0, watch.log_tail()
        check_nothing_left(job, sandbox.path("nowhere"))
    # Neighbours in time are compared, so that what else the machine does meanwhile counts for both; and their median, so that a moment at
    # which it did something for one of them alone does not count. Its standard error, by the median distance from it (of a normal
    # distribution 0.6745 deviations).
    differences = [off / on - 1 for on, off in zip(rates[True], rates[False])]
    middle = statistics.median(differences)
    error = 1.2533 * statistics.median(abs(one - middle) for one in differences) / 0.6745 / len(differences) ** 0.5
    print(f"{options.steps} steps of {options.ranks} ranks: {verdicts} verdicts, {failures} failures")
    print(f"step {1e3 / statistics.median(rates[True]):.3f} ms watched, {1e3 / statistics.median(rates[False]):.3f} ms not watched; "
          f"difference {100 * middle:+.2f}% +- {100 * error:.2f}% ({len(differences)} pairs of {options.window} s)")
    print(f"processor time: worker {1e3 * used[0]:.2f} ms, coordinator {1e3 * used[1]:.2f} ms a second: steps of any length are longer by "
          f"{100 * sum(used):.2f}% at most, if all of it is taken from one rank")


if __name__ == "__main__":
    main()
