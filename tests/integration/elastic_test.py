#!/usr/bin/python3
"""An elastic job, data {min: 2, max: 4}, loses two of its four hosts one after the other and gets them back: it never stops stepping."""
from harness import Sandbox, check_nothing_left, ringmaster, ringmaster_json

STEPS = 4000

with Sandbox() as sandbox:
    spec = sandbox.job("elastic", parallel={"data": {"min": 2, "max": 4}},
                       train={"steps": STEPS, "global_batch": 12, "optimizer": {"adamw": {"learning_rate": 0.001}}, "validation_samples": 64,
                              "seed": 1, "clip_norm": 1.0})
    coordinator = sandbox.coordinator()
    names = ["h1", "h2", "h3", "h4"]
    workers = {name: sandbox.worker(coordinator.address, name, 1) for name in names}
    ringmaster("submit", spec, "--coordinator", coordinator.address, check=0)
    watch = sandbox.start("watch", "elastic", "--coordinator", coordinator.address, "--output", "json", name="watch")
    events = watch.events(timeout=30)
    losses, sizes = [], []

    def wait_size(size):
        """Until the job steps with this many ranks: 40 steps further than when the epoch opened."""
        begun = None
        for event in events:
            if event["event"] == "epoch":
                sizes.append(event["world_size"])
                begun = None
            if event["event"] == "progress":
                losses.append((event["step"], event.get("train_loss")))
                if sizes[-1] == size:
                    begun = begun if begun is not None else event["step"]
                    if event["step"] >= begun + 40:
                        return event
            assert event["event"] != "job_finished", event
        raise AssertionError(f"watch ended: {watch.log_tail()}")

    wait_size(4)
    for lost in ("h2", "h4"):
        workers[lost].kill()
        wait_size(3 if lost == "h2" else 2)
    for back in ("h2", "h4"):
        workers[back] = sandbox.worker(coordinator.address, back, 1)
        wait_size(3 if back == "h2" else 4)
    finished = None
    for event in events:
        finished = event
        if event["event"] == "progress":
            losses.append((event["step"], event.get("train_loss")))
    code = watch.process.wait(30)
    assert code == 0 and finished["state"] == "Succeeded" and finished["step"] == STEPS, (code, finished, watch.log_tail())

    # The workers' own failures, and no other: losing a host costs no step, so no rank ever began again.
    status = ringmaster_json("status", "elastic", "--history", "--coordinator", coordinator.address)["jobs"][0]
    print(*(f"epoch {epoch['epoch']}: {epoch['world_size']} ranks: {epoch['reason']}" for epoch in status["epochs"]), sep="\n")
    reasons = [epoch["reason"] for epoch in status["epochs"]]
    assert [epoch["world_size"] for epoch in status["epochs"]] == [4, 3, 2, 3, 4], status["epochs"]
    assert "host h2 is gone" in reasons[1] and "host h4 is gone" in reasons[2], reasons
    assert reasons[3:] == ["grows from 2 to 3 ranks", "grows from 3 to 4 ranks"], reasons
    assert len(status["failures"]) == 2, status["failures"]
    steps = [step for step, _ in losses]
    assert steps == sorted(steps), "steps went back"
    worst = max(b - a for (_, a), (_, b) in zip(losses, losses[1:]) if a is not None and b is not None)
    assert worst < 0.8, f"the loss jumped by {worst}"
    check_nothing_left(finished["job"], sandbox.path("checkpoints"))
    print("1 passed, 0 failed")
