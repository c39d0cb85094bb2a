#!/usr/bin/python3
"""ringmaster-exporter in front of a real coordinator: a rank that is stopped is in the metrics while it is, a coordinator that is away is down."""
import os
import re
import signal
import subprocess
import urllib.request

from harness import Lines, Sandbox, find_binary, ringmaster, ringmaster_json

STOPPED = r'ringmaster_job_verdict\{job="[^"]+",name="watched",fault="stopped",rank="1",host="w"\} 1\n'

with Sandbox() as sandbox:
    coordinator = sandbox.coordinator()
    sandbox.worker(coordinator.address, "w", 2)
    exporter = subprocess.Popen([find_binary("ringmaster-exporter"), "--coordinator", coordinator.address, "--listen", "127.0.0.1:0"],
                                stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
    try:
        address = re.search(r"http://(\S+)/metrics", Lines(exporter.stdout.fileno()).next(20))[1]

        def metrics():
            with urllib.request.urlopen(f"http://{address}/metrics", timeout=20) as answer:
                return answer.read().decode()

        file = sandbox.job("watched", train={"steps": 10**6, "global_batch": 4, "optimizer": {"adamw": {"learning_rate": 0.0001}}, "seed": 1})
        ringmaster("submit", file, "--coordinator", coordinator.address, check=0)
        watch = sandbox.start("watch", "watched", "--coordinator", coordinator.address, "--output", "json", name="watch")
        events = watch.events(timeout=60)
        next(event for event in events if event["event"] == "progress")
        assert re.search(r'ringmaster_job_state\{job="[^"]+",name="watched",state="running"\} 1\n', metrics()), metrics()
        assert not re.search(STOPPED, metrics()), metrics()

        victim = ringmaster_json("status", "watched", "--coordinator", coordinator.address)["jobs"][0]["ranks"][1]["pid"]
        os.kill(victim, signal.SIGSTOP)
        next(event for event in events if event["event"] == "verdict")
        assert re.search(STOPPED, metrics()), metrics()

        # The verdict outlives the coordinator, and is over when the job steps.
        port = int(coordinator.address.rsplit(":", 1)[1])
        coordinator.kill()
        assert "ringmaster_up 0\n" in metrics(), metrics()
        coordinator = sandbox.coordinator(port=port)
        assert re.search(STOPPED, metrics()), metrics()
        os.kill(victim, signal.SIGCONT)
        next(event for event in events if event["event"] == "progress")
        next(event for event in events if event["event"] == "progress")
        assert not re.search(STOPPED, metrics()), metrics()
        assert re.search(r'ringmaster_job_verdicts_total\{job="[^"]+",name="watched",fault="stopped"\} 1\n', metrics()), metrics()
        ringmaster("cancel", "watched", "--coordinator", coordinator.address, check=0)
        watch.finish(timeout=60)
    finally:
        exporter.terminate()
        exporter.wait(20)
    assert exporter.returncode == 0, exporter.returncode
    print("1 passed, 0 failed")
