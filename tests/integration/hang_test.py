#!/usr/bin/python3
"""SIGSTOP of a random trainer: the job's verdict names the rank and says that it is stopped; after hang_after it is replaced, the others keep
their processes, and the weights are those of an undisturbed run.

hang_test.py [TRIALS]: 2 by default.
"""
import os
import random
import signal
import sys
import time

from harness import Sandbox, check_nothing_left, pid_alive, ringmaster_json

TRIALS = int(sys.argv[1]) if len(sys.argv) > 1 else 2
STEPS = 1500

with Sandbox() as sandbox:
    def spec(label, **restart):
        return sandbox.job(label, parallel={"data": 3}, restart={"max_failures": 20, "backoff": "0.05s", **restart},
                           train={"steps": STEPS, "global_batch": 6, "optimizer": {"adamw": {"learning_rate": 0.001}}, "validation_samples": 64,
                                  "seed": 1, "clip_norm": 1.0},
                           checkpoint={"directory": str(sandbox.path("checkpoints")), "every_steps": 400, "keep": 2})

    def run(label, file, at_step=None, on_event=lambda event, state: None, on_step=lambda event, state: None):
        state = sandbox.path(f"state-{label}")
        process = sandbox.start("run", file, "--state-dir", state, "--output", "json", name=label)
        finished = None
        for event in process.events(timeout=60):
            finished = event
            if at_step is not None and event.get("event") == "progress" and event["step"] >= at_step:
                at_step = None
                on_step(event, state)
            on_event(event, state)
        code = process.process.wait(30)
        assert code == 0 and finished["state"] == "Succeeded" and finished["step"] == STEPS, (code, finished, process.log_tail())
        check_nothing_left(finished["job"], sandbox.path("checkpoints"))
        return sandbox.final_digest(finished), finished

    verdicts = []
    expected, _ = run("undisturbed", spec("hang", hang_after="1.5s"), on_event=lambda event, _: verdicts.append(event))
    verdicts = [event for event in verdicts if event["event"] == "verdict"]
    assert not verdicts, f"verdicts on an undisturbed run: {verdicts}"

    dice = random.Random(3)
    for trial in range(TRIALS):
        victim, seen = dice.randrange(3), {}

        def stop(event, state):
            ranks = ringmaster_json("status", event["job"], "--state-dir", state)["jobs"][0]["ranks"]
            seen["pids"] = [rank["pid"] for rank in ranks]
            os.kill(seen["pids"][victim], signal.SIGSTOP)
            seen["stopped"] = time.monotonic()

        def watch(event, state):
            if event["event"] == "verdict":
                seen.setdefault("verdict", (time.monotonic() - seen["stopped"], event["verdict"]))
            if event["event"] == "epoch" and event["epoch"] == 2:
                seen["replaced"] = time.monotonic() - seen["stopped"]
                seen["kept"] = [pid_alive(pid) for rank, pid in enumerate(seen["pids"]) if rank != victim]

        digest, finished = run(f"trial-{trial}", spec("hang", hang_after="1.5s"), dice.randrange(50, 900), watch, stop)
        after, text = seen["verdict"]
        print(f"trial {trial}: verdict after {after:.2f} s: {text}; replaced after {seen['replaced']:.2f} s", flush=True)
        assert text.startswith(f"rank {victim} ") and "is stopped in" in text, text
        assert finished["epochs"] == 2 and finished["failures"] == 1 and all(seen["kept"]), (finished, seen)
        assert digest == expected, "other bits"
    print(f"{TRIALS} passed, 0 failed")
