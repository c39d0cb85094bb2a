#include "trainer/model_state.h"

#include <cstdint>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

void AppendArena(const std::string& prefix, const Model& model, std::span<float> arena, std::vector<StateTensor>& tensors) {
  for (const Parameter& parameter : model.parameters()) {
    tensors.push_back({.name = absl::StrCat(prefix, "/", parameter.name),
                       .shape = parameter.shape,
                       .values = arena.subspan(static_cast<size_t>(parameter.offset), static_cast<size_t>(parameter.size)),
                       .cut = parameter.placement.cut,
                       .is_counted = parameter.placement.is_counted});
  }
}

}  // namespace

std::vector<StateTensor> WeightTensors(Model& model) {
  std::vector<StateTensor> tensors;
  AppendArena("model", model, model.weights(), tensors);
  return tensors;
}

std::vector<StateTensor> StateTensors(Model& model, Optimizer& optimizer) {
  std::vector<StateTensor> tensors = WeightTensors(model);
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

absl::Status LoadTensors(CheckpointReader& reader, const std::vector<StateTensor>& tensors) {
  for (const StateTensor& tensor : tensors) {
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
    if (tensor.cut.is_whole()) {
      RM_RETURN_IF_ERROR(reader.Read(tensor.name, 0, tensor.values));
    } else {
      std::vector<float> whole(static_cast<size_t>(it->second.size));
      RM_RETURN_IF_ERROR(reader.Read(tensor.name, 0, whole));
      CopyPart(tensor.cut, whole.data(), tensor.values.data());
    }
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::trainer
