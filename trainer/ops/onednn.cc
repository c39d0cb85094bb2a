#include "trainer/ops/onednn.h"

#include <utility>

#include "common/check.h"

namespace ringmaster::trainer {

OnednnCall::OnednnCall(const OnednnContext& context, dnnl::primitive primitive, std::span<const Argument> arguments)
    : stream_(context.stream), primitive_(std::move(primitive)) {
  memories_.reserve(arguments.size());
  for (const Argument& argument : arguments) {
    memories_.push_back(dnnl::memory(argument.desc, context.engine, DNNL_MEMORY_NONE));
    arguments_.push_back({argument.kind, memories_.back().get()});
  }
}

absl::Status OnednnCall::Run(std::span<const float* const> data) {
  RM_CHECK(data.size() == memories_.size()) << data.size() << " pointers for " << memories_.size() << " arguments";
  for (size_t i = 0; i < data.size(); ++i) {
    const dnnl_status_t status = dnnl_memory_set_data_handle(memories_[i].get(), const_cast<float*>(data[i]));
    if (status != dnnl_success) return absl::InternalError(absl::StrFormat("oneDNN refused argument %d: status %d", i, status));
  }
  const dnnl_status_t status =
      dnnl_primitive_execute(primitive_.get(), stream_.get(), static_cast<int>(arguments_.size()), arguments_.data());
  if (status != dnnl_success) {
    return absl::InternalError(
        absl::StrFormat("oneDNN could not execute a primitive: status %d; ONEDNN_VERBOSE=2 prints which", status));
  }
  return absl::OkStatus();
}

absl::Status CreateOnednnContext(OnednnContext* context) {
  return CatchOnednn("its engine", [&] {
    context->engine = dnnl::engine(dnnl::engine::kind::cpu, 0);
    context->stream = dnnl::stream(context->engine);
  });
}

}  // namespace ringmaster::trainer
