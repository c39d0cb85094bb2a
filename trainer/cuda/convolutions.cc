#include "trainer/cuda/convolutions.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/status_macros.h"

namespace ringmaster::trainer {
namespace {

// The tensors' numbers in a graph.
constexpr int64_t kX = 'x';
constexpr int64_t kFilters = 'w';
constexpr int64_t kY = 'y';
constexpr int64_t kAlignment = 16;  // bytes
constexpr int64_t kMostCandidates = 64;

// What an operation of each kind calls its parts.
struct OperationNames {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t convolution, x, filters, y, alpha, beta;
};

OperationNames NamesOf(ConvolutionPass pass) {
  switch (pass) {
    case ConvolutionPass::kForward: break;
    case ConvolutionPass::kInputGradient:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case ConvolutionPass::kFilterGradient:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  }
  return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
}

std::string Name(ConvolutionPass pass, const ConvolutionShape& shape) {
  const char* const names[] = {"convolution", "convolution's input gradient", "convolution's filter gradient"};
  return absl::StrFormat("%s (%d, %d, %d, %d) to %d channels", names[static_cast<size_t>(pass)], shape.samples, shape.height,
                         shape.width, shape.inputs, shape.outputs);
}

}  // namespace

class Convolutions::Descriptor {
 public:
  Descriptor() = default;
  Descriptor(const CudnnApi& api, cudnnBackendDescriptor_t native) : api_(&api), native_(native) {}
  Descriptor(Descriptor&& other) noexcept : api_(other.api_), native_(std::exchange(other.native_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(api_, other.api_);
    std::swap(native_, other.native_);
    return *this;
  }
  ~Descriptor() {
    if (native_ != nullptr) api_->BackendDestroyDescriptor(native_);
  }

  cudnnBackendDescriptor_t native() const { return native_; }

  template <typename Value>
  absl::Status Set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const Value* values, int64_t count) {
    return api_->ToStatus(api_->BackendSetAttribute(native_, name, type, count, values),
                          absl::StrCat("cudnnBackendSetAttribute ", static_cast<int>(name)));
  }
  template <typename Value>
  absl::Status Set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const Value& value) {
    return Set(name, type, &value, 1);
  }
  absl::Status Set(cudnnBackendAttributeName_t name, const Descriptor& part) {
    return Set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, part.native());
  }
  // The number of values there are, of which at most `most` are written.
  template <typename Value>
  absl::StatusOr<int64_t> Get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, Value* values,
                              int64_t most) const {
    int64_t count = 0;
    RM_RETURN_IF_ERROR(api_->ToStatus(api_->BackendGetAttribute(native_, name, type, most, &count, values),
                                      absl::StrCat("cudnnBackendGetAttribute ", static_cast<int>(name))));
    return count;
  }
  absl::Status Finalize() { return api_->ToStatus(api_->BackendFinalize(native_), "cudnnBackendFinalize"); }

 private:
  const CudnnApi* api_ = nullptr;
  cudnnBackendDescriptor_t native_ = nullptr;
};

struct Convolutions::Plan {
  std::vector<Descriptor> parts;  // what the graph refers to
  Descriptor graph;
  Descriptor execution;
  Descriptor pointers;
  int64_t workspace_bytes = 0;
  DeviceMemory workspace;
};

Convolutions::Convolutions(const CudnnApi& api) : api_(api) {}

Convolutions::~Convolutions() {
  plans_.clear();
  if (handle_ != nullptr) api_.Destroy(handle_);
}

absl::StatusOr<std::unique_ptr<Convolutions>> Convolutions::Create(cudaStream_t stream) {
  RM_ASSIGN_OR_RETURN(const CudnnApi api, LoadCudnn());
  std::unique_ptr<Convolutions> made(new Convolutions(api));
  RM_RETURN_IF_ERROR(api.ToStatus(api.Create(&made->handle_), "cudnnCreate"));
  RM_RETURN_IF_ERROR(api.ToStatus(api.SetStream(made->handle_, stream), "cudnnSetStream"));
  return made;
}

std::string Convolutions::version() const {
  const size_t code = api_.GetVersion();
  return absl::StrCat("cuDNN ", code / 10000, ".", code / 100 % 100, ".", code % 100);
}

