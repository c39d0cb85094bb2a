#!/usr/bin/python3
"""Random SIGKILLs of trainers, guards, workers, the coordinator and double-forked children of a command, while an elastic job trains and a command
runs: whatever dies, no process outlives its worker or its program, nothing is left at the end, and the job goes on.

kill_storm_test.py [KILLS] [SEED]: 12 kills by default. Half of them come as soon as there is a process to kill, half when all ranks of the job
train. Prints how long each kind of death took to be noticed: from the kill to the worker's own line about it.
"""
import json
import os
import pathlib
import random
import re
import select
import signal
import sys
import time
from datetime import datetime

from harness import Sandbox, check_nothing_left, pid_alive, processes_of_job, ringmaster, ringmaster_json, wait_dead

KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 12
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 1
NAMES = ["h1", "h2", "h3"]
# A child in a session of its own whose parent is gone: only a subreaper can find it.
DOUBLE_FORK = "import os,time\nif os.fork()==0:\n  os.setsid()\n  if os.fork()==0:\n    time.sleep(100000)\n  os._exit(0)\ntime.sleep(100000)"
RANK_LINE = re.compile(r"(\S+) info job=(\S+) epoch=\d+ rank=\d+ pid=(\d+) state=(Started|Kept|Exited)")


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def parent_of(pid):
    """0 when it is gone."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


class Ranks:
    """Who runs where, as the workers' logs say."""

    def __init__(self, workers):
        self.workers = workers
        self.live = {}  # pid: (host, job)

    def take(self, timeout):
        """Waits for a line of any worker and reads what there is. Pids that ended, with the calendar seconds at which their worker said so."""
        poll = select.poll()
        for worker in self.workers.values():
            poll.register(worker.log_lines.fd, select.POLLIN)
        assert poll.poll(1000 * timeout), f"no worker said anything for {timeout} s"
        ended = {}
        for host, worker in self.workers.items():
            try:
                while line := worker.log_lines.next(0):
                    if not (match := RANK_LINE.match(line)):
                        continue
                    time_text, job, pid, state = match[1], match[2], int(match[3]), match[4]
                    if state != "Exited":
                        self.live[pid] = (host, job)
                    else:
                        self.live.pop(pid, None)
                        ended[pid] = datetime.fromisoformat(time_text + "+00:00").timestamp()
            except TimeoutError:
                pass
        return ended

    def of(self, job):
        """Pids of the job's ranks that live; there is one."""
        while not (pids := sorted(pid for pid, (_, owner) in self.live.items() if owner == job and pid_alive(pid))):
            self.take(60)
        return pids

    def noticed(self, pid):
        while (at := self.take(10).get(pid)) is None:
            pass
        return at


with Sandbox() as sandbox:
    job = sandbox.job("storm", parallel={"data": {"min": 1, "max": 3}}, restart={"max_failures": 100000, "backoff": "0.05s", "backoff_max": "0.2s", "warm_spares": 1},
                      train={"steps": 10**7, "global_batch": 6, "optimizer": {"adamw": {"learning_rate": 0.0001}}, "validation_samples": 64, "seed": 1},
                      checkpoint={"directory": str(sandbox.path("checkpoints")), "every_steps": 500, "keep": 2})
    command = sandbox.path("command.json")
    command.write_text(json.dumps({"name": "forks", "nodes": 1, "slots_per_node": 1, "command": ["python3", "-c", DOUBLE_FORK],
                                   "restart": {"max_failures": 100000, "backoff": "0.05s", "backoff_max": "0.2s"}}))
    coordinator = sandbox.coordinator()
    port = int(coordinator.address.rsplit(":", 1)[1])
    ranks = Ranks({name: sandbox.worker(coordinator.address, name, 2, follow_log=True) for name in NAMES})
    storm, forks = [ringmaster_json("submit", file, "--coordinator", coordinator.address)["job"] for file in (job, command)]
    watch = sandbox.start("watch", storm, "--coordinator", coordinator.address, "--output", "json", name="watch")
    events = watch.events(timeout=60)

    def await_training(new_epoch):
        """Until all ranks of the job train; with new_epoch in an epoch that the watch has not told of yet."""
        for event in events:
            new_epoch = new_epoch and event["event"] != "epoch"
            if not new_epoch and (event["event"] == "progress" or event.get("state") == "Running"):
                return
        raise AssertionError(f"the watch has ended: {watch.log_tail()}")

    dice = random.Random(SEED)
    took = {}
    await_training(new_epoch=True)
    for kill in range(KILLS):
        kind = dice.choice(["trainer", "trainer", "trainer", "guard", "worker", "coordinator", "child"])
        pid = dice.choice(ranks.of(forks if kind == "child" else storm))
        host = ranks.live[pid][0]
        worker = ranks.workers[host]
        since = time.time()
        if kind == "coordinator":
            coordinator.kill()
            coordinator = sandbox.coordinator(port=port)
            noticed = time.time()  # it serves again
        elif kind == "worker":
            dependants = [one for one, (where, _) in ranks.live.items() if where == host and pid_alive(one)]
            since = time.time()
            worker.kill()
            for one in dependants:
                wait_dead(one, timeout=2)
            noticed = time.time()
            ranks.live = {one: place for one, place in ranks.live.items() if place[0] != host}
            ranks.workers[host] = sandbox.worker(coordinator.address, host, 2, follow_log=True)
        else:
            family = [one for one in processes_of_job(forks) if parent_of(one) != worker.pid] if kind == "child" else [pid]
            victim = parent_of(pid) if kind == "guard" else pid
            since = time.time()
            os.kill(victim, signal.SIGKILL)
            noticed = ranks.noticed(pid)
            for one in family:  # a program's double-forked child must go too, a guard's program as well
                wait_dead(one, timeout=2)
        took.setdefault(kind, []).append(1000 * max(0.0, noticed - since))
        if dice.random() < 0.5:
            await_training(new_epoch=kind in ("trainer", "guard", "worker"))

    ranks.of(storm)
    for of in (storm, forks):
        ringmaster("cancel", of, "--coordinator", coordinator.address, check=0)
        sandbox.start("watch", of, "--coordinator", coordinator.address, "--output", "json", name="end").finish(timeout=60)
    for worker in ranks.workers.values():
        worker.stop()
    for of in (storm, forks):
        check_nothing_left(of, sandbox.path("nowhere"))
    for kind, values in sorted(took.items()):
        print(f"{kind}: {len(values)} killed, noticed after p50 {percentile(values, 0.5):.1f} ms, p99 {percentile(values, 0.99):.1f} ms,"
              f" longest {max(values):.1f} ms")
    print(f"{KILLS} passed, 0 failed")
