"""Drives the real binaries for integration tests: starts them, reads their JSON, kills them, and checks that nothing is left behind.

Standard library only. Every wait has a deadline; what a test waits for is an event of the CLI's own JSON stream or a pidfd.
"""
import contextlib
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def find_binary(name):
    candidates = [pathlib.Path(os.environ.get("RINGMASTER_BIN", "")) / name if os.environ.get("RINGMASTER_BIN") else None,
                  pathlib.Path(os.environ.get("TEST_SRCDIR", "")) / "ringmaster" / name if os.environ.get("TEST_SRCDIR") else None,
                  ROOT / "bazel-bin" / name]
    for candidate in candidates:
        if candidate and candidate.exists():
            return str(candidate.resolve())
    raise SystemExit(f"{name} not found; build it with: bazel build //:{name} (or set RINGMASTER_BIN to its folder)")


RINGMASTER = find_binary("ringmaster")


def skip(reason):
    """Ends the test as passed, loudly: only for what the machine lacks."""
    print(f"SKIPPED: {pathlib.Path(sys.argv[0]).name}: {reason}", flush=True)
    raise SystemExit(0)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def ringmaster(*arguments, timeout=120, check=None, env=None, cwd=None, prefix=()):
    """Runs a command to its end. check: the exit code that must come, None for any."""
    done = subprocess.run([*prefix, RINGMASTER, *map(str, arguments)], capture_output=True, text=True, timeout=timeout, cwd=cwd,
                          env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL)
    if check is not None and done.returncode != check:
        raise AssertionError(f"ringmaster {' '.join(map(str, arguments))}: exit code {done.returncode}, expected {check}\n"
                             f"stdout:\n{done.stdout[-4000:]}\nstderr:\n{done.stderr[-4000:]}")
    return done


def ringmaster_json(*arguments, **options):
    return json.loads(ringmaster(*arguments, "--output", "json", check=0, **options).stdout)


def pid_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def readable(fd, timeout):
    """Whether there is something to read, or its end, within this many seconds. (select() knows descriptors below 1024 alone.)"""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0, timeout) * 1000))


def wait_dead(pid, timeout):
    """Waits for the end of any process, child or not. Returns the seconds it took; fails after `timeout`."""
    began = time.monotonic()
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return 0.0
    try:
        ready = readable(fd, timeout)
        if not ready:
            raise AssertionError(f"pid {pid} still alive after {timeout} s")
    finally:
        os.close(fd)
    return time.monotonic() - began


def processes_of_job(job):
    """Pids whose environment says that they belong to the job: trainers, commands and whatever these started."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                environment = pathlib.Path(f"/proc/{entry}/environ").read_bytes().split(b"\0")
                if f"RINGMASTER_JOB={job}".encode() in environment and pid_alive(int(entry)):
                    found.append(int(entry))
    return found


class Lines:
    """The lines of a pipe as they come; with `copy` also written to that file."""

    def __init__(self, fd, copy=None):
        self.fd = fd
        self.copy = copy
        self.buffer = b""

    def next(self, timeout):
        """The next line, None at the end. TimeoutError: there was none within so many seconds."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.buffer:
            if not readable(self.fd, deadline - time.monotonic()):
                raise TimeoutError(f"no line for {timeout} s")
            chunk = os.read(self.fd, 65536)
            if not chunk:
                return None
            self.buffer += chunk
            if self.copy:
                self.copy.write(chunk)
                self.copy.flush()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode(errors="replace")


class Process:
    """A long-running ringmaster command whose output lines are read as they come; with follow_log its log's lines too, as `log_lines`."""

    def __init__(self, *arguments, log, prefix=(), cwd=None, env=None, follow_log=False):
        self.name = " ".join(map(str, arguments))
        self.log = open(log, "ab")
        self.process = subprocess.Popen([*prefix, RINGMASTER, *map(str, arguments)], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE if follow_log else self.log, cwd=cwd,
                                        stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})})
        self.output = Lines(self.process.stdout.fileno())
        self.log_lines = Lines(self.process.stderr.fileno(), copy=self.log) if follow_log else None

    @property
    def pid(self):
        return self.process.pid

    def line(self, timeout):
        """The next line of its stdout, None at its end."""
        try:
            return self.output.next(timeout)
        except TimeoutError:
            raise AssertionError(f"{self.name}: no output for {timeout} s; log: {self.log.name}\n{self.log_tail()}") from None

    def events(self, timeout):
        """JSON objects of its stdout until it ends; `timeout` bounds the gap between two."""
        while (line := self.line(timeout)) is not None:
            if line.startswith("{"):
                yield json.loads(line)

    def finish(self, timeout):
        """The last event (job_finished) and the exit code."""
        last = None
        for event in self.events(timeout):
            last = event
        return last, self.process.wait(timeout)

    def log_tail(self):
        if self.log_lines:
            with contextlib.suppress(TimeoutError):
                while self.log_lines.next(0) is not None:
                    pass
        return pathlib.Path(self.log.name).read_text(errors="replace")[-4000:]

    def kill(self, number=signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)
        return self.process.wait(30)

    def stop(self):
        if self.process.poll() is None:
            self.kill(signal.SIGTERM)


