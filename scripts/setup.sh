#!/usr/bin/env bash
# Installs every Debian 12 package that building, testing and running Ringmaster needs.
# Safe to run again: it asks apt only for what is missing, and never upgrades the system.
set -euo pipefail

packages=(
  # build
  bazel-bootstrap g++ git ca-certificates pkg-config protobuf-compiler protobuf-compiler-grpc
  bazel-rules-java bazel-rules-proto bazel-skylib
  # libraries, one for each need (docs/architecture.md)
  libgrpc++-dev libprotobuf-dev libabsl-dev libspdlog-dev libfmt-dev libcli11-dev libsqlite3-dev
  libyaml-cpp-dev libdnnl-dev prometheus-cpp-dev nlohmann-json3-dev libssl-dev libc-ares-dev libre2-dev zlib1g-dev
  liburing-dev
  # tests and checks
  libgtest-dev libgmock-dev python3 iproute2 procps
)
# Only scripts/presubmit.sh needs these.
if [ "${1:-}" = "--presubmit" ]; then
  packages+=(clang-14 clang-format-14 libclang-rt-14-dev)
fi

missing=()
for package in "${packages[@]}"; do
  if ! dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed; then
    missing+=("$package")
  fi
done
if [ "${#missing[@]}" -eq 0 ]; then
  echo "setup: all ${#packages[@]} packages are installed"
  exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup: not root and no sudo here; as root run: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
echo "setup: installing ${#missing[@]} packages: ${missing[*]}"
apt="${as_root[*]} env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 -q"
$apt update
$apt install -y --no-install-recommends --no-upgrade "${missing[@]}"
echo "setup: done"
