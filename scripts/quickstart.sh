#!/usr/bin/env bash
# The README's first command: from a fresh Debian 12 to a trained character GPT, its committed checkpoints and a sample of its text.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
bazel build //:ringmaster //:ringmaster-trainer
export PATH="$PWD/bazel-bin:$PATH"

echo
echo "== ringmaster run examples/char_gpt.yaml   (two ranks, data parallel, on the licence texts of this machine)"
ringmaster run examples/char_gpt.yaml
job=$(ls -td checkpoints/char-gpt-*/ | head -1)

echo
echo "== ringmaster checkpoints $job --verify"
ringmaster checkpoints "$job" --verify

echo
echo "== ringmaster generate $job --prompt 'This License '"
ringmaster generate "$job" --prompt 'This License ' --bytes 400
echo
echo "quickstart: done. Next: scripts/test.sh, then the tour in README.md"
