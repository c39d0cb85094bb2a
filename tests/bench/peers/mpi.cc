// An MPI library's all-reduce: built once with OpenMPI's compiler wrapper and once with MPICH's.
#include <mpi.h>

#include "sweep.h"

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  Sweep sweep = ParseArguments(argc, argv);
  MPI_Comm_rank(MPI_COMM_WORLD, &sweep.rank);
  MPI_Comm_size(MPI_COMM_WORLD, &sweep.ranks);
  PinTo(sweep.rank);
  const int code = RunSweep(
      sweep,
      [](float* data, long count) {
        MPI_Allreduce(MPI_IN_PLACE, data, static_cast<int>(count), MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
      },
      [](long* value) { MPI_Bcast(value, 1, MPI_LONG, 0, MPI_COMM_WORLD); });
  MPI_Finalize();
  return code;
}