class Sandbox:
    """A directory for one test and the processes it started; everything is gone afterwards."""

    def __enter__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ringmaster-", dir=os.environ.get("TEST_TMPDIR")))
        self.started = []
        return self

    def __exit__(self, kind, error, trace):
        for process in reversed(self.started):
            with contextlib.suppress(Exception):
                process.kill()
        if kind is None:
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            for process in self.started:
                print(f"--- {process.name}\n{process.log_tail()}", flush=True)
            for log in sorted(self.directory.rglob("rank-*.err")):
                print(f"--- {log.relative_to(self.directory)}\n{log.read_text(errors='replace')[-2000:]}", flush=True)

    def path(self, name):
        return self.directory / name

    def start(self, *arguments, name="process", **options):
        process = Process(*arguments, log=self.path(f"{name}-{len(self.started)}.log"), **options)
        self.started.append(process)
        return process

    def coordinator(self, port=None, state="state", host="127.0.0.1", **options):
        port = port or free_port()
        process = self.start("coordinator", "--listen", f"{host}:{port}", "--state-dir", self.path(state), name="coordinator", **options)
        process.address = f"{host}:{port}"
        self.wait_ready(process)
        return process

    def worker(self, coordinator, name, slots, **options):
        process = self.start("worker", "--coordinator", coordinator, "--name", name, "--slots", slots, "--work-dir", self.path(name),
                             name=f"worker-{name}", **options)
        self.wait_ready(process)
        return process

    @staticmethod
    def wait_ready(process):
        """Both print one line on stdout when they serve."""
        if process.line(30) is None:
            raise AssertionError(f"{process.name} ended at once: exit code {process.process.wait(5)}\n{process.log_tail()}")

    def job(self, name="job", **fields):
        """Writes a small GPT job; keyword arguments replace top-level fields."""
        spec = {
            "name": name,
            "parallel": {"data": 2},
            "model": {"gpt": {"layers": 2, "heads": 2, "channels": 64, "context": 32}},
            "data": {"text": {"files": ["/usr/share/common-licenses/GPL-3"]}},
            "train": {"steps": 300, "global_batch": 16, "optimizer": {"adamw": {"learning_rate": 0.001}}, "validate_every": 100,
                      "validation_samples": 64, "seed": 1, "clip_norm": 1.0},
            "checkpoint": {"directory": str(self.path("checkpoints")), "every_steps": 20, "keep": 2},
            "restart": {"max_failures": 20, "backoff": "0.05s", "backoff_max": "0.2s"},
            **fields,
        }
        path = self.path(f"{name}.json")
        path.write_text(json.dumps(spec))
        return path

    def final_digest(self, finished):
        """Re-reads every byte of the checkpoint that job_finished names; returns the digest over its global tensors."""
        listed = ringmaster_json("checkpoints", pathlib.Path(finished["checkpoint"]).parent, "--verify")["checkpoints"]
        last = max(listed, key=lambda checkpoint: checkpoint["step"])
        assert last["verified"] is True, last
        assert os.path.realpath(last["path"]) == os.path.realpath(finished["checkpoint"]), (last, finished)
        return last["digest"]


def check_nothing_left(job, directory):
    left = processes_of_job(job)
    assert not left, f"orphans of {job}: {left}"
    shared = [name for name in os.listdir("/dev/shm") if "ringmaster" in name.lower()]
    assert not shared, f"shared memory left behind: {shared}"
    half = [path for path in pathlib.Path(directory).rglob("*.tmp*")] if pathlib.Path(directory).exists() else []
    assert not half, f"half checkpoints left behind: {half}"
