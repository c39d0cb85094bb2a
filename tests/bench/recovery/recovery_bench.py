#!/usr/bin/python3
"""SIGKILL of a random rank, again and again: how long until every rank has completed the next step.

recovery_bench.py [--trials N] [--ranks N] [--warm-spares N] [--calm SECONDS] [--seed N] [--output table|json]

Runs one job with `ringmaster run`, looks at the ranks' progress boards from outside (as the worker does), kills a rank at a random moment
of a step and waits until all boards show a step that no rank had completed at the time of the kill. Afterwards the same job runs
undisturbed: both must end with the same bits.
"""
import argparse
import json
import mmap
import os
import pathlib
import random
import signal
import struct
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "integration"))
from harness import Sandbox, check_nothing_left, ringmaster_json  # noqa: E402

PHASES = ["starting", "joining", "loading", "data", "forward", "backward", "communication", "optimizer", "validation", "checkpoint"]
LIMIT_S = 30
LOOK_S = 0.0003  # between two looks: whoever looks without end takes a core from the ranks
SPARE_BOARD_FD = 5


class Board:
    """One rank's page of shared memory (common/progress_board.h)."""

    def __init__(self, pid, descriptor):
        self.pid = pid
        with open(f"/proc/{pid}/fd/{descriptor}", "rb") as file:
            self.page = mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ)

    def read(self):
        """(phase, completed steps)"""
        return struct.unpack_from("<Iq", self.page, 12)


def rank_of(pid, job):
    """(rank, board's descriptor) of a process of the job; None for any other, and for guards, which share its environment but not its board.

    A process that was a warm spare does not show its rank: -1."""
    try:
        environment = dict(entry.split(b"=", 1) for entry in pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if b"=" in entry)
        if environment.get(b"RINGMASTER_JOB") != job.encode():
            return None
        descriptor = int(environment.get(b"RINGMASTER_PROGRESS_BOARD_FD", SPARE_BOARD_FD))
        if "memfd" not in os.readlink(f"/proc/{pid}/fd/{descriptor}"):
            return None
        return int(environment.get(b"RANK", -1)), descriptor
    except (OSError, KeyError, ValueError):
        return None


def find_boards(job, known):
    """Boards of processes that are not `known` yet, by rank."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in known:
            rank = rank_of(int(entry), job)
            if rank is not None and rank[0] >= 0:
                found[rank[0]] = Board(int(entry), rank[1])
                known.add(int(entry))
    return found


def is_guard(pid):
    try:
        return b"guard" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:2]
    except OSError:
        return True


def find_spare(job, known):
    """The board of a warm spare that has just been told to be a rank; None when there is none."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) not in known:
            rank = rank_of(int(entry), job)
            if rank is None or rank[0] >= 0 or is_guard(int(entry)):
                continue
            board = Board(int(entry), rank[1])
            if board.read()[0] >= 1:
                known.add(int(entry))
                return board
    return None


