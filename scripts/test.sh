#!/usr/bin/env bash
# Builds Ringmaster and runs every test. Works on a fresh Debian 12 without a GPU; the README's second command.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
bazel build //...
bazel test //... "$@"
# Tests that need a GPU, network namespaces, a container engine or another language's gRPC say so in their logs.
skipped=$(grep -rhs "SKIPPED:" bazel-testlogs/ --include=test.log | sort -u || true)
if [ -n "$skipped" ]; then
  echo "test: these could not run here:"
  echo "$skipped"
fi
echo "test: all green"
