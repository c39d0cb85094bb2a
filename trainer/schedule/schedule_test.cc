#include "trainer/schedule/schedule.h"

#include "gtest/gtest.h"

namespace ringmaster::trainer {
namespace {

struct Row {
  Schedule schedule;
  int64_t completed;
  int64_t total;
  double factor;
};

TEST(ScheduleFactor, Table) {
  const Schedule constant{ScheduleKind::kConstant, 4, 0};
  const Schedule cosine{ScheduleKind::kCosine, 10, 0.1};
  const Schedule linear{ScheduleKind::kLinear, 10, 0.5};
  const Schedule plain{ScheduleKind::kCosine, 0, 0};
  const Row rows[] = {
      {constant, 0, 100, 0.25}, {constant, 3, 100, 1},   {constant, 4, 100, 1},   {constant, 99, 100, 1},  {cosine, 0, 111, 0.1},
      {cosine, 9, 111, 1},      {cosine, 10, 111, 1},    {cosine, 60, 111, 0.55}, {cosine, 110, 111, 0.1}, {linear, 10, 111, 1},
      {linear, 60, 111, 0.75},  {linear, 110, 111, 0.5}, {plain, 0, 3, 1},        {plain, 1, 3, 0.5},      {plain, 2, 3, 0},
      {plain, 0, 1, 1},         {cosine, 4, 5, 0.5},  // a warm-up longer than the run never decays
  };
  for (const Row& row : rows) {
    EXPECT_NEAR(ScheduleFactor(row.schedule, row.completed, row.total), row.factor, 1e-12)
        << "after " << row.completed << " of " << row.total << " steps";
  }
}

}  // namespace
}  // namespace ringmaster::trainer
