// The one logger: key=value lines on stderr. Pure cores do not log; their driver does.
//   LogInfo("job=%s epoch=%d state=Running->Recovering reason=\"%s\"", ...)
// info = an operator wants it next week; warn = we coped; error = a person must act; debug = per step.
#ifndef RINGMASTER_COMMON_LOG_H_
#define RINGMASTER_COMMON_LOG_H_

#include <string>

#include "absl/strings/str_format.h"

namespace ringmaster {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

// Thread-safe. Lines below this level are dropped; the default is kInfo.
void SetLogLevel(LogLevel level);

// Thread-safe; one whole line per call.
void WriteLog(LogLevel level, const std::string& line);

template <typename... Args>
void LogDebug(const absl::FormatSpec<Args...>& format, const Args&... args) {
  WriteLog(LogLevel::kDebug, absl::StrFormat(format, args...));
}
template <typename... Args>
void LogInfo(const absl::FormatSpec<Args...>& format, const Args&... args) {
  WriteLog(LogLevel::kInfo, absl::StrFormat(format, args...));
}
template <typename... Args>
void LogWarn(const absl::FormatSpec<Args...>& format, const Args&... args) {
  WriteLog(LogLevel::kWarn, absl::StrFormat(format, args...));
}
template <typename... Args>
void LogError(const absl::FormatSpec<Args...>& format, const Args&... args) {
  WriteLog(LogLevel::kError, absl::StrFormat(format, args...));
}

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_LOG_H_
