#!/usr/bin/python3
"""Faults of every class, injected by `ringmaster chaos` into real jobs of three ranks: the coordinator must name the right rank and the right
class. Beside that: a worker that dies, a program that cannot be started, a rank that the kernel kills for memory.

chaos_test.py [SEEDS [FIRST]]: 1 and 1 by default; prints the share that is right, and the time from a fault to what is said about it.
"""
import collections
import json
import os
import pathlib
import signal
import sys
import time

from harness import Sandbox, check_nothing_left, ringmaster, ringmaster_json

SEEDS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
FIRST = int(sys.argv[2]) if len(sys.argv) > 2 else 1
SURVIVED = ["killed", "crashed", "exited", "requeued", "stopped", "stuck_in_data", "stuck_in_compute", "never_entered", "mismatched_call", "network",
            "slow", "disk_full", "checkpoint_failed", "stuck_in_checkpoint", "never_joined"]
LAST = ["bad_input", "gave_up", "bad_exit", "stuck_at_exit"]
GAP = 150  # steps
LEAST_RIGHT = 0.95

Result = collections.namedtuple("Result", "fault rank found found_rank seconds text")


def spec(sandbox, name, steps, **fields):
    return sandbox.job(name, parallel={"data": 3}, collective_timeout="4s",
                       restart={"max_failures": 100, "backoff": "0.05s", "backoff_max": "0.2s", "hang_after": "1.5s"},
                       train={"steps": steps, "global_batch": 6, "optimizer": {"adamw": {"learning_rate": 0.001}}, "validation_samples": 16, "seed": 1},
                       checkpoint={"directory": str(sandbox.path("checkpoints")), "every_steps": 25, "keep": 2}, **fields)


def said(event):
    """(fault, rank) of what an event blames, None for the others. That a peer was lost is never the last word."""
    if event.get("event") == "verdict" or (event.get("event") == "failure" and event["fault"] != "lost_contact"):
        return event["fault"], event["rank"]
    return None


def judge(strikes, events):
    """Compares each fault with what was said first after it. Of a mismatched call the first report is that of whoever noticed it: there
    counts what the next epoch, or the job's end, gives as its cause."""
    results = []
    for index, strike in enumerate(strikes):
        until = strikes[index + 1]["time"] if index + 1 < len(strikes) else float("inf")
        found = (None, None, None, "nothing was said")
        for at, event in events:
            if not strike["time"] - 0.02 <= at < until + 0.02:
                continue
            if strike["fault"] == "mismatched_call":
                reason = str(event.get("reason", "")) if event["event"] == "epoch" else ""
                if "(mismatched call)" in reason:
                    found = ("mismatched_call", int(reason.split()[1]), at, reason)
                    break
            elif blamed := said(event):
                found = (*blamed, at, event.get("text") or event.get("reason"))
                break
        seconds = None if found[2] is None else max(0.0, found[2] - strike["time"])
        results.append(Result(strike["fault"], strike["rank"], found[0], found[1], seconds, found[3]))
    return results


def chaos(sandbox, label, faults, steps, seed, prefix=()):
    record = sandbox.path(f"record-{label}")
    process = sandbox.start("chaos", spec(sandbox, f"chaos-{label}".replace("_", "-"), steps), "--state-dir", sandbox.path(f"state-{label}"), "--output", "json",
                            "--record", record, "--seed", seed, "--every", GAP, *[word for fault in faults for word in ("--fault", fault)],
                            name=label, prefix=prefix)
    events, job = [], None
    for event in process.events(timeout=60):
        events.append((time.time(), event))
        job = event.get("job", job)
    process.process.wait(30)
    check_nothing_left(job, sandbox.path("nowhere"))
    strikes = [json.loads(line) for line in (record / "record.jsonl").read_text().splitlines()]
    assert sorted(strike["fault"] for strike in strikes) == sorted(faults), (faults, strikes, process.log_tail())
    return judge(strikes, events), events


