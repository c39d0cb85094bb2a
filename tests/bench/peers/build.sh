#!/usr/bin/env bash
# Builds the peers that are installed here into a directory, for `ringmaster bench collectives --against .. --peers DIRECTORY`.
#   tests/bench/peers/build.sh DIRECTORY
# Debian packages: libopenmpi-dev openmpi-bin (openmpi), libmpich-dev mpich (mpich), libgloo-dev (gloo).
set -euo pipefail
out=${1:?usage: tests/bench/peers/build.sh DIRECTORY}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")"
flags=(-std=c++20 -O3 -march=native -pthread)
built=()
if command -v mpicxx.openmpi >/dev/null; then
  mpicxx.openmpi "${flags[@]}" mpi.cc -o "$out/openmpi"
  built+=(openmpi)
fi
if command -v mpicxx.mpich >/dev/null; then
  mpicxx.mpich "${flags[@]}" mpi.cc -o "$out/mpich"
  built+=(mpich)
fi
if [ -e /usr/include/gloo/allreduce.h ]; then
  g++ "${flags[@]}" gloo.cc -o "$out/gloo" -lgloo
  built+=(gloo)
fi
echo "built in $out: ${built[*]:-nothing; install libopenmpi-dev openmpi-bin libmpich-dev mpich libgloo-dev}"
