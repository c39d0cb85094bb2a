// GoogleTest matchers for Status and StatusOr: EXPECT_OK(expr), StatusIs(code, message_matcher), ASSERT_OK_AND_ASSIGN.
#ifndef RINGMASTER_COMMON_STATUS_MATCHERS_H_
#define RINGMASTER_COMMON_STATUS_MATCHERS_H_

#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ringmaster::testing {

inline const absl::Status& ToStatus(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& ToStatus(const absl::StatusOr<T>& result) {
  return result.status();
}

MATCHER(IsOk, "is OK") {
  *result_listener << ToStatus(arg).ToString();
  return ToStatus(arg).ok();
}

MATCHER_P2(StatusIs, code, message_matcher, "") {
  const absl::Status& status = ToStatus(arg);
  *result_listener << status.ToString();
  return status.code() == code && ::testing::ExplainMatchResult(message_matcher, std::string(status.message()), result_listener);
}

}  // namespace ringmaster::testing

#define EXPECT_OK(expression) EXPECT_THAT(expression, ::ringmaster::testing::IsOk())
#define ASSERT_OK(expression) ASSERT_THAT(expression, ::ringmaster::testing::IsOk())
#define ASSERT_OK_AND_ASSIGN(target, expression) \
  ASSERT_OK_AND_ASSIGN_IMPL(RM_TEST_CONCAT(rm_test_statusor_, __LINE__), target, expression)
#define RM_TEST_CONCAT_INNER(a, b) a##b
#define RM_TEST_CONCAT(a, b) RM_TEST_CONCAT_INNER(a, b)
#define ASSERT_OK_AND_ASSIGN_IMPL(statusor, target, expression) \
  auto statusor = (expression);                                 \
  ASSERT_OK(statusor);                                          \
  target = std::move(statusor).value()

#endif  // RINGMASTER_COMMON_STATUS_MATCHERS_H_
