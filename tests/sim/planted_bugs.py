#!/usr/bin/env python3
"""Plants one bug at a time in a copy of the cores and says whether the simulator catches it.

  tests/sim/planted_bugs.py [--seeds N] [--only NAME,...]   minutes; needs g++ and the Abseil headers
  tests/sim/planted_bugs.py --check                         seconds: every mutation's old text is there exactly once

A mutation is a file in tests/sim/mutations/: lines `file: PATH`, `why: WORDS`, then the old text
between `<<<<` and `====`, the new one up to `>>>>`.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
ABSL = ["absl_strings", "absl_time", "absl_status", "absl_statusor", "absl_str_format", "absl_hash"]
FLAGS = ["-std=c++20", "-O1", "-I."]
FOLDERS = ("common", "coordinator/core", "worker/core", "tests/model", "tests/sim")


def read_mutation(path):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    match = re.fullmatch(r"file: (\S+)\nwhy: (.+)\n<<<<\n(.*)====\n(.*)>>>>\n", text, re.S)
    if match is None:
        sys.exit(f"{path}: not of the form file, why, <<<<, ====, >>>>")
    return {"name": os.path.splitext(os.path.basename(path))[0], "file": match[1], "why": match[2], "old": match[3], "new": match[4]}


def read_mutations():
    return [read_mutation(path) for path in sorted(glob.glob(os.path.join(ROOT, "tests/sim/mutations/*.txt")))]


def check(mutations):
    wrong = 0
    for mutation in mutations:
        with open(os.path.join(ROOT, mutation["file"]), encoding="utf-8") as file:
            count = file.read().count(mutation["old"])
        if count != 1 or mutation["old"] == mutation["new"]:
            print(f"{mutation['name']}: its old text is {count} times in {mutation['file']}, expected once")
            wrong += 1
    print(f"{len(mutations)} mutations, {wrong} do not apply")
    return 1 if wrong or len(mutations) < 30 else 0


def sources(tree):
    found = glob.glob("tests/sim/*.cc", root_dir=tree) + glob.glob("coordinator/core/*.cc", root_dir=tree)
    found = [path for path in found if not path.endswith("_test.cc")]
    return sorted(found) + ["worker/core/worker_machine.cc", "common/check.cc", "tests/model/job_record.cc"]


def compile_one(tree, source, out):
    done = subprocess.run(["g++", *FLAGS, "-c", source, "-o", out], cwd=tree, capture_output=True, text=True)
    return done.stderr if done.returncode != 0 else ""


def link(objects, out):
    """The cores are an archive: what the simulator does not call, such as scenarios in text, is left out."""
    archive = f"{out}.a"
    main = [path for path in objects if path.endswith("tests_sim_simulate.cc.o")]
    subprocess.run(["ar", "rcs", archive, *(path for path in objects if path not in main)], check=True)
    libs = subprocess.run(["pkg-config", "--libs", *ABSL], capture_output=True, text=True, check=True).stdout.split()
    subprocess.run(["g++", "-o", out, *main, archive, *libs], check=True)


def simulate(binary, seeds):
    """What broke first, or "" when nothing did."""
    step = 500
    for begin in range(0, seeds, step):
        try:
            done = subprocess.run([binary, "--seeds", f"{begin}:{begin + step}"], capture_output=True, text=True, timeout=120)
        except subprocess.TimeoutExpired:
            return "it never ended"
        if done.returncode != 0:
            lines = [line for line in done.stdout.split("\n") if line.startswith("seed ")]
            return lines[0] if lines else (done.stderr.strip() or "it crashed").split("\n")[-1]
    return ""


def object_of(folder, source):
    return os.path.join(folder, source.replace("/", "_") + ".o")


def copy_tree(to):
    for folder in FOLDERS:
        shutil.copytree(os.path.join(ROOT, folder), os.path.join(to, folder))


def try_mutation(mutation, base_objects, seeds):
    with tempfile.TemporaryDirectory() as tree:
        copy_tree(tree)
        path = os.path.join(tree, mutation["file"])
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(mutation["old"], mutation["new"]))
        mutated = mutation["file"]
        out = object_of(tree, mutated)
        error = compile_one(tree, mutated, out)
        if error:
            return f"does not compile: {error.splitlines()[0]}"
        objects = [out if source == mutated else compiled for source, compiled in base_objects.items()]
        link(objects, os.path.join(tree, "simulate"))
        return simulate(os.path.join(tree, "simulate"), seeds)


def run(mutations, seeds, jobs):
    with tempfile.TemporaryDirectory() as base, concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        base_objects = {source: object_of(base, source) for source in sources(ROOT)}
        errors = list(pool.map(lambda pair: compile_one(ROOT, *pair), base_objects.items()))
        if any(errors):
            sys.exit("\n".join(errors))
        link(base_objects.values(), os.path.join(base, "simulate"))
        broken = simulate(os.path.join(base, "simulate"), seeds)
        if broken:
            sys.exit(f"without any planted bug: {broken}")
        print(f"base: clean over {seeds} seeds", flush=True)
        missed = []
        for mutation, result in zip(mutations, pool.map(lambda mutation: try_mutation(mutation, base_objects, seeds), mutations)):
            print(f"{mutation['name']}: {'caught' if result else 'NOT CAUGHT'}: {result or mutation['why']}", flush=True)
            if not result or result.startswith("does not compile"):
                missed.append(mutation["name"])
        print(f"{len(mutations) - len(missed)} of {len(mutations)} caught; not caught: {', '.join(missed) or 'none'}")
        return 1 if missed else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    mutations = read_mutations()
    if arguments.check:
        return check(mutations)
    only = set(filter(None, arguments.only.split(",")))
    return run([mutation for mutation in mutations if not only or mutation["name"] in only], arguments.seeds, arguments.jobs)


if __name__ == "__main__":
    sys.exit(main())
