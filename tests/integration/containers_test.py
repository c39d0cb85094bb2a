#!/usr/bin/python3
"""Coordinator and three workers in podman containers on one bridge run examples/digits_mlp.yaml; a worker's container is killed and the job
succeeds.

The image is RINGMASTER_IMAGE_ARCHIVE (podman save) if set, else one made here of the built binaries and the libraries they load. Storage and
network live in a directory and a network namespace of this test.
"""
import json
import os
import re
import shutil
import subprocess
import tarfile

from harness import RINGMASTER, ROOT, Sandbox, find_binary, skip

NETNS = f"rmc{os.getpid()}"
NETWORK = f"ring{os.getpid()}"  # podman keeps networks for the whole machine
IMAGE = "localhost/ringmaster-test"

# Containers call each other by name.
DNS_HELPERS = ("/usr/lib/podman/aardvark-dns", "/usr/libexec/podman/aardvark-dns", "/usr/lib/cni/dnsname")

CONTAINERS_CONF = """[containers]
default_ulimits = ["nofile=4096:4096","nproc=8192:8192"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""


class Podman:
    def __init__(self, directory):
        self.directory = directory
        (directory / "containers.conf").write_text(CONTAINERS_CONF)
        (directory / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{directory}/graph"\nrunroot = "{directory}/run"\n')
        self.env = {**os.environ, "CONTAINERS_CONF": str(directory / "containers.conf"),
                    "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf")}

    def __call__(self, *words, timeout=120, check=True, stdin=None):
        done = subprocess.run(["nsenter", f"--net=/run/netns/{NETNS}", "podman", *map(str, words)], capture_output=True, timeout=timeout,
                              env=self.env, stdin=stdin)
        done.stdout, done.stderr = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        if check and done.returncode:
            raise AssertionError(f"podman {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done


def make_image(podman, directory):
    archive = os.environ.get("RINGMASTER_IMAGE_ARCHIVE")
    if archive:
        loaded = podman("load", "-i", archive).stdout
        podman("tag", re.search(r"Loaded image.*?: (\S+)", loaded).group(1), IMAGE)
        return
    binaries = [RINGMASTER, find_binary("ringmaster-trainer")]
    needed = set()
    for binary in binaries:
        listing = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
        needed |= set(re.findall(r"(/\S+\.so\S*)", listing))
    tar_path = directory / "image.tar"
    with tarfile.open(tar_path, "w") as tar:
        for binary in binaries:
            tar.add(binary, f"usr/local/bin/{os.path.basename(binary)}")
        for library in needed:
            tar.add(os.path.realpath(library), library.lstrip("/"))
        for folder in ("tmp", "state", "srv", "checkpoints", "etc", "proc", "dev"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
            tar.addfile(entry)
    podman("import", "-c", "ENV PATH=/usr/local/bin", "-c", 'ENTRYPOINT ["/usr/local/bin/ringmaster"]', "-c", "WORKDIR /srv", tar_path, IMAGE)


def scenario(podman, sandbox):
    shared = sandbox.path("shared")
    shared.mkdir()
    shared.chmod(0o777)
    podman("network", "create", NETWORK)

    def start(name, *command):
        podman("run", "-d", "--name", name, "--hostname", name, "--network", NETWORK, "-e", "RINGMASTER_COORDINATOR=coordinator:7077",
               "-e", "OMP_NUM_THREADS=1",  # the workers share one host and cannot know of each other
               "-v", f"{shared}:/checkpoints", "-v", f"{ROOT}/examples:/srv/examples:ro", IMAGE, *command)

    def ask(*command, timeout=60, check=True):
        return podman("exec", "coordinator", "/usr/local/bin/ringmaster", *command, timeout=timeout, check=check)

    start("coordinator", "coordinator", "--listen", "0.0.0.0:7077", "--state-dir", "/state")
    for number in (1, 2, 3):
        start(f"worker{number}", "worker", "--coordinator", "coordinator:7077", "--slots", "1", "--work-dir", "/srv/logs")
    ask("health", "--wait", "30s")
    ask("submit", "examples/digits_mlp.yaml", "--set", "checkpoint.directory=/checkpoints", "--set", "checkpoint.every_steps=100",
        "--set", "train.steps=3000")

    watch = subprocess.Popen(["nsenter", f"--net=/run/netns/{NETNS}", "podman", "exec", "coordinator", "/usr/local/bin/ringmaster", "watch",
                              "digits-mlp", "--output", "json"], stdout=subprocess.PIPE, env=podman.env, text=True)
    killed, last = None, None
    for line in watch.stdout:
        last = json.loads(line)
        if killed is None and last.get("event") == "progress" and last["step"] >= 300:
            ranks = json.loads(ask("status", "digits-mlp", "--output", "json").stdout)["jobs"][0]["ranks"]
            killed = ranks[-1]["host"]
            podman("kill", "-s", "KILL", killed)
    history = ask("status", "digits-mlp", "--history").stdout
    history += "".join(ask("logs", "digits-mlp", "--rank", rank).stdout[:3000] for rank in (0, 1))
    assert watch.wait(30) == 0 and last["state"] == "Succeeded", (last, history)
    assert killed and last["epochs"] == 2 and last["failures"] >= 1, (last, history)
    assert killed in history, history
    listed = json.loads(ask("checkpoints", "digits-mlp", "--verify", "--output", "json").stdout)["checkpoints"]
    assert listed[-1]["verified"] is True, listed
    print(f"{killed} killed; {last}")
    podman("stop", "-t", "20", "coordinator", "worker1", "worker2", "worker3", check=False)
    codes = {name: podman("inspect", "-f", "{{.State.ExitCode}}", name).stdout.strip() for name in ("coordinator", "worker1", "worker2", "worker3")}
    assert all(code == "0" for name, code in codes.items() if name != killed), f"SIGTERM did not end them in order: {codes}"


def main():
    if os.geteuid() != 0:
        skip("needs root")
    for tool in ("podman", "runc", "nsenter"):
        if not shutil.which(tool):
            skip(f"{tool} is not installed")
    if subprocess.run(["ip", "netns", "add", NETNS], capture_output=True).returncode:
        skip("no network namespaces here")
    try:
        subprocess.run(["ip", "-n", NETNS, "link", "set", "lo", "up"], check=True)
        with Sandbox() as sandbox:
            podman = Podman(sandbox.directory)
            if podman("info", check=False).returncode:
                skip("podman info fails: no container engine runs here")
            if not any(os.path.exists(helper) for helper in DNS_HELPERS):
                skip("podman resolves no container names: install aardvark-dns and netavark")
            try:
                make_image(podman, sandbox.directory)
                scenario(podman, sandbox)
            finally:
                podman("rm", "-af", "-t", "0", check=False)
                podman("network", "rm", "-f", NETWORK, check=False)
                podman("rmi", "-af", check=False)
                subprocess.run(["umount", "-R", str(sandbox.path("graph"))], capture_output=True)
                subprocess.run(["umount", str(sandbox.path("graph") / "overlay")], capture_output=True)
    finally:
        subprocess.run(["ip", "netns", "del", NETNS], capture_output=True)
    print("1 passed, 0 failed")


if __name__ == "__main__":
    main()
