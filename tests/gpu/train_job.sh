#!/usr/bin/env bash
# GPT-2's 12 layers (on bytes) trained on one GPU by whole jobs: twice with the same bits, once killed and restarted with the same
# bits, and, with RINGMASTER_TORCH=1, with the losses of PyTorch in fp32.
# usage: train_job.sh DIR TEXT, where DIR holds ringmaster, ringmaster-trainer and torch_gpt.py; works in a directory of its own under
# TMPDIR, 25 GB.
set -euo pipefail
here=$(cd "$1" && pwd)
text=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
cat > job.yaml <<YAML
name: gpu-gpt
parallel: {data: 1}
device: cuda
model: {gpt: {layers: 12, heads: 12, channels: 768, context: 1024}}
data: {text: {files: [$text], validation_fraction: 0.1}}
train:
  steps: 101
  global_batch: 32
  micro_batch: 16
  optimizer: {adamw: {learning_rate: 8.5714e-5, weight_decay: 0.1}}
  schedule: {constant: {warmup_steps: 100}}
  clip_norm: 1.0
  seed: 1
  log_every: 1
checkpoint: {directory: ./checkpoints, every_steps: 20, keep: 2}
restart: {max_failures: 3, backoff: 1s}
YAML

run() { "$here/ringmaster" run job.yaml --state-dir "state-$1" --set "name=$1" "${@:2}" > "$1.log" 2>&1 || { tail -30 "$1.log"; exit 1; }; }
digest() {
  "$here/ringmaster" --output json checkpoints "$(ls -d checkpoints/"$1"-*)" |
    python3 -c 'import json, sys; last = max(json.load(sys.stdin)["checkpoints"], key=lambda c: c["step"]); print(last["step"], last["digest"])'
}

# The first fifth of the same rise.
run start --set train.steps=20 --set train.schedule.constant.warmup_steps=20 --set train.optimizer.adamw.learning_rate=1.71428e-5 --set checkpoint.every_steps=1 --set checkpoint.keep=20
run first
run second
# The kernel of the machine ends a rank in the middle; the job goes on from its newest checkpoint.
"$here/ringmaster" run job.yaml --state-dir state-killed --set name=killed > killed.log 2>&1 &
job=$!
until grep -q "checkpoint step 20:" killed.log; do kill -0 $job || { tail -30 killed.log; exit 1; }; done
kill -9 "$("$here/ringmaster" status --state-dir state-killed --output json | python3 -c 'import json, sys; print(json.load(sys.stdin)["jobs"][0]["ranks"][0]["pid"])')"
wait $job || { tail -30 killed.log; exit 1; }
grep -m 1 "from step" killed.log || true
for name in first second killed; do echo "$name: $(digest $name)"; done
[ "$(digest first)" = "$(digest second)" ] && [ "$(digest first)" = "$(digest killed)" ]
echo "two runs and a killed one end with the same bits"
tail -n 3 first.log
[ "${RINGMASTER_TORCH:-0}" = 1 ] || exit 0
python3 "$here/torch_gpt.py" losses "$(ls -d checkpoints/start-*)/step-00000001" "$text" first.log
