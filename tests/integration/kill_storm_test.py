#!/usr/bin/python3
"""Random SIGKILLs of trainers, guards, workers, the coordinator and double-forked children of a command, while an elastic job trains and a command
runs: whatever dies, no process outlives its worker or its program, nothing is left at the end, and the job goes on.

kill_storm_test.py [KILLS] [SEED]: 12 kills by default. Prints how long each kind of death took to be noticed.
"""
import os
import pathlib
import random
import re
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


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def parent_of(pid):
    """0 when it is gone."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    except OSError:
        return 0


with Sandbox() as sandbox:
    job = sandbox.job("storm", parallel={"data": {"min": 1, "max": 3}}, restart={"max_failures": 100000, "backoff": "0.05s", "backoff_max": "0.2s", "warm_spares": 1},
                      train={"steps": 10**7, "global_batch": 6, "optimizer": {"adamw": {"learning_rate": 0.0001}}, "validation_samples": 64, "seed": 1},
                      checkpoint={"directory": str(sandbox.path("checkpoints")), "every_steps": 500, "keep": 2})
    command = sandbox.path("command.json")
    command.write_text('{"name": "forks", "nodes": 1, "slots_per_node": 1, "command": ["python3", "-c", %s], "restart": {"max_failures": 100000, '
                       '"backoff": "0.05s", "backoff_max": "0.2s"}}' % __import__("json").dumps(DOUBLE_FORK))
    coordinator = sandbox.coordinator()
    port = int(coordinator.address.rsplit(":", 1)[1])
    workers = {name: sandbox.worker(coordinator.address, name, 2) for name in NAMES}
    ids = [ringmaster_json("submit", file, "--coordinator", coordinator.address)["job"] for file in (job, command)]

    def ranks(of):
        return ringmaster_json("status", of, "--coordinator", coordinator.address)["jobs"][0]["ranks"]

    def wait_running(of):
        """A rank of the job that has a process; the status is asked for again only when the watch says that something has changed."""
        watch = sandbox.start("watch", of, "--coordinator", coordinator.address, "--output", "json", name="watch")
        try:
            for _ in watch.events(timeout=60):
                live = [rank for rank in ranks(of) if rank["pid"] and rank["state"] in ("Joined", "Started") and pid_alive(rank["pid"])]
                if live:
                    return live
        finally:
            watch.stop()
        raise AssertionError(f"{of} is not running any more: {watch.log_tail()}")

    def noticed(worker, since):
        """Milliseconds from the kill to the worker's own line about the death."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for line in reversed(pathlib.Path(worker.log.name).read_text(errors="replace").splitlines()):
                match = re.match(r"(\S+) info job=.* state=Exited .* signal=9 ", line)
                if match and (at := datetime.fromisoformat(match.group(1) + "+00:00").timestamp()) >= since - 0.001:
                    return max(0.0, 1000 * (at - since))
        raise AssertionError(f"{worker.name} did not notice a death\n{worker.log_tail()}")

    dice = random.Random(SEED)
    took = {}
    for kill in range(KILLS):
        kind = dice.choice(["trainer", "trainer", "trainer", "guard", "worker", "coordinator", "child"])
        target = ids[1] if kind == "child" else ids[0]
        victim = dice.choice(wait_running(target))
        host, pid = victim["host"], victim["pid"]
        since = time.time()
        if kind == "coordinator":
            coordinator.kill()
            coordinator = sandbox.coordinator(port=port)
            took.setdefault(kind, []).append(1000 * (time.time() - since))
            continue
        if kind == "worker":
            dependants = [rank["pid"] for of in ids for rank in ranks(of) if rank["host"] == host and rank["pid"] and pid_alive(rank["pid"])]
            since = time.time()
            workers[host].kill()
            for one in dependants:
                wait_dead(one, timeout=2)
            took.setdefault(kind, []).append(1000 * (time.time() - since))
            workers[host] = sandbox.worker(coordinator.address, host, 2)
            continue
        if kind == "child":
            family = [one for one in processes_of_job(target) if one != pid and parent_of(one) != workers[host].pid]
            os.kill(pid, signal.SIGKILL)  # the program; its double-forked child must go too
            for one in family:
                wait_dead(one, timeout=2)
        elif kind == "guard":
            os.kill(parent_of(pid), signal.SIGKILL)
            wait_dead(pid, timeout=2)
        else:
            os.kill(pid, signal.SIGKILL)
        took.setdefault(kind, []).append(noticed(workers[host], since))

    wait_running(ids[0])
    for of in ids:
        ringmaster("cancel", of, "--coordinator", coordinator.address, check=0)
        sandbox.start("watch", of, "--coordinator", coordinator.address, "--output", "json", name="end").finish(timeout=60)
    for worker in workers.values():
        worker.stop()
        worker.process.wait(30)
    for of in ids:
        check_nothing_left(of, sandbox.path("nowhere"))
    for kind, values in sorted(took.items()):
        print(f"{kind}: {len(values)} killed, noticed after p50 {percentile(values, 0.5):.1f} ms, p99 {percentile(values, 0.99):.1f} ms,"
              f" longest {max(values):.1f} ms")
    print(f"{KILLS} passed, 0 failed")
