#!/usr/bin/env python3
"""GPT-2 in PyTorch beside Ringmaster's on a GPU.

  torch_gpt.py losses CHECKPOINT TEXT LOG   trains on from a step's checkpoint in fp32, on the batches that Ringmaster drew from TEXT
                                            (one file, one rank, constant schedule after a warm-up), and compares with the losses in the job's LOG:
                                            within 1e-2
  torch_gpt.py speed [SEQUENCES]            times 124M at T = 1024 with torch.compile and bf16 autocast
"""
import argparse
import json
import math
import pathlib
import re
import struct
import sys
import time

import torch
import torch.nn.functional as F

MASK = (1 << 64) - 1


def mix64(x):  # trainer/data/random.h
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def mix(a, b):
    return mix64(mix64(a) ^ b)


def permuted(size, key, index):  # trainer/data/sampler.cc
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    value = index
    while True:
        left, right = value >> half, value & mask
        for r in range(6):
            left, right = right, left ^ (mix((key + r) & MASK, right) & mask)
        value = (left << half) | right
        if value < size:
            return value


def read_tensors(path):
    """A safetensors file whose entries are whole tensors, flattened or not."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            tensors[name] = torch.frombuffer(bytearray(data[8 + length + begin : 8 + length + end]), dtype=torch.float32)
    return tensors


def forward(w, tokens, targets, layers, heads):
    batch, context = tokens.shape
    x = w["wte.weight"][tokens] + w["wpe.weight"][:context]
    channels = x.shape[-1]
    for i in range(layers):
        p = f"h.{i}."
        y = F.layer_norm(x, (channels,), w[p + "ln_1.weight"], w[p + "ln_1.bias"])
        q, k, v = F.linear(y, w[p + "attn.qkv.weight"], w[p + "attn.qkv.bias"]).split(channels, 2)
        q, k, v = (t.view(batch, context, heads, -1).transpose(1, 2) for t in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(batch, context, channels)
        x = x + F.linear(y, w[p + "attn.proj.weight"], w[p + "attn.proj.bias"])
        y = F.layer_norm(x, (channels,), w[p + "ln_2.weight"], w[p + "ln_2.bias"])
        y = F.gelu(F.linear(y, w[p + "mlp.fc.weight"], w[p + "mlp.fc.bias"]), approximate="tanh")
        x = x + F.linear(y, w[p + "mlp.proj.weight"], w[p + "mlp.proj.bias"])
    x = F.layer_norm(x, (channels,), w["ln_f.weight"], w["ln_f.bias"])
    return F.cross_entropy(F.linear(x, w["wte.weight"]).flatten(0, 1), targets.flatten())


def replay(arguments, shape, stored, text, steps, autocast):
    """Losses of the steps after the checkpoint's, with AdamW from its state."""
    layers, heads, channels, context, vocabulary = shape

    def part(prefix):
        return {name.removeprefix(prefix + "/"): t.cuda() for name, t in stored.items() if name.startswith(prefix + "/")}

    w, m, v = part("model"), part("adamw.m"), part("adamw.v")
    for name, t in w.items():
        wide = {"wte.weight": (vocabulary, channels), "wpe.weight": (context, channels)}.get(name)
        if wide is None and t.numel() > 4 * channels:
            wide = (-1, 4 * channels if "mlp.proj" in name else channels)
        if wide is not None:
            w[name], m[name], v[name] = (x[name].view(wide) for x in (w, m, v))
        w[name] = w[name].clone().requires_grad_()
    samples = len(text) - context
    found = {}
    for step in steps:
        starts = []
        for i in range(arguments.batch):
            position = (step - 1) * arguments.batch + i
            starts.append(permuted(samples, mix(arguments.seed, position // samples), position % samples))
        windows = torch.stack([text[s : s + context + 1] for s in starts]).cuda()
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=autocast):
            loss = forward(w, windows[:, :-1], windows[:, 1:], layers, heads)
        loss.backward()
        found[step] = loss.item()
        with torch.no_grad():
            norm = math.sqrt(sum(t.grad.double().square().sum().item() for t in w.values()))
            clip = min(1.0, arguments.clip_norm / norm)
            rate = arguments.learning_rate * min(1.0, step / arguments.warmup)
            for name, t in w.items():
                g = t.grad * clip
                m[name].mul_(0.9).add_(g, alpha=0.1)
                v[name].mul_(0.95).addcmul_(g, g, value=0.05)
                if t.dim() == 2:
                    t.mul_(1 - rate * arguments.weight_decay)
                t.sub_(rate / (1 - 0.9**step) * m[name] / ((v[name] / (1 - 0.95**step)).sqrt() + 1e-8))
                t.grad = None
    return found


def losses(arguments):
    torch.backends.cuda.matmul.allow_tf32 = False
    log = pathlib.Path(arguments.log).read_text()
    shape = re.search(r"gpt layers=(\d+) heads=(\d+) channels=(\d+) context=(\d+) vocabulary=(\d+)", log)
    ours = {int(s): float(l) for s, l in re.findall(r"step (\d+)/\d+ loss ([\d.]+) lr", log)}
    first = int(re.search(r"step-(\d+)", arguments.checkpoint).group(1))
    steps = [step for step in range(first + 1, first + 1 + arguments.steps) if step in ours]
    files = list(pathlib.Path(arguments.checkpoint).glob("w-*.safetensors"))
    assert len(files) == 1, f"{arguments.checkpoint}: found {len(files)} shards, expected the 1 of a job with one rank"
    text = torch.frombuffer(bytearray(pathlib.Path(arguments.text).read_bytes()), dtype=torch.uint8).long()
    text = text[: len(text) - int(arguments.validation_fraction * len(text))]
    sizes = tuple(map(int, shape.groups()))
    stored = read_tensors(files[0])
    exact = replay(arguments, sizes, stored, text, steps, autocast=False)
    autocast = replay(arguments, sizes, stored, text, steps, autocast=True)
    for step in steps[::10] + steps[-1:]:
        print(f"step {step}: PyTorch fp32 {exact[step]:.4f}, bf16 {autocast[step]:.4f}, Ringmaster {ours[step]:.4f}")
    worst = max(abs(exact[step] - ours[step]) for step in steps)
    mean = sum(abs(exact[step] - ours[step]) for step in steps) / len(steps)
    bound = max(abs(exact[step] - autocast[step]) for step in steps)
    print(f"{len(steps)} steps, difference from fp32: Ringmaster at most {worst:.4f}, mean {mean:.4f}; PyTorch's own bf16 at most {bound:.4f}")
    return 0 if worst <= 1e-2 else 1


def speed(arguments):
    torch.set_float32_matmul_precision("high")
    generator = torch.Generator("cuda").manual_seed(1)
    layers, heads, channels, context, vocabulary = 12, 12, 768, 1024, 50304
    shapes = {"wte.weight": (vocabulary, channels), "wpe.weight": (context, channels), "ln_f.weight": (channels,), "ln_f.bias": (channels,)}
    for i in range(layers):
        for name, outputs, inputs in (("attn.qkv", 3, 1), ("attn.proj", 1, 1), ("mlp.fc", 4, 1), ("mlp.proj", 1, 4)):
            shapes[f"h.{i}.{name}.weight"] = (outputs * channels, inputs * channels)
            shapes[f"h.{i}.{name}.bias"] = (outputs * channels,)
        for name in ("ln_1", "ln_2"):
            shapes[f"h.{i}.{name}.weight"] = shapes[f"h.{i}.{name}.bias"] = (channels,)
    w = {name: torch.nn.Parameter(torch.randn(shape, device="cuda", generator=generator) * 0.02) for name, shape in shapes.items()}
    optimizer = torch.optim.AdamW(w.values(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    compiled = torch.compile(forward)
    tokens = torch.randint(50257, (arguments.sequences, context + 1), device="cuda", generator=generator)

    def step():
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = compiled(w, tokens[:, :-1], tokens[:, 1:], layers, heads)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(w.values(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    for _ in range(5):
        step()
    torch.cuda.synchronize()
    begin, count = time.perf_counter(), 20
    for _ in range(count):
        step()
    torch.cuda.synchronize()
    took = (time.perf_counter() - begin) / count
    print(f"PyTorch {torch.__version__} compile, {arguments.sequences} sequences: step {1e3 * took:.2f} ms, "
          f"{arguments.sequences * context / took:.0f} tokens/s")
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    sub = commands.add_parser("losses")
    sub.set_defaults(run=losses)
    for name in ("checkpoint", "text", "log"):
        sub.add_argument(name)
    for name, default in (("steps", 100), ("batch", 32), ("seed", 1), ("warmup", 100)):
        sub.add_argument(f"--{name}", type=int, default=default)
    for name, default in (("learning-rate", 8.5714e-5), ("weight-decay", 0.1), ("clip-norm", 1.0), ("validation-fraction", 0.1)):
        sub.add_argument(f"--{name}", type=float, default=default)
    sub = commands.add_parser("speed")
    sub.set_defaults(run=speed)
    sub.add_argument("sequences", type=int, nargs="?", default=64)
    arguments = parser.parse_args()
    return arguments.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