def trial(job, boards, victim, known):
    """Kills `victim`; returns the milliseconds at which things were seen to happen."""
    pid = boards[victim].pid
    survivors = [board for rank, board in boards.items() if rank != victim]
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    seen = {}

    def note(what):
        seen.setdefault(what, (time.monotonic() - began) * 1000)

    # Without the victim none completes more than the step under way.
    while not seen or any(board.read()[0] not in (1, 2) for board in survivors):
        note("killed")
        if all(board.read()[0] in (1, 2) for board in survivors):
            break
        if time.monotonic() - began > LIMIT_S:
            raise SystemExit(f"survivors do not leave the epoch: {[board.read() for board in survivors]}")
        time.sleep(LOOK_S)
    note("survivors left the epoch")
    newest = max(board.read()[1] for board in survivors)
    newcomer = None
    while True:
        time.sleep(LOOK_S)
        if time.monotonic() - began > LIMIT_S:
            raise SystemExit(f"no step for {LIMIT_S} s: {[(rank, board.read()) for rank, board in boards.items()]}")
        if newcomer is None:
            newcomer = find_boards(job, known).get(victim) or find_spare(job, known)
            if newcomer is None:
                continue
            boards[victim] = newcomer
            note("newcomer runs")
        phase, _ = newcomer.read()
        if phase >= 1:
            note("newcomer joins")
        if phase >= 2:
            note("newcomer joined")
        if phase >= 3:
            note("newcomer has the state")
        if all(board.read()[1] > newest for board in boards.values()):
            note("next step completed")
            return seen


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--ranks", type=int, default=4)
    parser.add_argument("--warm-spares", type=int, default=0)
    parser.add_argument("--calm", type=float, default=0.6, help="seconds of life between two failures: a spare needs half a second to be warm")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=0, help="of the job; 0 = enough for the trials")
    parser.add_argument("--output", choices=["table", "json"], default="table")
    options = parser.parse_args()
    dice = random.Random(options.seed)
    steps = options.steps or int(200 + 700 * options.calm) * options.trials + 500
    with Sandbox() as sandbox:
        spec = sandbox.job("recovery", parallel={"data": options.ranks},
                           train={"steps": steps, "global_batch": 4 * options.ranks, "optimizer": {"adamw": {"learning_rate": 0.001}},
                                  "validation_samples": 64, "seed": 1, "clip_norm": 1.0},
                           checkpoint={"directory": str(sandbox.path("checkpoints")), "every_steps": 500, "keep": 2},
                           restart={"max_failures": 100000, "backoff": "1s", "warm_spares": options.warm_spares})

        def run(label, trials):
            process = sandbox.start("run", spec, "--state-dir", sandbox.path(f"state-{label}"), "--output", "json", name=label)
            results = []
            finished = None
            for event in process.events(timeout=60):
                finished = event
                if trials == 0 or event.get("event") != "progress" or event["step"] < 20:
                    continue
                known = set()
                boards = find_boards(event["job"], known)
                assert sorted(boards) == list(range(options.ranks)), sorted(boards)
                for _ in range(trials):
                    time.sleep(options.calm)
                    # A moment of this job's life between two failures: some steps, and a part of one.
                    goal = boards[0].read()[1] + dice.randrange(20, 80)
                    while boards[0].read()[1] < goal:
                        time.sleep(LOOK_S)
                    results.append(trial(event["job"], boards, dice.randrange(options.ranks), known))
                trials = 0
            code = process.process.wait(30)
            assert code == 0 and finished["state"] == "Succeeded" and finished["step"] == steps, (code, finished, process.log_tail())
            assert finished["failures"] == len(results), finished
            check_nothing_left(finished["job"], sandbox.path("checkpoints"))
            return sandbox.final_digest(finished), results, finished

        digest, results, finished = run("disturbed", options.trials)
        undisturbed, _, calm = run("undisturbed", 0)
        rows = []
        for what in results[0]:
            values = [result[what] for result in results if what in result]
            rows.append({"until": what, "p50_ms": percentile(values, 0.5), "p90_ms": percentile(values, 0.9),
                         "p99_ms": percentile(values, 0.99), "max_ms": max(values)})
        report = {"trials": len(results), "ranks": options.ranks, "same_bits": digest == undisturbed, "steps": steps,
                  "step_ms": 1000 * calm["wall_seconds"] / steps, "rows": rows}
    if options.output == "json":
        print(json.dumps(report))
    else:
        print(f"{report['trials']} kills, {options.ranks} ranks, an undisturbed step takes {report['step_ms']:.1f} ms")
        print(f"{'from SIGKILL until':28}{'p50':>9}{'p90':>9}{'p99':>9}{'max':>9}  ms")
        for row in rows:
            print(f"{row['until']:28}{row['p50_ms']:9.1f}{row['p90_ms']:9.1f}{row['p99_ms']:9.1f}{row['max_ms']:9.1f}")
        print("bits of the undisturbed run:", "the same" if report["same_bits"] else "OTHERS")
    return 0 if report["same_bits"] else 1


if __name__ == "__main__":
    sys.exit(main())
