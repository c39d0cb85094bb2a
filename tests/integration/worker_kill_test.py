#!/usr/bin/python3
"""SIGKILL of a worker: its trainers die within a second, and the job goes on: first on a spare, then on the restarted worker."""
from harness import Sandbox, check_nothing_left, ringmaster, ringmaster_json, wait_dead


def wait_step(watch, step, epoch):
    """Reads on until the job has reached `step` in `epoch` or a later one."""
    current = 0
    for event in watch.events(timeout=60):
        if event.get("event") == "epoch":
            current = event["epoch"]
        if event.get("event") == "progress" and event["step"] >= step and current >= epoch:
            return
        assert event.get("event") != "job_finished", event
    raise AssertionError(f"watch ended: {watch.log_tail()}")


with Sandbox() as sandbox:
    steps = 900
    spec = sandbox.job("moved", train={"steps": steps, "global_batch": 16, "optimizer": {"adamw": {"learning_rate": 0.001}},
                                       "validation_samples": 64, "seed": 1})
    coordinator = sandbox.coordinator()
    workers = {name: sandbox.worker(coordinator.address, name, 2) for name in ("h1", "h2")}
    ringmaster("submit", spec, "--coordinator", coordinator.address, check=0)
    watch = sandbox.start("watch", "moved", "--coordinator", coordinator.address, "--output", "json", name="watch")

    def kill_worker_of_job():
        status = ringmaster_json("status", "moved", "--coordinator", coordinator.address)["jobs"][0]
        host = status["ranks"][0]["host"]
        workers[host].kill()
        slowest = max(wait_dead(rank["pid"], timeout=1.0) for rank in status["ranks"] if rank["host"] == host)
        print(f"worker {host} killed: its trainers were gone after {slowest * 1000:.0f} ms")
        return host

    wait_step(watch, 30, epoch=1)
    first = kill_worker_of_job()
    wait_step(watch, 60, epoch=2)
    status = ringmaster_json("status", "moved", "--coordinator", coordinator.address)["jobs"][0]
    assert {rank["host"] for rank in status["ranks"]} == set(workers) - {first}, status["ranks"]

    second = kill_worker_of_job()
    workers[second] = sandbox.worker(coordinator.address, second, 2)
    finished, code = watch.finish(timeout=120)
    assert code == 0 and finished["state"] == "Succeeded" and finished["step"] == steps, (code, finished, watch.log_tail())
    assert finished["epochs"] == 3, finished
    check_nothing_left(finished["job"], sandbox.path("checkpoints"))
    print("1 passed, 0 failed")
