#include "collectives/nccl/nccl_api_loaded.h"

#include <dlfcn.h>
#include <nccl.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "collectives/nccl/cuda_device.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

constexpr const char* kLibrary = "libnccl.so.2";

// NCCL's functions by their own names. The library stays loaded until the process ends: its threads outlive communicators.
struct Functions {
  decltype(&::ncclGetVersion) GetVersion;
  decltype(&::ncclGetErrorString) GetErrorString;
  decltype(&::ncclGetLastError) GetLastError;
  decltype(&::ncclGetUniqueId) GetUniqueId;
  decltype(&::ncclCommInitRankConfig) CommInitRankConfig;
  decltype(&::ncclCommSplit) CommSplit;
  decltype(&::ncclCommGetAsyncError) CommGetAsyncError;
  decltype(&::ncclCommFinalize) CommFinalize;
  decltype(&::ncclCommDestroy) CommDestroy;
  decltype(&::ncclCommAbort) CommAbort;
  decltype(&::ncclGroupStart) GroupStart;
  decltype(&::ncclGroupEnd) GroupEnd;
  decltype(&::ncclAllReduce) AllReduce;
  decltype(&::ncclReduceScatter) ReduceScatter;
  decltype(&::ncclAllGather) AllGather;
  decltype(&::ncclBroadcast) Broadcast;
  decltype(&::ncclReduce) Reduce;
  decltype(&::ncclSend) Send;
  decltype(&::ncclRecv) Recv;
};

template <typename Function>
absl::Status Find(void* library, const char* name, Function* function) {
  *function = reinterpret_cast<Function>(dlsym(library, name));
  if (*function != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(kLibrary, " has no function ", name, ": NCCL 2.18 or newer is needed"));
}

absl::Status FindAll(void* library, Functions* nccl) {
  RM_RETURN_IF_ERROR(Find(library, "ncclGetVersion", &nccl->GetVersion));
  RM_RETURN_IF_ERROR(Find(library, "ncclGetErrorString", &nccl->GetErrorString));
  RM_RETURN_IF_ERROR(Find(library, "ncclGetLastError", &nccl->GetLastError));
  RM_RETURN_IF_ERROR(Find(library, "ncclGetUniqueId", &nccl->GetUniqueId));
  RM_RETURN_IF_ERROR(Find(library, "ncclCommInitRankConfig", &nccl->CommInitRankConfig));
  RM_RETURN_IF_ERROR(Find(library, "ncclCommSplit", &nccl->CommSplit));
  RM_RETURN_IF_ERROR(Find(library, "ncclCommGetAsyncError", &nccl->CommGetAsyncError));
  RM_RETURN_IF_ERROR(Find(library, "ncclCommFinalize", &nccl->CommFinalize));
  RM_RETURN_IF_ERROR(Find(library, "ncclCommDestroy", &nccl->CommDestroy));
  RM_RETURN_IF_ERROR(Find(library, "ncclCommAbort", &nccl->CommAbort));
  RM_RETURN_IF_ERROR(Find(library, "ncclGroupStart", &nccl->GroupStart));
  RM_RETURN_IF_ERROR(Find(library, "ncclGroupEnd", &nccl->GroupEnd));
  RM_RETURN_IF_ERROR(Find(library, "ncclAllReduce", &nccl->AllReduce));
  RM_RETURN_IF_ERROR(Find(library, "ncclReduceScatter", &nccl->ReduceScatter));
  RM_RETURN_IF_ERROR(Find(library, "ncclAllGather", &nccl->AllGather));
  RM_RETURN_IF_ERROR(Find(library, "ncclBroadcast", &nccl->Broadcast));
  RM_RETURN_IF_ERROR(Find(library, "ncclReduce", &nccl->Reduce));
  RM_RETURN_IF_ERROR(Find(library, "ncclSend", &nccl->Send));
  return Find(library, "ncclRecv", &nccl->Recv);
}

ncclDataType_t Native(DataType type) {
  switch (type) {
    case DataType::kF32: return ncclFloat32;
    case DataType::kF64: return ncclFloat64;
    case DataType::kI32: return ncclInt32;
    case DataType::kI64: return ncclInt64;
    case DataType::kU8: return ncclUint8;
    case DataType::kI8: return ncclInt8;
    case DataType::kF16: return ncclFloat16;
    case DataType::kBF16: return ncclBfloat16;
  }
  return ncclNumTypes;
}

