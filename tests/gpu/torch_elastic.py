#!/usr/bin/env python3
"""A worker for torchrun: says when its first all-reduce over NCCL is done, and goes on with small ones.
usage: torchrun .. torch_elastic.py LOG"""
import os
import sys
import time

import torch
import torch.distributed as dist

rank = int(os.environ["RANK"])
torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
dist.init_process_group("nccl")
data = torch.ones(1 << 20, device="cuda")
dist.all_reduce(data)
torch.cuda.synchronize()
with open(sys.argv[1], "a") as log:
    log.write(f"{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')} {rank} {os.getpid()} {time.time():.6f}\n")
while True:
    dist.all_reduce(data.fill_(1))
    torch.cuda.synchronize()
