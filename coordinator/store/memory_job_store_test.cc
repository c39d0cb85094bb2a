#include "coordinator/store/memory_job_store.h"

#include <memory>

#include "coordinator/store/job_store_conformance.h"

namespace ringmaster::coordinator {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::ElementsAre;

INSTANTIATE_TEST_SUITE_P(Memory, JobStoreConformance,
                         ::testing::Values([]() -> std::unique_ptr<JobStore> { return std::make_unique<MemoryJobStore>(); }));

TEST(MemoryJobStore, FailsOnDemandAndHeals) {
  MemoryJobStore store;
  ASSERT_OK(store.Append({"a"}));
  store.FailWith(absl::ResourceExhaustedError("job store: disk full"));
  EXPECT_THAT(store.Append({"b", "c"}), StatusIs(absl::StatusCode::kResourceExhausted, "job store: disk full"));
  EXPECT_THAT(Records(store), ElementsAre(NumberedRecord(1, "a"))) << "nothing of it stays, and what was there is read";
  store.FailWith(absl::OkStatus());
  ASSERT_OK(store.Append({"d"}));
  EXPECT_THAT(Records(store), ElementsAre(NumberedRecord(1, "a"), NumberedRecord(2, "d")));
}

}  // namespace
}  // namespace ringmaster::coordinator
