#!/usr/bin/python3
"""Runs the tour of README.md as it stands: every line of its ```sh tour blocks must succeed."""
import os
import pathlib
import re
import subprocess

from harness import RINGMASTER, ROOT, Sandbox

# Commands that stay in the foreground are started behind each other; each says on stdout when it serves.
START_BACKGROUND = """
exec {fd}< <({line} & echo $! >> pids; wait)
IFS= read -r -t 30 ready <&$fd || exit 1
echo "started: $ready"
"""

with Sandbox() as sandbox:
    (sandbox.directory / "examples").symlink_to(ROOT / "examples")
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```sh (tour[ \w]*)\n(.*?)```", text, re.S)
    assert len(blocks) >= 5, "the tour has gone from README.md"
    script = ["set -euo pipefail", f'mkdir -p bazel-bin; ln -sf {pathlib.Path(RINGMASTER).parent}/ringmaster* bazel-bin/']
    for kind, body in blocks:
        for line in body.strip().split("\n"):
            script.append(f"echo '$ '{line!r}")
            script.append(START_BACKGROUND.replace("{line}", line) if "background" in kind else line)
    script.append("echo TOUR-COMPLETE")
    try:
        done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=sandbox.directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=280, stdin=subprocess.DEVNULL, env={**os.environ, "HOME": str(sandbox.directory)})
    finally:
        pids = sandbox.path("pids")
        for pid in pids.read_text().split() if pids.exists() else []:
            subprocess.run(["kill", "-KILL", pid], capture_output=True)
    print(done.stdout[-6000:])
    assert done.returncode == 0 and "TOUR-COMPLETE" in done.stdout, f"exit code {done.returncode}"
    print(f"{len(blocks)} passed, 0 failed")