absl::StatusOr<Convolutions::Descriptor> Convolutions::New(cudnnBackendDescriptorType_t type) const {
  cudnnBackendDescriptor_t native = nullptr;
  RM_RETURN_IF_ERROR(api_.ToStatus(api_.BackendCreateDescriptor(type, &native), "cudnnBackendCreateDescriptor"));
  return Descriptor(api_, native);
}

// Sizes are (n, c, h, w), as cuDNN has them; channels lie together.
absl::StatusOr<Convolutions::Descriptor> Convolutions::Tensor(int64_t number, const int64_t (&sizes)[4],
                                                              cudnnDataType_t type) const {
  const auto [n, c, h, w] = sizes;
  const int64_t strides[] = {c * h * w, 1, c * w, c};
  RM_ASSIGN_OR_RETURN(Descriptor tensor, New(CUDNN_BACKEND_TENSOR_DESCRIPTOR));
  RM_RETURN_IF_ERROR(tensor.Set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, number));
  RM_RETURN_IF_ERROR(tensor.Set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, type));
  RM_RETURN_IF_ERROR(tensor.Set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, sizes, 4));
  RM_RETURN_IF_ERROR(tensor.Set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, strides, 4));
  RM_RETURN_IF_ERROR(tensor.Set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, kAlignment));
  RM_RETURN_IF_ERROR(tensor.Finalize());
  return tensor;
}

absl::StatusOr<Convolutions::Descriptor> Convolutions::Padding() const {
  const int64_t ones[] = {1, 1};
  RM_ASSIGN_OR_RETURN(Descriptor made, New(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR));
  RM_RETURN_IF_ERROR(made.Set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT));
  RM_RETURN_IF_ERROR(made.Set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION));
  RM_RETURN_IF_ERROR(made.Set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, int64_t{2}));
  for (const cudnnBackendAttributeName_t name : {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS,
                                                 CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_ATTR_CONVOLUTION_DILATIONS}) {
    RM_RETURN_IF_ERROR(made.Set(name, CUDNN_TYPE_INT64, ones, 2));
  }
  RM_RETURN_IF_ERROR(made.Finalize());
  return made;
}

absl::StatusOr<std::unique_ptr<Convolutions::Plan>> Convolutions::Describe(ConvolutionPass pass,
                                                                           const ConvolutionShape& shape) const {
  const auto& [samples, height, width, inputs, outputs] = shape;
  const cudnnDataType_t filters = pass == ConvolutionPass::kFilterGradient ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
  auto plan = std::make_unique<Plan>();
  RM_ASSIGN_OR_RETURN(Descriptor x, Tensor(kX, {samples, inputs, height, width}, CUDNN_DATA_BFLOAT16));
  RM_ASSIGN_OR_RETURN(Descriptor w, Tensor(kFilters, {outputs, inputs, 3, 3}, filters));
  RM_ASSIGN_OR_RETURN(Descriptor y, Tensor(kY, {samples, outputs, height, width}, CUDNN_DATA_BFLOAT16));
  RM_ASSIGN_OR_RETURN(Descriptor padding, Padding());
  const OperationNames names = NamesOf(pass);
  RM_ASSIGN_OR_RETURN(Descriptor operation, New(names.type));
  RM_RETURN_IF_ERROR(operation.Set(names.convolution, padding));
  RM_RETURN_IF_ERROR(operation.Set(names.x, x));
  RM_RETURN_IF_ERROR(operation.Set(names.filters, w));
  RM_RETURN_IF_ERROR(operation.Set(names.y, y));
  RM_RETURN_IF_ERROR(operation.Set(names.alpha, CUDNN_TYPE_FLOAT, 1.0f));
  RM_RETURN_IF_ERROR(operation.Set(names.beta, CUDNN_TYPE_FLOAT, 0.0f));
  RM_RETURN_IF_ERROR(operation.Finalize());
  RM_ASSIGN_OR_RETURN(plan->graph, New(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR));
  RM_RETURN_IF_ERROR(plan->graph.Set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, handle_));
  RM_RETURN_IF_ERROR(plan->graph.Set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation));
  RM_RETURN_IF_ERROR(plan->graph.Finalize());
  for (Descriptor* part : {&x, &w, &y, &padding, &operation}) plan->parts.push_back(std::move(*part));
  return plan;
}