ncclRedOp_t Native(Reduction reduction) {
  switch (reduction) {
    case Reduction::kSum: return ncclSum;
    case Reduction::kMin: return ncclMin;
    case Reduction::kMax: return ncclMax;
    case Reduction::kProduct: return ncclProd;
    case Reduction::kAverage: return ncclAvg;
  }
  return ncclNumOps;
}

ncclComm_t Native(NcclComm comm) { return reinterpret_cast<ncclComm_t>(comm); }
cudaStream_t Native(CudaStream stream) { return reinterpret_cast<cudaStream_t>(stream); }

class LoadedNcclApi final : public CudaDevice {
 public:
  explicit LoadedNcclApi(const Functions& nccl) : nccl_(nccl) {}

  std::string Version() const override {
    int code = 0;
    if (nccl_.GetVersion(&code) != ncclSuccess) return "NCCL of unknown version";
    return absl::StrCat("NCCL ", code / 10000, ".", code / 100 % 100, ".", code % 100);
  }

  absl::StatusOr<NcclId> GetUniqueId() override {
    ncclUniqueId native;
    RM_RETURN_IF_ERROR(ToStatus(nccl_.GetUniqueId(&native), "ncclGetUniqueId", nullptr));
    NcclId id;
    static_assert(sizeof(native.internal) == sizeof(NcclId));
    std::memcpy(id.data(), native.internal, sizeof(id));
    return id;
  }

  absl::StatusOr<NcclComm> Init(int size, const NcclId& id, int rank) override {
    ncclUniqueId native;
    std::memcpy(native.internal, id.data(), id.size());
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    config.splitShare = 1;
    ncclComm_t comm = nullptr;
    RM_RETURN_IF_ERROR(ToStatus(nccl_.CommInitRankConfig(&comm, size, native, rank, &config), "ncclCommInitRankConfig", comm));
    return reinterpret_cast<NcclComm>(comm);
  }

  absl::Status Duplicate(NcclComm comm, NcclComm* blocking) override {
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 1;
    return ToStatus(nccl_.CommSplit(Native(comm), /*color=*/0, /*key=*/0, reinterpret_cast<ncclComm_t*>(blocking), &config),
                    "ncclCommSplit", Native(comm));
  }

  absl::StatusOr<NcclState> State(NcclComm comm) override {
    ncclResult_t state = ncclSuccess;
    RM_RETURN_IF_ERROR(ToStatus(nccl_.CommGetAsyncError(Native(comm), &state), "ncclCommGetAsyncError", Native(comm)));
    RM_RETURN_IF_ERROR(ToStatus(state, "asynchronous error of NCCL", Native(comm)));
    return state == ncclInProgress ? NcclState::kInProgress : NcclState::kReady;
  }

  absl::Status Finalize(NcclComm comm) override {
    return ToStatus(nccl_.CommFinalize(Native(comm)), "ncclCommFinalize", Native(comm));
  }
  absl::Status Destroy(NcclComm comm) override { return ToStatus(nccl_.CommDestroy(Native(comm)), "ncclCommDestroy", nullptr); }
  absl::Status Abort(NcclComm comm) override { return ToStatus(nccl_.CommAbort(Native(comm)), "ncclCommAbort", nullptr); }
  absl::Status GroupStart() override { return ToStatus(nccl_.GroupStart(), "ncclGroupStart", nullptr); }
  absl::Status GroupEnd() override { return ToStatus(nccl_.GroupEnd(), "ncclGroupEnd", nullptr); }

