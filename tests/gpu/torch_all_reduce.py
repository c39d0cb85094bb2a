#!/usr/bin/env python3
"""PyTorch's all_reduce over NCCL, timed as `ringmaster bench collectives --device cuda` does it: f32 sums in place, 20 one behind the
other between two events, the median of many such batches.

usage: torch_all_reduce.py [RANKS [FIRST:LAST[:FACTOR]]]
"""
import os
import statistics
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

BATCH = 20
SECONDS = 0.25  # for a size


def parse_bytes(text):
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)


def parse_sizes(text):
    first, last, *factor = text.split(":")
    size, last, factor = parse_bytes(first), parse_bytes(last), int(factor[0]) if factor else 2
    sizes = []
    while size <= last:
        sizes.append(size)
        size *= factor
    return sizes


def microseconds(data, count):
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(count):
        dist.all_reduce(data)
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) * 1e3 / count


def run(rank, ranks, sizes, store):
    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{store}", rank=rank, world_size=ranks)
    for size in sizes:
        data = torch.ones(max(size // 4, 1), dtype=torch.float32, device="cuda")
        dist.all_reduce(data)
        wrong = int((data != ranks).sum())
        data.zero_()
        microseconds(data, 5)
        samples = torch.tensor([SECONDS * 1e6 / BATCH / microseconds(data, 5)], device="cuda")
        dist.broadcast(samples, 0)
        samples = min(max(int(samples.item()), 5), 1000)
        median = statistics.median(microseconds(data, BATCH) for _ in range(samples))
        if rank == 0:
            algbw = size / median * 1e-3
            print(f"{size:>12} bytes {median:>10.1f} us {algbw:>8.2f} GB/s {algbw * 2 * (ranks - 1) / ranks:>8.2f} GB/s bus "
                  f"{wrong:>4} errors", flush=True)
        del data
    dist.destroy_process_group()


def main():
    os.environ["NCCL_NVLS_ENABLE"] = "0"
    ranks = int(sys.argv[1]) if len(sys.argv) > 1 else torch.cuda.device_count()
    sizes = parse_sizes(sys.argv[2] if len(sys.argv) > 2 else "8:1G:8")
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run, args=(ranks, sizes, os.path.join(folder, "store")), nprocs=ranks)


if __name__ == "__main__":
    main()
