#!/usr/bin/env python3
"""GPT-2's 12 layers (on bytes) trained on two GPUs by whole jobs: the losses of one GPU, the same bits on two runs and on one that
lost a rank: with whole state, with ZeRO-1, and with ZeRO-1 and copies of shards on the other GPU after every step.
usage: train_group.py DIR TEXT [KINDS]: DIR holds ringmaster and ringmaster-trainer; KINDS: whole,zero,copies. Works in a directory of
its own under TMPDIR, 25 GB."""
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

JOB = """name: {name}
parallel: {{{parallel}}}
device: cuda
model: {{gpt: {{{model}}}}}
data: {{text: {{files: [{text}], validation_fraction: 0.1}}}}
train:
  steps: {steps}
  global_batch: 32
  micro_batch: {micro_batch}
  optimizer: {{adamw: {{learning_rate: {learning_rate}, weight_decay: 0.1}}}}
  schedule: {{constant: {{warmup_steps: {warmup}}}}}
  clip_norm: 1.0
  seed: {seed}
  log_every: 1
  validation_samples: 64
checkpoint: {{directory: ./checkpoints, every_steps: {every}, keep: 2, memory_every: {memory_every}}}
restart: {{max_failures: 100, backoff: 0.1s, warm_spares: {spares}}}
"""
# Words, the layout, checkpoint.memory_every, and what the job says when it goes on after a rank was lost.
KINDS = {"whole": ("data parallel", "data: {gpus}, zero: 0", 0, "goes on at step"),
         "zero": ("ZeRO-1", "data: {gpus}, zero: 1", 0, "from step"),
         "copies": ("ZeRO-1 with copies", "data: {gpus}, zero: 1", 1, "copies of lost shards")}
STEP = re.compile(r"step (\d+)/\d+ loss ([\d.]+).* ([\d.]+) tokens/s comm (\d+)%")


class Job:
    """A running job; `steps` are (time, step, loss, tokens/s, comm %) as its lines come."""

    def __init__(self, ringmaster, text, name, parallel, steps=121, every=40, micro_batch=16,
                 model="layers: 12, heads: 12, channels: 768, context: 1024", learning_rate="3.0e-4", warmup=20, spares=0,
                 memory_every=0, seed=1, options=()):
        self.ringmaster, self.name = ringmaster, name
        with open(f"{name}.yaml", "w") as out:
            out.write(JOB.format(name=name, parallel=parallel, model=model, micro_batch=micro_batch, learning_rate=learning_rate,
                                 warmup=warmup, text=text, steps=steps, every=every, spares=spares, memory_every=memory_every, seed=seed))
        self.process = subprocess.Popen([ringmaster, "run", f"{name}.yaml", "--state-dir", f"state-{name}", *options],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.steps, self.lines, self.changed = [], [], threading.Condition()
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            now, found = time.monotonic(), STEP.search(line)
            with self.changed:
                self.lines.append((now, line.rstrip()))
                if found and "validation" not in line:
                    self.steps.append((now, int(found[1]), float(found[2]), float(found[3]), int(found[4])))
                self.changed.notify_all()

    def fail(self, what):
        print("\n".join(line for _, line in self.lines if " loss " not in line))
        self.process.kill()
        raise SystemExit(f"{self.name}: {what}")

    def wait_for(self, done, what, seconds=120):
        with self.changed:
            if not self.changed.wait_for(done, timeout=seconds):
                self.fail(f"no {what} in {seconds} s")

    def reach(self, step):
        self.wait_for(lambda: (self.steps and self.steps[-1][1] >= step) or self.process.poll() is not None, f"step {step}")
        if not self.steps or self.steps[-1][1] < step:
            self.fail(f"ended before step {step}")

    def kill_rank(self, rank):
        status = subprocess.run([self.ringmaster, "status", "--state-dir", f"state-{self.name}", "--output", "json"],
                                capture_output=True, text=True, check=True)
        pid = next(r["pid"] for r in json.loads(status.stdout)["jobs"][0]["ranks"] if r["rank"] == rank)
        os.kill(pid, signal.SIGKILL)
        return time.monotonic()

    def finish(self):
        try:
            code = self.process.wait(timeout=300)
        except subprocess.TimeoutExpired:
            self.fail("does not end")
        self.reader.join()
        if code != 0:
            self.fail(f"exit code {code}")
        return self.last_checkpoint()["digest"]

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=60)

    def last_checkpoint(self):
        found = next(path for path in glob.glob(f"checkpoints/{self.name}-*") if path.rsplit("-", 1)[0] == f"checkpoints/{self.name}")
        listed = subprocess.run([self.ringmaster, "--output", "json", "checkpoints", found], capture_output=True, text=True,
                                check=True)
        return max(json.loads(listed.stdout)["checkpoints"], key=lambda c: c["step"])

    def losses(self):
        return {step: loss for _, step, loss, _, _ in self.steps}

    def speed(self):
        return f"{self.steps[-1][3]:.0f} tokens/s, {self.steps[-1][4]} % of the time exposed communication"


def main():
    here, text = os.path.realpath(sys.argv[1]), os.path.realpath(sys.argv[2])
    kinds = sys.argv[3].split(",") if len(sys.argv) > 3 else list(KINDS)
    ringmaster = os.path.join(here, "ringmaster")
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        one = Job(ringmaster, text, "one", "data: 1")
        one.finish()
        print("one GPU:", one.speed(), flush=True)
        for of_kind in kinds:
            kind, parallel, memory_every, resumes = KINDS[of_kind]
            digests = {}
            for name in ("first", "second", "killed"):
                job = Job(ringmaster, text, f"{name}-{of_kind}", parallel.format(gpus=2), memory_every=memory_every)
                if name == "killed":
                    job.reach(70)
                    job.kill_rank(1)
                digests[name] = job.finish()
                if name == "first":
                    print(f"two GPUs, {kind}:", job.speed(), flush=True)
                worst = max(abs(loss - job.losses()[step]) for step, loss in one.losses().items())
                print(f"{kind}, {name}: digest {digests[name]}, loss differs from one GPU's by at most {worst:.4f}", flush=True)
                if worst > 1e-2:
                    raise SystemExit("that is too much")
                if name == "killed" and not any(resumes in line for _, line in job.lines):
                    raise SystemExit(f"it did not go on as it should: no '{resumes}'")
            if len(set(digests.values())) != 1:
                raise SystemExit(f"{kind}: {digests}: the bits differ")
        os.chdir("/")
    print("two GPUs train as one does, and go on when one of them is lost")


if __name__ == "__main__":
    main()
