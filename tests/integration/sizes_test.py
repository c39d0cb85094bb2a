#!/usr/bin/python3
"""The same job on 1, 2 and 4 ranks: same loss at the same global batch; at the same size, the same bits."""
from harness import Sandbox, check_nothing_left


def run(sandbox, spec, ranks, label):
    process = sandbox.start("run", spec, "--ranks", ranks, "--state-dir", sandbox.path(f"state-{label}"), "--output", "json", name=label)
    finished, code = process.finish(timeout=120)
    assert code == 0 and finished["state"] == "Succeeded", (code, finished, process.log_tail())
    check_nothing_left(finished["job"], sandbox.path("checkpoints"))
    return finished


with Sandbox() as sandbox:
    spec = sandbox.job("sizes")
    runs = {ranks: run(sandbox, spec, ranks, f"ranks-{ranks}") for ranks in (1, 2, 4)}
    losses = {ranks: finished["validation_loss"] for ranks, finished in runs.items()}
    print("validation loss by ranks:", losses)
    assert max(losses.values()) - min(losses.values()) <= 1e-3, losses
    assert losses[1] < 3.5, "the model learned nothing"
    for ranks in (2, 4):
        again = run(sandbox, spec, ranks, f"again-{ranks}")
        assert again["validation_loss"] == losses[ranks], (again["validation_loss"], losses[ranks])
        assert sandbox.final_digest(again) == sandbox.final_digest(runs[ranks]), f"{ranks} ranks: not the same bits"
    print("1 passed, 0 failed")