def cluster_faults(sandbox, seed):
    """A worker that is killed, and a program that nobody can start."""
    coordinator = sandbox.coordinator(state=f"state-cluster-{seed}")
    workers = [sandbox.worker(coordinator.address, f"w{seed}-{i}", 2) for i in range(2)]
    file = spec(sandbox, f"spread-{seed}", 100000)
    ringmaster("submit", file, "--coordinator", coordinator.address, check=0)
    watch = sandbox.start("watch", f"spread-{seed}", "--coordinator", coordinator.address, "--output", "json", name="watch")
    results, struck = [], None
    for event in watch.events(timeout=30):
        if struck is None and event.get("event") == "progress" and event["step"] > 50:
            ranks = ringmaster_json("status", f"spread-{seed}", "--coordinator", coordinator.address)["jobs"][0]["ranks"]
            victim = f"w{seed}-{seed % 2}"
            lost = [rank["rank"] for rank in ranks if rank["host"] == victim]
            struck = time.time()
            workers[seed % 2].kill(signal.SIGKILL)
        if struck is not None and (blamed := said(event)):
            # All ranks of a worker die with it; whichever is named, it is right.
            rank = blamed[1] if blamed[1] in lost else lost[0]
            results.append(Result("worker_died", rank, *blamed, time.time() - struck, event.get("reason")))
            break
    ringmaster("cancel", f"spread-{seed}", "--coordinator", coordinator.address, check=0)
    watch.finish(timeout=30)

    bad = sandbox.path(f"bad-{seed}.json")
    bad.write_text(json.dumps({"name": f"bad-{seed}", "nodes": 1, "slots_per_node": 1, "command": ["/nonexistent/program"],
                               "restart": {"max_failures": 0}}))
    struck = time.time()
    ringmaster("submit", bad, "--coordinator", coordinator.address, check=0)
    for event in sandbox.start("watch", f"bad-{seed}", "--coordinator", coordinator.address, "--output", "json", name="watch").events(timeout=30):
        if blamed := said(event):
            results.append(Result("not_started", 0, *blamed, time.time() - struck, event.get("reason")))
            break
    for process in [*workers, coordinator]:
        process.stop()
        process.process.wait(30)
    return results


def memory_group():
    """A control group with 400 MB below our own; None where we may not make one."""
    own = [line.split(":", 2) for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines()]
    for _, controllers, path in own:
        if controllers == "memory":
            group = pathlib.Path("/sys/fs/cgroup/memory") / path.lstrip("/") / f"ringmaster-chaos-{os.getpid()}"
            try:
                group.mkdir()
                (group / "memory.limit_in_bytes").write_text(str(400 << 20))
                return group
            except OSError:
                return None
    return None


def out_of_memory(sandbox, seed):
    group = memory_group()
    if group is None:
        print("SKIPPED: out_of_memory: no memory control group (v1) may be made here", flush=True)
        return []
    try:
        enter = ("/bin/sh", "-c", f"echo $$ > {group}/cgroup.procs && exec \"$@\"", "sh")
        results, _ = chaos(sandbox, f"memory-{seed}", ["out_of_memory"], GAP + 60, seed, prefix=enter)
        return results
    finally:
        group.rmdir()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


results = []
for seed in range(FIRST, FIRST + SEEDS):
    with Sandbox() as sandbox:
        mixed, _ = chaos(sandbox, f"mixed-{seed}", SURVIVED, GAP * (len(SURVIVED) + 2), seed)
        results += mixed
        for fault in LAST:
            results += chaos(sandbox, f"{fault}-{seed}", [fault], GAP + 10, seed)[0]
        results += out_of_memory(sandbox, seed)
        results += cluster_faults(sandbox, seed)

by_fault = collections.defaultdict(list)
for result in results:
    by_fault[result.fault].append(result)
for fault, ones in sorted(by_fault.items()):
    right = [one for one in ones if (one.found, one.found_rank) == (one.fault, one.rank)]
    times = [one.seconds for one in right] or [float("nan")]
    print(f"{fault:20} {len(right)} of {len(ones)} right, p50 {1000 * percentile(times, 0.5):5.0f} ms, max {1000 * max(times):5.0f} ms", flush=True)
    for one in ones:
        if one not in right:
            print(f"    wrong: rank {one.rank}; found {one.found} of rank {one.found_rank}: {one.text}")
right = [one for one in results if (one.found, one.found_rank) == (one.fault, one.rank)]
times = [one.seconds for one in right]
print(f"{len(by_fault)} classes, {len(right)} of {len(results)} right ({100 * len(right) / len(results):.1f}%), "
      f"p50 {percentile(times, 0.5):.2f} s, p99 {percentile(times, 0.99):.2f} s, max {max(times):.2f} s", flush=True)
assert len(by_fault) >= 15 and len(right) >= LEAST_RIGHT * len(results), "too much is wrong"
