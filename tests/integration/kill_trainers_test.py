#!/usr/bin/python3
"""SIGKILL of a random trainer at random moments: the run finishes by itself with the weights of an undisturbed run, bit for bit.

kill_trainers_test.py [TRIALS]: 4 by default.
"""
import os
import random
import signal
import sys

from harness import Sandbox, check_nothing_left, ringmaster_json

TRIALS = int(sys.argv[1]) if len(sys.argv) > 1 else 4
STEPS = 1500

with Sandbox() as sandbox:
    spec = sandbox.job("killed", train={"steps": STEPS, "global_batch": 16, "optimizer": {"adamw": {"learning_rate": 0.001}}, "clip_norm": 1.0,
                                        "validate_every": 1000, "validation_samples": 64, "seed": 1},
                       checkpoint={"directory": str(sandbox.path("checkpoints")), "every_steps": 100, "keep": 2})

    def run(label, kill_at=None, victim=0):
        """kill_at: the step from which on the victim is killed; 0 = before the first step."""
        state = sandbox.path(f"state-{label}")
        process = sandbox.start("run", spec, "--state-dir", state, "--output", "json", name=label)
        finished, killed = None, False
        for event in process.events(timeout=60):
            finished = event
            if kill_at is None or killed:
                continue
            if event.get("event") == "progress" and event.get("step", 0) >= kill_at:
                ranks = ringmaster_json("status", "killed", "--state-dir", state)["jobs"][0]["ranks"]
                pid = ranks[victim].get("pid", 0)
                if pid:
                    os.kill(pid, signal.SIGKILL)
                    killed = True
        code = process.process.wait(30)
        assert code == 0 and finished["state"] == "Succeeded" and finished["step"] == STEPS, (code, finished, process.log_tail())
        assert kill_at is None or killed, f"{label}: the job ended before anyone was killed"
        assert finished["failures"] == (1 if killed else 0), finished
        check_nothing_left(finished["job"], sandbox.path("checkpoints"))
        return sandbox.final_digest(finished), finished

    expected, _ = run("undisturbed")
    dice = random.Random(7)
    for trial in range(TRIALS):
        kill_at, victim = dice.randrange(0, STEPS * 3 // 4), dice.randrange(2)
        digest, finished = run(f"trial-{trial}", kill_at, victim)
        print(f"trial {trial}: rank {victim} killed at step >= {kill_at}: {finished['epochs']} epochs, {finished['wall_seconds']:.1f} s,"
              f" {'same bits' if digest == expected else 'OTHER BITS'}", flush=True)
        assert digest == expected
    print(f"{TRIALS} passed, 0 failed")
