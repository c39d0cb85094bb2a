/* Every process gives a vector; all get the sum. Start one process per rank, with an empty directory in which they meet:
 *   mkdir meet; for rank in 0 1 2; do ./all_reduce meet $rank 3 & done; wait */
#include <stdio.h>
#include <stdlib.h>

#include "collectives/c_api/ringmaster.h"

enum { kCount = 1000, kTimeoutMs = 30000 };

static int failed(const char* what, int status) {
  fprintf(stderr, "%s: %s: %s\n", what, rm_status_name(status), rm_last_error());
  return 1;
}

static int sum(rm_communicator* group) {
  rm_buffer* memory = NULL; /* registered: ranks of one host add without copying */
  int status = rm_register(group, kCount * (int64_t)sizeof(float), kTimeoutMs, &memory);
  if (status != RM_OK) return failed("register", status);
  float* const values = rm_buffer_data(memory);
  for (int i = 0; i < kCount; ++i) values[i] = (float)(i + rm_rank(group));

  /* Issued: the program could go on computing until it waits. */
  rm_call call = {0};
  call.struct_bytes = sizeof(call);
  call.operation = RM_ALL_REDUCE;
  call.type = RM_F32;
  call.reduction = RM_SUM;
  call.count = kCount;
  call.send = values;
  call.receive = values;
  rm_work* work = NULL;
  status = rm_issue(group, &call, kTimeoutMs, &work);
  if (status == RM_OK) {
    status = rm_work_wait(work, kTimeoutMs);
    rm_work_release(work);
  }
  if (status == RM_OK) printf("rank %d of %d: %.0f .. %.0f\n", rm_rank(group), rm_size(group), values[0], values[kCount - 1]);
  rm_buffer_release(memory);
  return status == RM_OK ? 0 : failed("all_reduce", status);
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: all_reduce DIRECTORY RANK RANKS\n");
    return 2;
  }
  rm_options options;
  rm_options_init(&options);
  options.directory = argv[1];
  options.rank = atoi(argv[2]);
  options.size = atoi(argv[3]);
  rm_communicator* group = NULL;
  const int status = rm_create(&options, kTimeoutMs, &group);
  if (status != RM_OK) return failed("create", status);
  const int result = sum(group);
  rm_destroy(group);
  return result;
}
