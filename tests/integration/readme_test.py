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
    output = sandbox.path("output")
    try:
        # Into a file: what stays in the background keeps a pipe open.
        with open(output, "wb") as sink:
            code = subprocess.run(["bash", "-c", "\n".join(script)], cwd=sandbox.directory, stdout=sink, stderr=subprocess.STDOUT, timeout=280,
                                  stdin=subprocess.DEVNULL, env={**os.environ, "HOME": str(sandbox.directory)}).returncode
    finally:
        pids = sandbox.path("pids")
        for pid in pids.read_text().split() if pids.exists() else []:
            subprocess.run(["kill", "-KILL", pid], capture_output=True)
    text = output.read_text(errors="replace")
    print(text[-6000:])
    assert code == 0 and "TOUR-COMPLETE" in text, f"exit code {code}"
    print(f"{len(blocks)} passed, 0 failed")
