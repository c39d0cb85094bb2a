#!/usr/bin/env bash
# Checks a machine with GPUs: the GPU tests, then the benchmark of collectives, then a short table. Needs no build tools there.
#   scripts/gpu_check.sh pack DIR     here: puts the stripped executables, this script and the comparison into DIR
#   DIR/gpu_check.sh [RANKS [SIZES]]  there: all GPUs and 8:1G:8 unless told otherwise; RINGMASTER_TORCH=1 also times PyTorch
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" = pack ]; then
  to=${2:?usage: gpu_check.sh pack DIR}
  cd "$here/.."
  ${BAZEL:-bazel} build //:ringmaster //cli/bench:gpu_test
  mkdir -p "$to"
  for binary in bazel-bin/ringmaster bazel-bin/cli/bench/gpu_test; do
    strip -o "$to/$(basename "$binary")" "$binary"
  done
  cp scripts/gpu_check.sh tests/gpu/torch_all_reduce.py "$to/"
  ls -l "$to"
  exit 0
fi

export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1
gpus=$(nvidia-smi -L 2>/dev/null | wc -l || true)
if [ "$gpus" -eq 0 ]; then
  echo "SKIPPED: no GPU: nvidia-smi lists none" >&2
  exit 75
fi
ranks=${1:-$gpus}
sizes=${2:-8:1G:8}
failed=0

nvidia-smi -L
"$here/gpu_test" || failed=1
summary=
for op in all_reduce reduce_scatter all_gather all_to_all broadcast; do
  echo "== $op, $ranks ranks"
  if rows=$("$here/ringmaster" bench collectives --device cuda --ranks "$ranks" --op "$op" --sizes "$sizes"); then
    echo "$rows"
    summary+="$op: $(tail -n 1 <<<"$rows")"$'\n'
  else
    echo "$rows"
    summary+="$op: FAILED"$'\n'
    failed=1
  fi
done
if [ "${RINGMASTER_TORCH:-0}" = 1 ]; then
  echo "== PyTorch all_reduce, $ranks ranks"
  python3 "$here/torch_all_reduce.py" "$ranks" "$sizes" || failed=1
fi

echo "== summary: largest size of each operation"
printf '%s' "$summary"
[ "$failed" -eq 0 ] && echo "gpu check: passed" || echo "gpu check: FAILED"
exit "$failed"
