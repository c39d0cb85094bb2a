#!/usr/bin/python3
"""SIGKILL of the coordinator during a run, restart on the same state directory: no trainer restarts, no step is lost or repeated, the next
checkpoint commits.

coordinator_restart_test.py [SECONDS_AWAY]: 1 by default.
"""
import sys
import time

from harness import Sandbox, check_nothing_left, ringmaster, ringmaster_json

AWAY = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0

with Sandbox() as sandbox:
    steps = 600 if AWAY < 2 else 3000
    spec = sandbox.job("steady", train={"steps": steps, "global_batch": 16, "optimizer": {"adamw": {"learning_rate": 0.001}},
                                        "validation_samples": 64, "seed": 1})
    process = sandbox.start("run", spec, "--state-dir", sandbox.path("state-undisturbed"), "--output", "json", name="undisturbed")
    finished, code = process.finish(timeout=120)
    assert code == 0, process.log_tail()
    expected = sandbox.final_digest(finished)

    coordinator = sandbox.coordinator()
    worker = sandbox.worker(coordinator.address, "h1", 2)
    ringmaster("submit", spec, "--coordinator", coordinator.address, check=0)
    watch = sandbox.start("watch", "steady", "--coordinator", coordinator.address, "--output", "json", name="watch")
    for event in watch.events(timeout=60):
        if event.get("event") == "progress" and event["step"] >= 40:
            break
    before = ringmaster_json("status", "steady", "--coordinator", coordinator.address)["jobs"][0]
    committed = ringmaster_json("checkpoints", "steady", "--coordinator", coordinator.address)["checkpoints"]
    coordinator.kill()
    time.sleep(AWAY)  # how long it is away is the experiment
    coordinator = sandbox.coordinator(port=int(coordinator.address.rsplit(":", 1)[1]))

    watch = sandbox.start("watch", "steady", "--coordinator", coordinator.address, "--output", "json", name="watch-again")
    finished, code = watch.finish(timeout=120)
    assert code == 0 and finished["state"] == "Succeeded" and finished["step"] == steps, (code, finished, watch.log_tail())
    assert finished["epochs"] == 1 and finished["failures"] == 0, finished
    after = ringmaster_json("status", "steady", "--coordinator", coordinator.address)["jobs"][0]
    assert [rank["pid"] for rank in before["ranks"]] == [rank["pid"] for rank in after["ranks"]], (before["ranks"], after["ranks"])
    final = ringmaster_json("checkpoints", "steady", "--coordinator", coordinator.address)["checkpoints"]
    assert final[-1]["step"] == steps and final[-1]["step"] > committed[-1]["step"], (committed, final)
    assert sandbox.final_digest(finished) == expected, "other bits than the undisturbed run"
    check_nothing_left(finished["job"], sandbox.path("checkpoints"))
    print("1 passed, 0 failed")
