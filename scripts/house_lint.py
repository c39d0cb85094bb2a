#!/usr/bin/env python3
"""House rules that no compiler checks. Prints FILE:LINE: what is wrong: what to do instead. Exit code 1 if anything was found.

Runs as a test (//scripts:house_lint_test) and in scripts/presubmit.sh; `house_lint.py --self-test` shows that each rule can fail.
"""
import os
import re
import subprocess
import sys

SOURCE = (".cc", ".h", ".cu", ".cuh")
LONGEST = 450  # lines; files in LONG_FILES may stay as long as they are and never grow
LONG_FILES = {}

# pattern, what to do instead, files where it is right
BANS = [
    (r"\b(sleep_for|sleep_until|usleep|nanosleep|SleepFor)\s*\(", "wait for the event itself with a deadline", ()),
    (r"\b(system_clock|steady_clock|high_resolution_clock)::now|\bclock_gettime\s*\(|\bgettimeofday\s*\(|absl::Now\s*\(|\btime\s*\(\s*(NULL|nullptr|0)\s*\)",
     "take `const Clock&` or `now` as an argument; common/real_clock.cc alone reads the clock", ("common/real_clock.cc", "_bench.cc", "/testing/", "tests/bench/")),
    (r"\bstd::(mutex|condition_variable|lock_guard|unique_lock|scoped_lock)\b", "use common/mutex.h (annotated, TSan-clean)", ("common/mutex.h",)),
    (r"\babsl::(Mutex|MutexLock|CondVar)\b", "use common/mutex.h (Debian's absl::Mutex is not instrumented)", ()),
    (r"(?<!\w)\bassert\s*\(", "use RM_CHECK for our own bugs, a Status for everything else", ()),
    (r"\b(rand|drand48)\s*\(\s*\)|\bsrand\s*\(", "take a seed; randomness comes in as data", ()),
    (r"\b(sprintf|strcpy|strcat|gets)\s*\(", "use absl::StrFormat / absl::StrCat", ()),
    (r"(?<![\w.:>])(system|popen)\s*\(", "use posix_spawn with an argument vector", ()),
    (r"\b(getenv|secure_getenv)\s*\(", "environment is read in main.cc and command files; pass values on", ("main.cc", "cli/", "_test.cc", "_bench.cc", "/testing/")),
    (r"\bcuMulticastCreate\b|\bmultimem\.|\bcudaMallocManaged\b|\bcuMemAllocManaged\b", "NVLink multicast and managed memory stay off", ()),
    (r"\bcatch\s*\(\s*\.\.\.\s*\)", "catch the library's own exception type and turn it into a Status", ()),
    (r"#\s*include\s*[<\"]spdlog/", "log through common/log.h", ("common/log.cc",)),
    (r"\bdetach\s*\(\s*\)", "every thread has an owner that joins it", ()),
]

# The include law, for what visibility cannot express: folders that must stay pure.
PURE_FOLDERS = ("coordinator/core/", "worker/core/", "collectives/plan/")
PURE_BANNED = re.compile(
    r"#\s*include\s*[<\"](grpc|google/protobuf|proto/|thread|mutex|condition_variable|chrono|fstream|filesystem|iostream|future|"
    r"absl/time/clock\.h|absl/synchronization|common/(mutex|log|real_clock|clock|file_descriptor)\.h|sys/|unistd\.h|fcntl\.h|time\.h)")
LAYERS = [
    ("common/", r"\"(coordinator|worker|collectives|trainer|cli|proto)/", "common depends on nothing of ours"),
    ("worker/", r"\"(coordinator|collectives|trainer|cli)/", "the worker never sees coordinator, collectives or trainer: it starts a process"),
    ("coordinator/", r"\"(worker|collectives|trainer|cli)/", "the coordinator never sees worker, collectives or trainer"),
    ("collectives/", r"\"(coordinator|worker|trainer|cli|proto)/|[<\"]grpc", "collectives never see gRPC, proto or their users"),
    ("trainer/ops/", r"\"(collectives|proto)/", "the model never sees collectives or proto"),
    ("trainer/layers/", r"\"(collectives|proto)/", "the model never sees collectives or proto"),
    ("trainer/models/", r"\"(collectives|proto)/", "the model never sees collectives or proto"),
    ("trainer/", r"\"(coordinator|worker|cli)/", "the trainer talks to the coordinator over gRPC alone"),
]
TRACES = re.compile(r"(^|[\s\"'=(:])/(work|root)/|/tmp/[a-z]|registry\.npmjs|deb\.debian|pypi\.org|docker\.io/")


