// The one place where oneDNN's handles live. Its C++ wrapper throws and its argument maps allocate, so the ops keep C++ for
// planning (exceptions become Status here) and execute through the C functions.
#ifndef RINGMASTER_TRAINER_OPS_ONEDNN_H_
#define RINGMASTER_TRAINER_OPS_ONEDNN_H_

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"
#include "oneapi/dnnl/dnnl.hpp"

namespace ringmaster::trainer {

struct OnednnContext {
  dnnl::engine engine;
  dnnl::stream stream;
};

// A primitive with its arguments in a fixed order. Not thread-safe.
class OnednnCall {
 public:
  struct Argument {
    int kind;  // DNNL_ARG_*
    dnnl::memory::desc desc;
  };

  OnednnCall() = default;
  // Throws dnnl::error.
  OnednnCall(const OnednnContext& context, dnnl::primitive primitive, std::span<const Argument> arguments);

  // `data` in the order of the arguments. INTERNAL: oneDNN's status.
  absl::Status Run(std::span<const float* const> data);

 private:
  dnnl::stream stream_;
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;
  std::vector<dnnl_exec_arg_t> arguments_;
};

// Runs `plan` and turns what oneDNN throws into INTERNAL.
template <typename Plan>
absl::Status CatchOnednn(std::string_view what, const Plan& plan) {
  try {
    plan();
    return absl::OkStatus();
  } catch (const dnnl::error& error) {
    return absl::InternalError(absl::StrFormat("oneDNN could not plan %s: %s (status %d); ONEDNN_VERBOSE=2 prints why",
                                               std::string(what), error.what(), static_cast<int>(error.status)));
  }
}

inline int64_t ScratchElements(const dnnl::memory::desc& scratchpad) {
  return static_cast<int64_t>((scratchpad.get_size() + sizeof(float) - 1) / sizeof(float));
}

absl::Status CreateOnednnContext(OnednnContext* context);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_OPS_ONEDNN_H_
