#!/usr/bin/python3
"""A GPT that ranks share, end to end: tensor 2 killed in place and as a whole, a mesh whose replica fills a lost rank, and checkpoints
that another layout goes on from. All end with the bits of an undisturbed run of their layout."""
import os
import pathlib
import re
import signal

from harness import Sandbox, check_nothing_left, ringmaster_json

STEPS = 600

with Sandbox() as sandbox:
    def job(name, steps=STEPS, **parallel):
        return sandbox.job(name, parallel=parallel, model={"gpt": {"layers": 2, "heads": 2, "channels": 32, "context": 32}},
                           train={"steps": steps, "global_batch": 8, "optimizer": {"adamw": {"learning_rate": 0.001}}, "clip_norm": 1.0,
                                  "validation_samples": 32, "seed": 1},
                           checkpoint={"directory": str(sandbox.path("checkpoints")), "every_steps": 50, "keep": 3})

    def run(spec, label, kill=None, options=()):
        """kill(event, state): called with every progress event until it returns True."""
        state = sandbox.path(f"state-{label}")
        process = sandbox.start("run", spec, "--state-dir", state, "--output", "json", *options, name=label)
        finished, killed = None, False
        for event in process.events(timeout=60):
            finished = event
            if kill is not None and not killed and event.get("event") == "progress":
                killed = kill(event, state, process)
        code = process.process.wait(30)
        return process, finished, code, killed

    def succeed(spec, label, steps=STEPS, **options):
        process, finished, code, killed = run(spec, label, **options)
        assert code == 0 and finished["state"] == "Succeeded" and finished["step"] == steps, (label, code, finished, process.log_tail())
        assert killed == ("kill" in options), f"{label}: the job ended before anyone was killed"
        check_nothing_left(finished["job"], pathlib.Path(finished["checkpoint"]).parent)
        return sandbox.final_digest(finished), {**finished, "log": pathlib.Path(process.log.name).read_text()}

    def kill_rank(victim, at):
        def kill(event, state, process):
            ranks = ringmaster_json("status", "--state-dir", state)["jobs"][0]["ranks"] if event.get("step", 0) >= at else []
            if not ranks or not ranks[victim].get("pid"):
                return False
            os.kill(ranks[victim]["pid"], signal.SIGKILL)
            return True
        return kill

    def kill_all(event, state, process):
        if event.get("step", 0) < 220:
            return False
        process.kill()
        return True

    # A rank without a twin: both begin again at the last checkpoint, the survivor in its process.
    spec = job("tensor", tensor=2)
    expected, whole = succeed(spec, "tensor")
    digest, finished = succeed(spec, "tensor-killed", kill=kill_rank(1, 220))
    print(f"tensor 2, rank 1 killed: {finished['epochs']} epochs, {'same bits' if digest == expected else 'OTHER BITS'}", flush=True)
    assert digest == expected and finished["failures"] == 1, finished

    # All of it, and a new run from the newest checkpoint.
    cut = job("cut", tensor=2)
    _, _, _, killed = run(cut, "cut", kill=kill_all)
    assert killed
    digest, finished = succeed(cut, "resumed", options=("--resume",))
    print(f"tensor 2, all killed and resumed: {'same bits' if digest == expected else 'OTHER BITS'}", flush=True)
    assert digest == expected and re.search(r"from step [1-9]\d* of", finished["log"]), finished["log"]

    # A rank with a twin: the other replica gives its part, and no step is lost.
    mesh = job("mesh", data=2, pipeline=2)
    expected, _ = succeed(mesh, "mesh")
    digest, finished = succeed(mesh, "mesh-killed", kill=kill_rank(2, 220))
    print(f"data 2 x pipeline 2, rank 2 killed: {'same bits' if digest == expected else 'OTHER BITS'}", flush=True)
    assert digest == expected and finished["failures"] == 1, finished["log"]
    assert "with the state of rank" in finished["log"], finished["log"]

    # Another layout goes on from what the first has written.
    more = job("more", steps=STEPS + 20, data=2, tensor=1)
    _, finished = succeed(more, "more", steps=STEPS + 20, options=("--resume", whole["checkpoint"]))
    assert abs(finished["train_loss"] - whole["train_loss"]) < 0.5, finished["log"]
    print("4 passed, 0 failed")
