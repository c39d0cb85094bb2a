// RM_RETURN_IF_ERROR(status_expression); and RM_ASSIGN_OR_RETURN(auto value, statusor_expression);
#ifndef RINGMASTER_COMMON_STATUS_MACROS_H_
#define RINGMASTER_COMMON_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define RM_RETURN_IF_ERROR(expression)                            \
  do {                                                            \
    if (absl::Status rm_status = (expression); !rm_status.ok()) { \
      return rm_status;                                           \
    }                                                             \
  } while (false)

#define RM_STATUS_CONCAT_INNER(a, b) a##b
#define RM_STATUS_CONCAT(a, b) RM_STATUS_CONCAT_INNER(a, b)
#define RM_ASSIGN_OR_RETURN(target, expression) \
  RM_ASSIGN_OR_RETURN_IMPL(RM_STATUS_CONCAT(rm_statusor_, __LINE__), target, expression)
#define RM_ASSIGN_OR_RETURN_IMPL(statusor, target, expression) \
  auto statusor = (expression);                                \
  if (!statusor.ok()) return statusor.status();                \
  target = std::move(statusor).value()

#endif  // RINGMASTER_COMMON_STATUS_MACROS_H_