absl::StatusOr<std::vector<Convolutions::Descriptor>> Convolutions::Candidates(cudnnBackendHeurMode_t mode, Plan& plan) const {
  std::vector<Descriptor> candidates;
  RM_ASSIGN_OR_RETURN(Descriptor heuristic, New(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR));
  RM_RETURN_IF_ERROR(heuristic.Set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, plan.graph));
  RM_RETURN_IF_ERROR(heuristic.Set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode));
  if (!heuristic.Finalize().ok()) return candidates;  // it knows none
  std::vector<cudnnBackendDescriptor_t> native;
  for (int64_t i = 0; i < kMostCandidates; ++i) {
    RM_ASSIGN_OR_RETURN(Descriptor candidate, New(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR));
    native.push_back(candidate.native());
    candidates.push_back(std::move(candidate));
  }
  RM_ASSIGN_OR_RETURN(const int64_t count,
                      heuristic.Get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, native.data(), kMostCandidates));
  candidates.resize(static_cast<size_t>(std::min(count, kMostCandidates)));
  return candidates;
}

absl::StatusOr<bool> Convolutions::Try(Descriptor& configuration, Plan& plan) const {
  RM_ASSIGN_OR_RETURN(const Descriptor engine, New(CUDNN_BACKEND_ENGINE_DESCRIPTOR));
  cudnnBackendDescriptor_t native = engine.native();
  RM_RETURN_IF_ERROR(configuration.Get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, &native, 1).status());
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT] = {};
  RM_ASSIGN_OR_RETURN(const int64_t count, engine.Get(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, notes,
                                                      int64_t{CUDNN_NUMERICAL_NOTE_TYPE_COUNT}));
  if (std::find(notes, notes + count, CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) != notes + count) return false;
  RM_ASSIGN_OR_RETURN(plan.execution, New(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR));
  RM_RETURN_IF_ERROR(plan.execution.Set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, handle_));
  RM_RETURN_IF_ERROR(plan.execution.Set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration));
  if (!plan.execution.Finalize().ok()) return false;
  RM_RETURN_IF_ERROR(
      plan.execution.Get(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, &plan.workspace_bytes, 1).status());
  return true;
}

absl::Status Convolutions::Choose(Plan& plan) const {
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    RM_ASSIGN_OR_RETURN(std::vector<Descriptor> candidates, Candidates(mode, plan));
    for (Descriptor& candidate : candidates) {
      RM_ASSIGN_OR_RETURN(const bool is_fit, Try(candidate, plan));
      if (!is_fit) continue;
      plan.parts.push_back(std::move(candidate));
      return absl::OkStatus();
    }
  }
  return absl::InternalError(absl::StrCat(version(), " has no engine that gives the same bits on every run"));
}

absl::Status Convolutions::Point(const ConvolutionTensors& tensors, Plan& plan) {
  RM_ASSIGN_OR_RETURN(plan.workspace, AllocateOnDevice(std::max<int64_t>(plan.workspace_bytes, 1), "workspace of cuDNN"));
  workspace_bytes_ += plan.workspace_bytes;
  const int64_t numbers[] = {kX, kFilters, kY};
  void* const pointers[] = {tensors.x, tensors.filters, tensors.y};
  RM_ASSIGN_OR_RETURN(plan.pointers, New(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR));
  RM_RETURN_IF_ERROR(plan.pointers.Set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, numbers, 3));
  RM_RETURN_IF_ERROR(plan.pointers.Set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, pointers, 3));
  RM_RETURN_IF_ERROR(plan.pointers.Set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, plan.workspace.get()));
  return plan.pointers.Finalize();
}

absl::StatusOr<size_t> Convolutions::Prepare(ConvolutionPass pass, const ConvolutionShape& shape,
                                             const ConvolutionTensors& tensors) {
  const auto named = [&](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(Name(pass, shape), ": ", status.message()));
  };
  auto plan = Describe(pass, shape);
  if (!plan.ok()) return named(plan.status());
  absl::Status ready = Choose(**plan);
  if (ready.ok()) ready = Point(tensors, **plan);
  if (!ready.ok()) return named(ready);
  plans_.push_back(*std::move(plan));
  return plans_.size() - 1;
}

absl::Status Convolutions::Run(size_t number) {
  const Plan& plan = *plans_[number];
  return api_.ToStatus(api_.BackendExecute(handle_, plan.execution.native(), plan.pointers.native()), "cudnnBackendExecute");
}

}  // namespace ringmaster::trainer
