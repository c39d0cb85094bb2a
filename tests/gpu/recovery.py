#!/usr/bin/env python3
"""How long a job on all GPUs of a host takes from the death of a rank (SIGKILL) to the next completed step: the ranks that live keep
their processes, the dead one is replaced by a warm spare or, for comparison, by a new process. The job ends with the bits of one that
lost nobody. RINGMASTER_TORCH=1: torchrun with NCCL beside it.
usage: recovery.py DIR TEXT [TRIALS]: DIR holds ringmaster and ringmaster-trainer. Works in a directory of its own under TMPDIR."""
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from train_group import KINDS, STEP, Job

CALM_S = 8  # for the next spare to be warm
STEP_LIMIT = 60


def quantiles(times):
    ordered = sorted(times)
    return f"p50 {statistics.median(ordered):.2f} s, longest {ordered[-1]:.2f} s of {len(ordered)}"


def after(job, pattern, begin):
    return next((i for i in range(begin, len(job.lines)) if re.search(pattern, job.lines[i][1])), None)


def lose_a_rank(job, rank, resumes):
    """Seconds until the next step of all, and what was said meanwhile."""
    with job.changed:
        marker = len(job.lines)
        killed = job.kill_rank(rank)
    found = {}

    def back():
        epoch = after(job, r"^epoch \d+:", marker)
        found["step"] = None if epoch is None else after(job, STEP, epoch)
        return found["step"] is not None

    job.wait_for(back, "step of a new epoch")
    said = [(at - killed, line) for at, line in job.lines[marker:found["step"] + 1]]
    if not any(re.search(resumes, line) for _, line in said):
        job.fail(f"no '{resumes}' after the death of a rank")
    return said[-1][0], said


def trials(ringmaster, text, name, gpus, count, steps, spares, kind="whole", options=()):
    """A job of which `count` ranks die one after the other; the job goes on."""
    _, parallel, memory_every, resumes = KINDS[kind]
    job = Job(ringmaster, text, name, parallel.format(gpus=gpus), steps=steps, every=250, spares=spares, memory_every=memory_every,
              options=options)
    draw = random.Random(1)
    times, said = [], []
    job.reach(50)
    for _ in range(count):
        calm = time.monotonic() + (CALM_S if spares else 1)
        job.wait_for(lambda: job.steps[-1][0] >= calm or job.process.poll() is not None, "calm step")
        took, said = lose_a_rank(job, draw.randrange(gpus), resumes)
        times.append(took)
    print(f"{name}: {quantiles(times)}: {', '.join(f'{t:.2f}' for t in times)}", flush=True)
    print("".join(f"    {at:6.3f} s  {line}\n" for at, line in said), end="", flush=True)
    return job


def torchrun(gpus, options, launches=2):
    """Seconds from the death of a worker until all have completed a collective again; one death a launch."""
    here = os.path.dirname(os.path.realpath(__file__))
    times = []
    for launch in range(launches):
        log = os.path.join(os.getcwd(), f"torch{len(options)}.{launch}.log")
        open(log, "w").close()
        process = subprocess.Popen(["torchrun", f"--nproc_per_node={gpus}", "--max_restarts=5", "--rdzv_backend=c10d",
                                    "--rdzv_endpoint=127.0.0.1:0", *options, os.path.join(here, "torch_elastic.py"), log],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

        def first_collective(generation):
            end = time.monotonic() + STEP_LIMIT
            while time.monotonic() < end:
                with open(log) as lines:
                    done = [line.split() for line in lines if line.endswith("\n")]
                ranks = {line[1]: line for line in done if line[0] == str(generation)}
                if len(ranks) == gpus:
                    return ranks
                time.sleep(0.01)
            raise SystemExit(f"torchrun {options}: no collective of generation {generation} in {STEP_LIMIT} s")

        try:
            pid = int(first_collective(0)[str(gpus - 1)][2])
            time.sleep(1.3)
            killed = time.time()
            os.kill(pid, signal.SIGKILL)
            times.append(max(float(line[3]) for line in first_collective(1).values()) - killed)
        finally:
            process.terminate()
            process.wait(timeout=60)
    print(f"torchrun {' '.join(options) or 'as it comes'}: {', '.join(f'{t:.2f}' for t in times)} s", flush=True)


def main():
    here, text = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 10
    ringmaster = os.path.join(here, "ringmaster")
    gpus = len(subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True).stdout.splitlines())
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        probe = Job(ringmaster, text, "probe", f"data: {gpus}", steps=251, every=250)
        probe.finish()
        pace = statistics.median(b[0] - a[0] for a, b in zip(probe.steps[50:], probe.steps[51:]))
        steps = 250 * (2 + int((CALM_S + 2) * count / pace / 250))
        warm = trials(ringmaster, text, "warm", gpus, count, steps, spares=1)
        digest = warm.finish()
        if digest != Job(ringmaster, text, "undisturbed", f"data: {gpus}", steps=steps, every=250).finish():
            raise SystemExit("warm: the bits differ from those of a job that lost nobody")
        print(f"warm: after {steps} steps the bits of a job that lost nobody", flush=True)
        for name, spares, kind in (("cold", 0, "whole"), ("zero-1", 1, "zero"), ("zero-1-copies", 1, "copies")):
            trials(ringmaster, text, name, gpus, 3, 1000000, spares, kind).stop()
        if os.environ.get("RINGMASTER_TORCH") == "1":
            torchrun(gpus, [])
            torchrun(gpus, ["--monitor_interval=0.1"])
        os.chdir("/")


if __name__ == "__main__":
    main()
