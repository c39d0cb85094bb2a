#!/usr/bin/python3
"""The example clients of other languages against a real coordinator: job status from Python, health and reflection from Node."""
import os
import pathlib
import shutil
import subprocess

from harness import ROOT, Sandbox, ringmaster, skip


def run(*command, cwd=None, env=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=cwd, env={**os.environ, **(env or {})})
    assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def node_modules():
    """A folder with the two packages: RINGMASTER_NODE_MODULES, or installed by npm here. None where that cannot be had."""
    given = os.environ.get("RINGMASTER_NODE_MODULES")
    if given:
        return given
    if not shutil.which("node") or not shutil.which("npm"):
        return None
    folder = pathlib.Path(os.environ.get("TEST_TMPDIR", "/var/tmp")) / "node"
    folder.mkdir(exist_ok=True)
    env = {**os.environ, "HOME": os.environ.get("HOME") or str(folder)}
    installed = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--silent", "@grpc/grpc-js", "@grpc/proto-loader"], cwd=folder,
                               capture_output=True, timeout=180, env=env)
    return str(folder / "node_modules") if installed.returncode == 0 else None


clients = ROOT / "examples" / "clients"
ran, skipped = 0, []
with Sandbox() as sandbox:
    coordinator = sandbox.coordinator()
    ringmaster("submit", sandbox.job("asked"), "--coordinator", coordinator.address, check=0)

    if subprocess.run(["/usr/bin/python3", "-c", "import grpc, google.protobuf"], capture_output=True).returncode:
        skipped.append("python3-grpcio is not installed")
    else:
        out = run("/usr/bin/python3", str(clients / "job_status.py"), coordinator.address)
        assert "asked-" in out and " Pending " in out, out
        out = run("/usr/bin/python3", str(clients / "job_status.py"), coordinator.address, "asked")
        assert "step=0/" in out, out
        ran += 1

    modules = node_modules()
    if modules is None:
        skipped.append("node with @grpc/grpc-js cannot be had")
    else:
        copied = sandbox.path("clients")
        shutil.copytree(clients, copied)
        (copied / "node_modules").symlink_to(modules)
        out = run("node", str(copied / "health.js"), coordinator.address)
        assert "health: SERVING" in out, out
        for service in ("ringmaster.v1.JobService", "ringmaster.v1.WorkerService", "ringmaster.v1.TrainerService", "grpc.health.v1.Health"):
            assert f"service: {service}" in out, out
        ran += 1

if not ran:
    skip("; ".join(skipped))
for reason in skipped:
    print(f"SKIPPED: clients_test.py: {reason}")
print(f"{ran} passed, 0 failed")
