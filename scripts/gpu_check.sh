#!/usr/bin/env bash
# Checks a machine with GPUs: the GPU tests, jobs on one GPU, the benchmarks of training and of collectives, then a short table. Needs
# no build tools there, but cuBLAS of CUDA 13, cuDNN 9 and NCCL where the loader finds them.
#   scripts/gpu_check.sh pack DIR     here: puts the stripped executables, this script and the comparison into DIR
#   DIR/gpu_check.sh [RANKS [SIZES]]  there: all GPUs and 8:1G:8 unless told otherwise; RINGMASTER_TORCH=1 also times PyTorch and
#                                     compares losses with it
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" = pack ]; then
  to=${2:?usage: gpu_check.sh pack DIR}
  cd "$here/.."
  ${BAZEL:-bazel} build //:ringmaster //:ringmaster-trainer //cli/bench:gpu_test //worker/host:gpu_topology_test //trainer/cuda:all
  mkdir -p "$to"
  for binary in ringmaster ringmaster-trainer cli/bench/gpu_test worker/host/gpu_topology_test trainer/cuda/{kernels,cuda_gpt,cuda_parts,cuda_classifier}_gpu_test; do
    strip -o "$to/$(basename "$binary")" "bazel-bin/$binary"
  done
  # What the trainer and its tests load and a machine with GPUs may lack.
  ldd bazel-bin/ringmaster-trainer | awk '/libdnnl|libgomp|libOpenCL/ {print $3}' | xargs -I{} cp -L {} "$to/"
  cp scripts/gpu_check.sh tests/gpu/torch_all_reduce.py tests/gpu/torch_{gpt,elastic}.py tests/gpu/train_job.sh tests/gpu/{train_group,train_mesh,recovery,checkpoint_cost}.py "$to/"
  # The same text on all days: losses that differ from PyTorch's by rounding alone differ by more on some texts than on others.
  find /usr/share/common-licenses -type f | LC_ALL=C sort | xargs cat > "$to/text.txt"
  ls -l "$to"
  exit 0
fi

export LD_LIBRARY_PATH=$here${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export NCCL_NVLS_ENABLE=0 TORCH_SYMM_MEM_DISABLE_MULTICAST=1 NVSHMEM_DISABLE_NVLS=1
gpus=$(nvidia-smi -L 2>/dev/null | wc -l || true)
if [ "$gpus" -eq 0 ]; then
  echo "SKIPPED: no GPU: nvidia-smi lists none" >&2
  exit 75
fi
ranks=${1:-$gpus}
sizes=${2:-8:1G:8}
failed=0

"$here/ringmaster" doctor | grep -A 12 " gpu" || true
for test in gpu_test gpu_topology_test kernels_gpu_test cuda_gpt_gpu_test cuda_parts_gpu_test cuda_classifier_gpu_test; do "$here/$test" || failed=1; done
"$here/train_job.sh" "$here" "$here/text.txt" || failed=1
python3 "$here/checkpoint_cost.py" "$here" 1 || failed=1
if [ "$gpus" -gt 1 ]; then
  python3 "$here/train_group.py" "$here" "$here/text.txt" || failed=1
  python3 "$here/train_mesh.py" "$here" "$here/text.txt" || failed=1
  python3 "$here/recovery.py" "$here" "$here/text.txt" 5 || failed=1
else
  echo "SKIPPED: jobs on two GPUs: there is one" >&2
fi
summary=
# train TITLE PATTERN OPTION..: one benchmark; the line of its report that has PATTERN goes into the summary.
train() {
  local title=$1 pattern=$2 report
  shift 2
  echo "== GPT-2 124M $title"
  if report=$("$here/ringmaster" bench train --device cuda "$@"); then
    summary+="training: $(grep "$pattern" <<<"$report")"$'\n'
  else
    summary+="training $title: FAILED"$'\n'
    failed=1
  fi
  echo "$report"
}
train "on one GPU" tokens/s --sequences 64
if [ "$ranks" -gt 1 ]; then
  for sequences in 64 8; do
    for zero in "" --zero; do
      train "on $ranks GPUs, $sequences sequences each $zero" GPUs --ranks "$ranks" $zero --sequences $sequences
    done
  done
  train "with copies of shards" "copies of shards after" --ranks "$ranks" --zero --snapshots --sequences 64 --no-breakdown
  for axis in tensor pipeline; do
    train "over $ranks GPUs, $axis $ranks" GPUs --ranks "$ranks" --$axis "$ranks" --sequences 16
  done
fi
if [ "${RINGMASTER_TORCH:-0}" = 1 ]; then python3 "$here/torch_gpt.py" speed 64 || failed=1; fi
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

echo "== summary: training, and the largest size of each operation"
printf '%s' "$summary"
[ "$failed" -eq 0 ] && echo "gpu check: passed" || echo "gpu check: FAILED"
exit "$failed"
