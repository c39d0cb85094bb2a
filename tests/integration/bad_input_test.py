#!/usr/bin/python3
"""Bad input from a user's hands: each case gives its exit code and a message that names the thing, what was found and what was expected."""
import json
import os
import pathlib
import socket
import struct
import subprocess

from harness import RINGMASTER, Sandbox, free_port, ringmaster, ringmaster_json

CASES = []


def case(code, *words):
    """Registers a function that runs the bad call; exit code and all words (in any case) must come back."""
    def register(function):
        CASES.append((function, code, words))
        return function
    return register


def spec_with(box, path, value, name="bad"):
    """The small good job with one field replaced; path like 'train.steps'."""
    target = box.job(name)
    spec = json.loads(target.read_text())
    node, *keys = spec, *path.split(".")
    for key in keys[:-1]:
        node = node.setdefault(key, {})
    node[keys[-1]] = value
    target.write_text(json.dumps(spec))
    return target


def run(box, spec, *more, **options):
    return ringmaster("run", spec, "--state-dir", box.path("state"), *more, **options)


def spec_case(code, path, value, *words):
    CASES.append((lambda box: run(box, spec_with(box, path, value)), code, words))
    CASES[-1][0].__name__ = f"{path}={json.dumps(value)[:40]}"


spec_case(2, "train.stepps", 10, "stepps", "did you mean", "steps")
spec_case(2, "train.steps", "many", "steps", "many", "number")
spec_case(2, "train.steps", 0, "steps", "0")
spec_case(2, "train.global_batch", 7, "global_batch", "7", "2")
spec_case(2, "model.gpt.heads", 3, "heads", "3", "64")
spec_case(2, "model.gpt.layers", -1, "layers", "-1")
spec_case(2, "data.text.files", ["/nonexistent/corpus.txt"], "/nonexistent/corpus.txt", "no such file")
spec_case(2, "data.text.files", [], "files")
spec_case(2, "data.text.validation_fraction", 1.5, "validation_fraction", "1.5")
spec_case(2, "parallel.data", 0, "parallel.data", "0")
spec_case(2, "parallel.tensor", 3, "parallel.tensor", "3", "model.gpt.heads")
spec_case(2, "parallel.pipeline", 9, "parallel.pipeline", "9", "model.gpt.layers")
spec_case(2, "parallel.schedule", "gpipe", "parallel.schedule", "parallel.pipeline is 1")
spec_case(2, "device", "tpu", "device", "tpu", "cpu")
spec_case(2, "checkpoint.keep", 1, "keep", "1", "2")
spec_case(2, "name", "Bad Name!", "name", "Bad Name!")
spec_case(2, "restart.backoff", "soon", "backoff", "soon")
spec_case(2, "command", ["true"], "command", "model")


@case(2, "nowhere.yaml", "no such file")
def missing_spec_file(box):
    return run(box, box.path("nowhere.yaml"))


@case(2, "broken.yaml:4", "sequence")
def broken_yaml(box):
    box.path("broken.yaml").write_text("name: x\ntrain:\n  steps: [1, 2\n")
    return run(box, box.path("broken.yaml"))


@case(2, "empty")
def empty_data_file(box):
    box.path("empty.txt").write_text("")
    return run(box, spec_with(box, "data.text.files", [str(box.path("empty.txt"))]))


@case(2, "context", "bytes")
def data_shorter_than_context(box):
    box.path("short.txt").write_text("hello world")
    return run(box, spec_with(box, "data.text.files", [str(box.path("short.txt"))]))


def idx_spec(box):
    ringmaster("make-digits", "--out", box.path("digits"), "--train", 64, "--validation", 32, "--seed", 1, check=0)
    files = {p.name: p for p in box.path("digits").iterdir()}
    train_images = next(p for n, p in files.items() if "train" in n and "images" in n)
    fields = {"train_images": str(train_images), "train_labels": str(next(p for n, p in files.items() if "train" in n and "labels" in n)),
              "validation_images": str(next(p for n, p in files.items() if "train" not in n and "images" in n)),
              "validation_labels": str(next(p for n, p in files.items() if "train" not in n and "labels" in n))}
    spec = box.job("idx", model={"mlp": {"hidden": [16]}}, data={"idx": fields},
                   train={"steps": 10, "global_batch": 8, "optimizer": {"sgd": {"learning_rate": 0.1}}})
    return spec, train_images


@case(2, "images", "bytes")
def truncated_idx(box):
    spec, images = idx_spec(box)
    with open(images, "r+b") as file:
        file.truncate(1000)
    return run(box, spec)


@case(2, "magic")
def idx_with_wrong_magic(box):
    spec, images = idx_spec(box)
    with open(images, "r+b") as file:
        file.write(b"\x00\x00\x0d\x03")
    return run(box, spec)


@case(2, "magic", "20240520")
def token_file_with_wrong_magic(box):
    box.path("t.bin").write_bytes(struct.pack("<256i", 1, 1, 4096, *[0] * 253) + b"\0" * 8192)
    tokens = {"train_files": [str(box.path("t.bin"))], "validation_files": [str(box.path("t.bin"))], "vocabulary": 256}
    return run(box, box.job("tokens", data={"tokens": tokens}))


@case(2, "token", "vocabulary", "256")
def token_outside_of_the_vocabulary(box):
    box.path("t.bin").write_bytes(struct.pack("<256i", 20240520, 1, 4096, *[0] * 253) + struct.pack("<4096H", *[999] * 4096))
    tokens = {"train_files": [str(box.path("t.bin"))], "validation_files": [str(box.path("t.bin"))], "vocabulary": 256}
    return run(box, box.job("tokens", data={"tokens": tokens}))