def strip_comment(line):
    return re.sub(r"//.*", "", line)


def lint_line(path, line):
    code = strip_comment(line)
    for pattern, instead, allowed in BANS:
        if re.search(pattern, code) and not any(part in path for part in allowed):
            yield f"{re.search(pattern, code).group(0).strip()!r} is banned: {instead}"
    if path.startswith(PURE_FOLDERS) and not path.endswith("_test.cc") and PURE_BANNED.search(code):
        yield f"a pure core must not include {code.strip()!r}: pass values in, return effects"
    if code.lstrip().startswith("#") and not path.endswith("_test.cc"):
        for folder, pattern, why in LAYERS:
            if path.startswith(folder) and "include" in code and re.search(pattern, code):
                yield f"include law: {why}"


def lint_file(path, text):
    lines = text.split("\n")
    if path.endswith(SOURCE):
        for number, line in enumerate(lines, 1):
            for problem in lint_line(path, line):
                yield number, problem
        allowed = LONG_FILES.get(path, LONGEST)
        if len(lines) - 1 > allowed:
            yield len(lines), f"{len(lines) - 1} lines, at most {allowed}: split it by idea"
    if path.endswith(".h"):
        guard = "RINGMASTER_" + re.sub(r"[/.]", "_", path).upper() + "_"
        if f"#ifndef {guard}" not in text:
            yield 1, f"include guard must be {guard}"
    if not path.endswith("house_lint.py"):
        for number, line in enumerate(lines, 1):
            if TRACES.search(line) and not path.endswith((".gitignore",)):
                yield number, "path or host of one machine: use a relative path, a temporary directory or a package name"


def dead_files(paths):
    """Sources that no BUILD file of their folder names; scripts that nothing mentions."""
    builds = {}
    for path in paths:
        if os.path.basename(path) == "BUILD.bazel":
            with open(path, encoding="utf-8") as file:
                builds[os.path.dirname(path)] = file.read()
    for path in paths:
        if not path.endswith(SOURCE):
            continue
        folder, found = os.path.dirname(path), False
        while not found:
            if folder in builds:
                name = os.path.relpath(path, folder or ".")
                found = f'"{name}"' in builds[folder] or f":{name}\"" in "".join(builds.values())
                break
            if not folder:
                break
            folder = os.path.dirname(folder)
        if not found:
            yield path, 1, "no target uses this file: name it in BUILD.bazel or delete it"


def self_test():
    must_fail = [
        ("a.cc", "std::this_thread::sleep_for(x);"), ("a.cc", "auto t = std::chrono::steady_clock::now();"), ("a.cc", "std::mutex mu;"),
        ("a.cc", "assert(x);"), ("a.cc", "int r = rand();"), ("a.cc", "system(\"ls\");"), ("a.cc", "const char* v = getenv(\"X\");"),
        ("a.cu", "cudaMallocManaged(&p, n);"), ("a.cc", "} catch (...) {"), ("a.cc", "thread.detach();"),
        ("coordinator/core/a.h", "#include <thread>"), ("coordinator/core/a.h", "#include \"proto/job.pb.h\""),
        ("worker/a.cc", "#include \"coordinator/coordinator.h\""), ("trainer/models/a.cc", "#include \"collectives/communicator.h\""),
    ]
    must_pass = [
        ("common/real_clock.cc", "clock_gettime(CLOCK_MONOTONIC, &t);"), ("a.cc", "// sleep_for(x) would be wrong"),
        ("a.cc", "static_assert(sizeof(x) == 4);"), ("trainer/main.cc", "getenv(\"X\")"), ("coordinator/core/a.h", "#include \"common/ids.h\""),
    ]
    wrong = [case for case in must_fail if not list(lint_line(*case))] + [case for case in must_pass if list(lint_line(*case))]
    for path, line in wrong:
        print(f"self-test: wrong verdict for {path}: {line}")
    return 1 if wrong else 0


def main():
    if "--self-test" in sys.argv:
        return self_test()
    os.chdir(os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], capture_output=True, text=True, check=True)
    paths = sorted(path for path in listed.stdout.split("\n") if path and os.path.isfile(path))
    found = list(dead_files(paths))
    for path in paths:
        try:
            with open(path, encoding="utf-8") as file:
                found += [(path, number, problem) for number, problem in lint_file(path, file.read())]
        except UnicodeDecodeError:
            continue
    for path, number, problem in found:
        print(f"{path}:{number}: {problem}")
    print(f"house lint: {len(paths)} files, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
