#include "trainer/model_state.h"

#include <cstdint>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

void AppendArena(const std::string& prefix, const Model& model, std::span<float> arena, std::vector<GlobalTensor>& tensors) {
  for (const Parameter& parameter : model.parameters()) {
    tensors.push_back({absl::StrCat(prefix, "/", parameter.name), parameter.shape, parameter.size,
                       arena.subspan(static_cast<size_t>(parameter.offset), static_cast<size_t>(parameter.size))});
  }
}

}  // namespace

std::vector<GlobalTensor> WeightTensors(Model& model) {
  std::vector<GlobalTensor> tensors;
  AppendArena("model", model, model.weights(), tensors);
  return tensors;
}

std::vector<GlobalTensor> StateTensors(Model& model, Optimizer& optimizer) {
  std::vector<GlobalTensor> tensors = WeightTensors(model);
  for (const OptimizerState& state : optimizer.state()) AppendArena(state.name, model, state.values, tensors);
  return tensors;
}

absl::Status CheckFingerprint(const CheckpointReader& reader, const std::string& fingerprint) {
  if (reader.manifest().model_fingerprint() == fingerprint) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(reader.path(), " holds another model: found \"",
                                                    reader.manifest().model_fingerprint(), "\", expected \"", fingerprint, "\""));
}

absl::Status FetchState(Model& model, Optimizer& optimizer) {
  RM_RETURN_IF_ERROR(model.FetchWeights());
  return optimizer.FetchState();
}

absl::Status StoreState(Model& model, Optimizer& optimizer) {
  RM_RETURN_IF_ERROR(model.StoreWeights());
  return optimizer.StoreState();
}

absl::Status LoadTensors(CheckpointReader& reader, const std::vector<GlobalTensor>& tensors) {
  for (const GlobalTensor& tensor : tensors) {
    const auto it = reader.tensors().find(tensor.name);
    if (it == reader.tensors().end()) {
      return absl::FailedPreconditionError(
          absl::StrCat(reader.path(), " has no tensor ", tensor.name, ": was it written with another optimizer?"));
    }
    if (it->second.shape != tensor.shape) {
      return absl::FailedPreconditionError(absl::StrCat(reader.path(), ": tensor ", tensor.name, ": found shape (",
                                                        absl::StrJoin(it->second.shape, ", "), "), expected (",
                                                        absl::StrJoin(tensor.shape, ", "), ")"));
    }
    RM_RETURN_IF_ERROR(reader.Read(tensor.name, 0, tensor.values));
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
