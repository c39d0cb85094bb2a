#!/usr/bin/python3
"""Four hosts in network namespaces: coordinator on h1, workers on all, the user on h2. Cutting a host's link names the reason; the job goes on
with the spare, and after a second cut when the host returns."""
import os
import shutil
import subprocess

from harness import Sandbox, check_nothing_left, ringmaster, ringmaster_json, skip, wait_dead

PREFIX = f"rm{os.getpid()}"


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def make_hosts():
    """h1..h4 with 10.77.0.1-4 on eth0, joined by a bridge in a namespace of its own: nothing reaches the machine's own network."""
    ip("netns", "add", f"{PREFIX}-hub")
    ip("-n", f"{PREFIX}-hub", "link", "add", "br0", "type", "bridge")
    ip("-n", f"{PREFIX}-hub", "link", "set", "br0", "up")
    for host in range(1, 5):
        ip("netns", "add", f"{PREFIX}-h{host}")
        ip("-n", f"{PREFIX}-h{host}", "link", "set", "lo", "up")
        ip("link", "add", "eth0", "netns", f"{PREFIX}-h{host}", "type", "veth", "peer", "name", f"v{host}", "netns", f"{PREFIX}-hub")
        ip("-n", f"{PREFIX}-hub", "link", "set", f"v{host}", "master", "br0", "up")
        ip("-n", f"{PREFIX}-h{host}", "addr", "add", f"10.77.0.{host}/24", "dev", "eth0")
        ip("-n", f"{PREFIX}-h{host}", "link", "set", "eth0", "up")


def remove_hosts():
    for name in ("hub", "h1", "h2", "h3", "h4"):
        subprocess.run(["ip", "netns", "del", f"{PREFIX}-{name}"], capture_output=True)


def on(host):
    return ("nsenter", f"--net=/run/netns/{PREFIX}-h{host}")


def set_link(host, state):
    ip("-n", f"{PREFIX}-hub", "link", "set", f"v{host}", state)


def main():
    if os.geteuid() != 0 or not shutil.which("nsenter"):
        skip("network namespaces need root and nsenter")
    try:
        make_hosts()
    except subprocess.CalledProcessError as error:
        remove_hosts()
        skip(f"no network namespaces here: {error.stderr.strip()}")
    try:
        with Sandbox() as sandbox:
            scenario(sandbox)
    finally:
        remove_hosts()
    print("1 passed, 0 failed")


def scenario(sandbox):
    steps = 2500
    spec = sandbox.job("spread", parallel={"data": 3}, checkpoint={"directory": str(sandbox.path("checkpoints")), "every_steps": 50, "keep": 2},
                       train={"steps": steps, "global_batch": 6, "optimizer": {"adamw": {"learning_rate": 0.001}}, "validation_samples": 16,
                              "seed": 1})
    coordinator = sandbox.coordinator(port=7077, host="10.77.0.1", prefix=on(1))
    for host in range(1, 5):
        sandbox.worker(coordinator.address, f"h{host}", 1, prefix=on(host))
    user = {"env": {"RINGMASTER_COORDINATOR": coordinator.address}, "prefix": on(2)}

    ringmaster("submit", spec, check=0, **user)
    watch = sandbox.start("watch", "spread", "--output", "json", name="watch", **user)
    events = watch.events(timeout=60)

    def wait_step(step, epoch):
        current = 0
        for event in events:
            if event.get("event") == "epoch":
                current = event["epoch"]
            assert event.get("event") != "job_finished", event
            if event.get("event") == "progress" and event["step"] >= step and current >= epoch:
                return
        raise AssertionError("watch ended early")

    def status():
        return ringmaster_json("status", "spread", **user)["jobs"][0]

    wait_step(100, epoch=1)
    assert [rank["host"] for rank in status()["ranks"]] == ["h1", "h2", "h3"]
    log = ringmaster("logs", "spread", "--rank", 0, check=0, **user).stdout
    assert "step" in log, log

    cut = [status()["ranks"][2]["pid"]]
    set_link(3, "down")
    wait_step(150, epoch=2)
    now = status()
    assert [rank["host"] for rank in now["ranks"]] == ["h1", "h2", "h4"], now["ranks"]
    history = ringmaster("status", "spread", "--history", check=0, **user).stdout
    assert "h3" in history, history
    print("first cut: ", next(line.strip() for line in history.splitlines() if "h3" in line))

    cut.append(now["ranks"][2]["pid"])
    set_link(4, "down")
    waiting = None
    for event in events:
        reason = str(event.get("reason", ""))
        if "needs 1 slot," in reason:
            waiting = reason
            break
    assert waiting and "h1" in waiting and "h2" in waiting, waiting
    print("second cut:", waiting)
    set_link(4, "up")
    set_link(3, "up")
    wait_step(200, epoch=3)
    for pid in cut:  # ended by their workers as soon as these are back
        wait_dead(pid, 30)
    ringmaster("cancel", "spread", check=0, **user)
    finished, code = watch.finish(timeout=60)
    assert finished["state"] == "Cancelled" and code != 0, (code, finished)
    assert finished["epochs"] >= 3, finished
    check_nothing_left(finished["job"], sandbox.path("nowhere"))


if __name__ == "__main__":
    main()
