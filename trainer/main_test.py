#!/usr/bin/python3
"""ringmaster-trainer as a process: what it says and how it ends where no coordinator is. Also runs by hand, beside a built bazel-bin."""
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(os.environ["TEST_SRCDIR"]) / os.environ["TEST_WORKSPACE"] if "TEST_SRCDIR" in os.environ else pathlib.Path("bazel-bin")
TRAINER = (ROOT / "ringmaster-trainer").resolve()
LIMIT_S = 60  # nothing here takes long; without it a hang would be silent

GOOD = {
    "RINGMASTER_COORDINATOR": "127.0.0.1:1",
    "RINGMASTER_JOB": "job-1",
    "RINGMASTER_EPOCH": "1",
    "RINGMASTER_INCARNATION": "1",
    "RINGMASTER_HOST": "here",
    "RINGMASTER_ADDRESS": "127.0.0.1",
    "WORLD_SIZE": "2",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "OMP_NUM_THREADS": "1",
}


def run(*arguments, environment=None):
    return subprocess.run([TRAINER, *arguments], env=environment or {}, capture_output=True, text=True, timeout=LIMIT_S)


def expect(done, code, *words):
    assert done.returncode == code, f"exit code {done.returncode}, expected {code}\n{done.stdout}{done.stderr}"
    for word in words:
        assert word in done.stderr, f"{word!r} is not in the message: {done.stderr!r}"


def test_without_environment_the_missing_variable_is_named():
    expect(run(), 2, "error: RINGMASTER_COORDINATOR is not set", "Ringmaster's worker sets it")


def test_every_variable_is_needed():
    for name in GOOD.keys() - {"OMP_NUM_THREADS"}:
        expect(run(environment={k: v for k, v in GOOD.items() if k != name}), 2, f"{name} is not set")


def test_garbage_in_a_variable_is_shown():
    for name, value in [("RINGMASTER_EPOCH", "three"), ("RINGMASTER_EPOCH", "0"), ("RINGMASTER_EPOCH", "99999999999999999999"),
                        ("RINGMASTER_INCARNATION", "-1"), ("WORLD_SIZE", "0"), ("RANK", "2"), ("LOCAL_RANK", ""),
                        ("OMP_NUM_THREADS", "many"), ("RINGMASTER_PROGRESS_BOARD_FD", "x"), ("RINGMASTER_PROGRESS_BOARD_FD", "77")]:
        expect(run(environment=GOOD | {name: value}), 2, f'{name} is "{value}"', "expected")


def stop_while_joining(number):
    """A coordinator that takes the connection and never answers: the trainer is in Join when it is told to stop."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(LIMIT_S)
        environment = GOOD | {"RINGMASTER_COORDINATOR": f"127.0.0.1:{silent.getsockname()[1]}"}
        with subprocess.Popen([TRAINER], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as trainer:
            try:
                connection, _ = silent.accept()
                with connection:
                    trainer.send_signal(number)
                    trainer.wait(LIMIT_S)
            finally:
                trainer.kill()
            output = trainer.stdout.read() + trainer.stderr.read()
            assert trainer.returncode == 128 + number, f"exit code {trainer.returncode}\n{output}"


def test_sigterm_while_joining_is_143():
    stop_while_joining(signal.SIGTERM)


def test_sigint_while_joining_is_130():
    stop_while_joining(signal.SIGINT)


def test_tools_refuse_what_is_no_checkpoint():
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR")) as directory:
        (pathlib.Path(directory) / "file").write_text("no checkpoint")
        for path in (directory + "/nothing", directory + "/file", directory):
            for tool in ("generate", "evaluate"):
                expect(run(tool, path), 2, "error: ", path)


def test_bad_usage_is_2():
    for arguments in (["generate"], ["evaluate", "x", "--output", "xml"], ["no-such-tool"], ["--no-such-flag"], ["digits"],
                      ["generate", "x", "--bytes", "-1"]):
        assert run(*arguments).returncode == 2, arguments


def test_version_and_help():
    version = run("--version")
    assert version.returncode == 0 and version.stdout.startswith("ringmaster-trainer "), version
    helped = run("--help")
    assert helped.returncode == 0 and "generate" in helped.stdout and "evaluate" in helped.stdout, helped


def main():
    failed = 0
    for name, test in list(globals().items()):
        if not name.startswith("test_"):
            continue
        try:
            test()
            print("ok  ", name)
        except (AssertionError, subprocess.TimeoutExpired, TimeoutError) as error:
            failed += 1
            print("FAIL", name, error)
    return 1 if failed else 0


sys.exit(main())
