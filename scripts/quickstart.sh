#!/usr/bin/env bash
# The README's first command: from a fresh Debian 12 to a trained character GPT, its committed checkpoints and a sample of its text.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
bazel build //:ringmaster //:ringmaster-trainer
export PATH="$PWD/bazel-bin:$PATH"

echo
echo "== ringmaster run examples/char_gpt.yaml   (two ranks, data parallel, on the licence texts of this machine)"
finished=$(mktemp)
trap 'rm -f "$finished"' EXIT
ringmaster run examples/char_gpt.yaml --summary "$finished"
checkpoint=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["checkpoint"])' "$finished")

echo
echo "== ringmaster checkpoints $(dirname "$checkpoint") --verify"
ringmaster checkpoints "$(dirname "$checkpoint")" --verify

echo
echo "== ringmaster generate $checkpoint --prompt 'This License '"
ringmaster generate "$checkpoint" --prompt 'This License ' --bytes 400
echo
echo "quickstart: done. Next: scripts/test.sh, then the tour in README.md"
