#!/usr/bin/env python3
"""What checkpoints cost a job that trains GPT-2 124M on one GPU, and how fast they are written.

usage: checkpoint_cost.py DIR [ROUNDS]   DIR holds ringmaster and ringmaster-trainer; works in a directory under TMPDIR, 10 GB.

Runs the job without checkpoints and with one every 10 steps, by turns, on made-up token shards of GPT-2's vocabulary, and takes a step's
time from the lines between the 20th step and the last but one. A disk that is slower than that gets fewer (when_busy: skip); how many is said.
Beside it, dd writes as much to the same disk where it can do that past the page cache.
"""
import array
import math
import os
import pathlib
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time

STEPS, WARM, EVERY = 131, 20, 10

JOB = """name: {name}
parallel: {{data: 1}}
device: cuda
model: {{gpt: {{layers: 12, heads: 12, channels: 768, context: 1024}}}}
data: {{tokens: {{train_files: [train.bin], validation_files: [validation.bin], vocabulary: 50257}}}}
train:
  steps: {steps}
  global_batch: 64
  micro_batch: 64
  optimizer: {{adamw: {{learning_rate: 6.0e-4, weight_decay: 0.1}}}}
  schedule: {{constant: {{warmup_steps: 100}}}}
  clip_norm: 1.0
  seed: 1
  log_every: 1
  validation_samples: 1
{checkpoint}
"""


def shard(path, tokens):
    generator = random.Random(1)
    header = array.array("i", [20240520, 1, tokens] + [0] * 253)
    body = array.array("H", (min(50256, int(50257 ** generator.random())) for _ in range(tokens)))
    path.write_bytes(header.tobytes() + body.tobytes())


def run(binaries, name, every):
    """Seconds of a step, and [(megabytes, seconds)] of the checkpoints."""
    checkpoint = f"checkpoint: {{directory: ./checkpoints, every_steps: {every}, keep: 2, when_busy: skip}}" if every else ""
    pathlib.Path("job.yaml").write_text(JOB.format(name=name, steps=STEPS, checkpoint=checkpoint))
    at, saved, lines = {}, [], []
    with subprocess.Popen([f"{binaries}/ringmaster", "run", "job.yaml", "--state-dir", f"state-{name}"], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as job:
        for line in job.stdout:
            lines.append(line)
            if found := re.search(r"\] step (\d+)/\d+ loss", line):
                at[int(found[1])] = time.monotonic()
            if found := re.search(r"checkpoint step (\d+): ([\d.]+) MB in ([\d.]+) s", line):
                saved.append((float(found[2]), float(found[3])))
    if job.returncode != 0 or STEPS not in at:
        sys.exit("".join(lines[-30:]) + f"{name}: exit code {job.returncode}")
    last = STEPS - 1  # the last step's line may come with the last checkpoint
    subprocess.run(["rm", "-rf", "checkpoints"], check=True)
    return (at[last] - at[WARM]) / (last - WARM), saved[:-1]  # not the one at the end


def disk(megabytes, flags):  # MB/s; 0: not there
    count = max(1, round(megabytes / 16))
    begin = time.monotonic()
    if subprocess.run(["dd", "if=/dev/zero", "of=disk.bin", "bs=16M", f"count={count}", *flags], capture_output=True).returncode != 0:
        return 0
    rate = count * 16 * 1.048576 / (time.monotonic() - begin)
    os.unlink("disk.bin")
    return rate


def main():
    binaries = pathlib.Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        shard(pathlib.Path("train.bin"), 300_000)
        shard(pathlib.Path("validation.bin"), 20_000)
        without, with_them, saved, direct, synced = [], [], [], [], []
        for index in range(rounds):
            without.append(run(binaries, f"none-{index}", 0)[0])
            seconds, written = run(binaries, f"every-{index}", EVERY)
            if not written:
                sys.exit(f"every-{index}: no checkpoint was committed before the last")
            with_them.append(seconds)
            saved += written
            direct.append(disk(1500, ["oflag=direct"]))
            synced.append(disk(1500, ["conv=fsync"]))
            print(f"round {index}: step {1e3 * without[-1]:.2f} ms without, {1e3 * seconds:.2f} ms with a checkpoint every {EVERY} steps "
                  f"({100 * (seconds / without[-1] - 1):+.2f} %); {len(written)} of {(STEPS - 1) // EVERY} checkpoints, {statistics.median(s for _, s in written):.2f} s each; "
                  f"dd {direct[-1]:.0f} MB/s direct, {synced[-1]:.0f} MB/s with fsync", flush=True)
        megabytes = saved[0][0]
        rate = statistics.median(m / s for m, s in saved)
        print(f"checkpoints: {100 * (statistics.median(w / o for w, o in zip(with_them, without)) - 1):+.2f} % of a step's time; "
              f"{megabytes:.0f} MB at {rate:.0f} MB/s, {100 * rate / (statistics.median(direct) or math.nan):.0f} % of dd with O_DIRECT, "
              f"{100 * rate / statistics.median(synced):.0f} % of dd with fsync")


if __name__ == "__main__":
    main()