@case(2, "checkpoint", "/proc/ringmaster")
def unwritable_checkpoint_directory(box):
    return run(box, spec_with(box, "checkpoint.directory", "/proc/ringmaster"))


@case(69, "127.0.0.1:", "coordinator")
def wrong_coordinator_address(box):
    return ringmaster("status", "--coordinator", f"127.0.0.1:{free_port()}")


@case(69, "127.0.0.1:", "coordinator")
def worker_without_coordinator(box):
    return ringmaster("worker", "--coordinator", f"127.0.0.1:{free_port()}", "--work-dir", box.path("w"), "--connect-timeout", "1s")


@case(2, "coordinator", "no-port")
def malformed_coordinator_address(box):
    return ringmaster("status", "--coordinator", "no-port")


@case(2, "--bogus")
def unknown_option(box):
    return ringmaster("run", "--bogus")


@case(2, "in use")
def port_in_use(box):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        return ringmaster("coordinator", "--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--state-dir", box.path("state"))


@case(2, "pid")
def second_coordinator_on_one_state_directory(box):
    box.coordinator()
    return ringmaster("coordinator", "--listen", "127.0.0.1:0", "--state-dir", box.path("state"))


@case(2, "is live", "twice")
def duplicate_job_name(box):
    coordinator = box.coordinator()
    ringmaster("submit", box.job("twice"), "--coordinator", coordinator.address, check=0)
    done = ringmaster("submit", box.job("twice"), "--coordinator", coordinator.address)
    jobs = ringmaster_json("status", "--coordinator", coordinator.address)["jobs"]
    assert [job["state"] for job in jobs] == ["Pending"], jobs  # the first one is untouched
    return done


@case(2, "nothing-here")
def unknown_job(box):
    return ringmaster("status", "nothing-here", "--coordinator", box.coordinator().address)


@case(2, "rank", "7")
def logs_of_a_rank_that_is_not_there(box):
    coordinator = box.coordinator()
    ringmaster("submit", box.job("short"), "--coordinator", coordinator.address, check=0)
    return ringmaster("logs", "short", "--rank", "7", "--coordinator", coordinator.address)


@case(2, "gpt", "layers=2", "layers=1")
def checkpoint_of_another_model(box):
    spec = box.job("grown", train={"steps": 4, "global_batch": 4, "optimizer": {"adamw": {"learning_rate": 0.001}}})
    finished = json.loads(run(box, spec, "--output", "json").stdout.strip().split("\n")[-1])
    other = spec_with(box, "model.gpt.layers", 1, name="grown")
    done = run(box, other, "--resume", finished["checkpoint"])
    listed = ringmaster_json("checkpoints", pathlib.Path(finished["checkpoint"]).parent, "--verify")["checkpoints"]
    assert listed[-1]["verified"] is True, listed  # the refused checkpoint is as good as before
    return done


@case(1, "MANIFEST")
def flipped_manifest(box):
    spec = box.job("flip", train={"steps": 4, "global_batch": 4, "optimizer": {"adamw": {"learning_rate": 0.001}}})
    finished = json.loads(run(box, spec, "--output", "json").stdout.strip().split("\n")[-1])
    with open(pathlib.Path(finished["checkpoint"]) / "MANIFEST.pb", "r+b") as file:
        file.seek(40)
        byte = file.read(1)
        file.seek(40)
        file.write(bytes([byte[0] ^ 1]))
    return ringmaster("generate", finished["checkpoint"], "--prompt", "x")


@case(1, "No space left")
def full_disk(box):
    """The checkpoint directory is a file system of 256 KiB, in a mount namespace of its own."""
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode:
        return None  # not root, or a root that is no mount point (a plain chroot)
    small = box.path("small")
    small.mkdir()
    spec = spec_with(box, "checkpoint.directory", str(small))
    script = f'mount -t tmpfs -o size=256k none {small} && exec "$@"'
    return subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", RINGMASTER, "run", spec, "--state-dir", box.path("state")],
                          capture_output=True, text=True, timeout=120)


@case(0)
def garbage_on_the_grpc_port_hurts_nobody(box):
    coordinator = box.coordinator()
    host, port = coordinator.address.rsplit(":", 1)
    for garbage in (b"\0" * 4096, b"GET / HTTP/1.1\r\n\r\n", os.urandom(65536), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 1000):
        with socket.create_connection((host, int(port)), timeout=5) as wire:
            try:
                wire.sendall(garbage)
            except OSError:
                pass  # it hung up on us: right
    return ringmaster("status", "--coordinator", coordinator.address)


@case(2, "message", "larger")
def over_long_message(box):
    return ringmaster("submit", spec_with(box, "data.text.files", ["/x" * 60] * 60000), "--coordinator", box.coordinator().address)


def main():
    failed = 0
    for function, code, words in CASES:
        with Sandbox() as box:
            problem = None
            try:
                done = function(box)
                if done is None:
                    print(f"SKIPPED: bad_input_test.py: {function.__name__}: no mount namespaces here")
                    continue
                text = (done.stdout + done.stderr).lower()
                if done.returncode != code:
                    problem = f"exit code {done.returncode}, expected {code}"
                elif missing := [word for word in words if word.lower() not in text]:
                    problem = f"message lacks {missing}"
            except (AssertionError, subprocess.TimeoutExpired, StopIteration, OSError, IndexError) as error:
                done, problem = None, f"{type(error).__name__}: {error}"
            if problem:
                failed += 1
                print(f"FAIL  {function.__name__}: {problem}\n" + (f"stdout: {done.stdout[-800:]}\nstderr: {done.stderr[-1500:]}" if done else ""))
            else:
                print(f"ok    {function.__name__}")
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
