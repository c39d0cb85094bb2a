#!/usr/bin/env bash
# All checks of a change, for people and CI alike: format, house lint, clang's thread-safety analysis, tests, sanitizers.
#   scripts/presubmit.sh          everything
#   scripts/presubmit.sh --fast   format and lint only
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== house lint"
scripts/house_lint.py --self-test
scripts/house_lint.py

if [ "${1:-}" != "--fast" ]; then
  scripts/setup.sh --presubmit
fi

echo "== format"
mapfile -t sources < <(git ls-files '*.cc' '*.h')
clang-format-14 --dry-run --Werror "${sources[@]}"
[ "${1:-}" = "--fast" ] && exit 0

echo "== tests"
scripts/test.sh

echo "== clang, thread-safety analysis as errors"
bazel build --config=clang -- //common/... //collectives/... //coordinator/... //worker/... //cli/... //trainer/...

echo "== AddressSanitizer + UndefinedBehaviorSanitizer"
bazel test --config=asan -- //common/... //collectives/... //coordinator/... //worker/... //cli/... //trainer/...

echo "== ThreadSanitizer, on targets without gRPC"
bazel test --config=tsan --build_tests_only -- //common/... //collectives/... //coordinator/core/... //worker/core/...

echo "presubmit: all green"