  absl::Status AllReduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, NcclComm comm,
                         CudaStream stream) override {
    return ToStatus(
        nccl_.AllReduce(send, receive, static_cast<size_t>(count), Native(type), Native(reduction), Native(comm), Native(stream)),
        "ncclAllReduce", Native(comm));
  }
  absl::Status ReduceScatter(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, NcclComm comm,
                             CudaStream stream) override {
    return ToStatus(nccl_.ReduceScatter(send, receive, static_cast<size_t>(count), Native(type), Native(reduction), Native(comm),
                                        Native(stream)),
                    "ncclReduceScatter", Native(comm));
  }
  absl::Status AllGather(const void* send, void* receive, int64_t count, DataType type, NcclComm comm, CudaStream stream) override {
    return ToStatus(nccl_.AllGather(send, receive, static_cast<size_t>(count), Native(type), Native(comm), Native(stream)),
                    "ncclAllGather", Native(comm));
  }
  absl::Status Broadcast(const void* send, void* receive, int64_t count, DataType type, int root, NcclComm comm,
                         CudaStream stream) override {
    return ToStatus(nccl_.Broadcast(send, receive, static_cast<size_t>(count), Native(type), root, Native(comm), Native(stream)),
                    "ncclBroadcast", Native(comm));
  }
  absl::Status Reduce(const void* send, void* receive, int64_t count, DataType type, Reduction reduction, int root, NcclComm comm,
                      CudaStream stream) override {
    return ToStatus(nccl_.Reduce(send, receive, static_cast<size_t>(count), Native(type), Native(reduction), root, Native(comm),
                                 Native(stream)),
                    "ncclReduce", Native(comm));
  }
  absl::Status Send(const void* send, int64_t count, DataType type, int peer, NcclComm comm, CudaStream stream) override {
    return ToStatus(nccl_.Send(send, static_cast<size_t>(count), Native(type), peer, Native(comm), Native(stream)), "ncclSend",
                    Native(comm));
  }
  absl::Status Receive(void* receive, int64_t count, DataType type, int peer, NcclComm comm, CudaStream stream) override {
    return ToStatus(nccl_.Recv(receive, static_cast<size_t>(count), Native(type), peer, Native(comm), Native(stream)), "ncclRecv",
                    Native(comm));
  }

 private:
  // ncclInProgress is no error: State tells how it ends.
  absl::Status ToStatus(ncclResult_t code, const char* call, ncclComm_t comm) const {
    if (code == ncclSuccess || code == ncclInProgress) return absl::OkStatus();
    const char* const last = nccl_.GetLastError(comm);
    const std::string text = absl::StrCat(call, ": ", nccl_.GetErrorString(code), " (NCCL error ", static_cast<int>(code),
                                          "): ", last == nullptr || *last == '\0' ? "NCCL_DEBUG=WARN says more" : last);
    switch (code) {
      case ncclRemoteError:
      case ncclSystemError: return absl::UnavailableError(text);
      case ncclInvalidArgument: return absl::InvalidArgumentError(text);
      case ncclInvalidUsage: return absl::FailedPreconditionError(text);
      default: return absl::InternalError(text);
    }
  }

  const Functions nccl_;
};

absl::Status KeepMulticastOff(const char* nvls_enable) {
  if (nvls_enable == nullptr && setenv("NCCL_NVLS_ENABLE", "0", 1) != 0) {
    return absl::InternalError("cannot set NCCL_NVLS_ENABLE=0 in this process");
  }
  if (nvls_enable == nullptr || std::string_view(nvls_enable) == "0") return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("NCCL_NVLS_ENABLE is \"", nvls_enable, "\"; NVLink multicast stays off here: set it to 0 or unset it"));
}

// These would overrule what Init and Duplicate promise.
absl::Status KeepOwnModes() {
  for (const char* const name : {"NCCL_COMM_BLOCKING", "NCCL_COMM_SPLIT_SHARE_RESOURCES"}) {
    if (unsetenv(name) != 0) return absl::InternalError(absl::StrCat("cannot unset ", name, " in this process"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<NcclApi>> LoadNcclApi(const NcclLoadOptions& options) {
  RM_RETURN_IF_ERROR(KeepMulticastOff(options.nvls_enable));
  RM_RETURN_IF_ERROR(KeepOwnModes());
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* const error = dlerror();
    return absl::FailedPreconditionError(
        absl::StrCat("cannot load ", kLibrary, " (", error == nullptr ? "no reason given" : error,
                     "): install NVIDIA's package libnccl2, or name its folder in LD_LIBRARY_PATH"));
  }
  Functions nccl;
  RM_RETURN_IF_ERROR(FindAll(library, &nccl));
  auto api = std::make_unique<LoadedNcclApi>(nccl);
  RM_ASSIGN_OR_RETURN(const int devices, api->DeviceCount());
  if (devices == 0) return absl::FailedPreconditionError("no GPU is visible to this process (CUDA_VISIBLE_DEVICES?)");
  return api;
}

}  // namespace ringmaster
