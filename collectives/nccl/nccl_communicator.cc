#include "collectives/nccl/nccl_communicator.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace ringmaster {
namespace {

absl::StatusOr<NcclId> IdFromText(const std::string& text) {
  const std::string bytes = absl::HexStringToBytes(text);
  NcclId id;
  if (bytes.size() != id.size()) {
    return absl::InternalError(absl::StrCat("rank 0 published ", bytes.size(), " bytes as NCCL's id; it has ", id.size()));
  }
  std::memcpy(id.data(), bytes.data(), id.size());
  return id;
}

// NCCL's bootstrap has no deadline of its own while it waits for ranks: none begins before all are here.
absl::StatusOr<NcclId> MeetAll(const NcclCommunicatorOptions& options, NcclApi& api, Rendezvous& rendezvous, absl::Time deadline,
                               const Clock& clock) {
  const std::string prefix = absl::StrCat("nccl/", options.group, "/");
  const auto left = [&] { return std::max(deadline - clock.Now(), absl::ZeroDuration()); };
  if (options.rank == 0) {
    RM_ASSIGN_OR_RETURN(const NcclId id, api.GetUniqueId());
    RM_RETURN_IF_ERROR(
        rendezvous.Publish(absl::StrCat(prefix, "id"), absl::BytesToHexString(absl::string_view(id.data(), id.size()))));
  }
  RM_RETURN_IF_ERROR(rendezvous.Publish(absl::StrCat(prefix, "ready/", options.rank), "ready"));
  std::string missing;
  for (int rank = 0; rank < options.size; ++rank) {
    const absl::Status status = rendezvous.Await(absl::StrCat(prefix, "ready/", rank), left()).status();
    if (absl::IsDeadlineExceeded(status))
      absl::StrAppend(&missing, missing.empty() ? "" : ", ", rank);
    else
      RM_RETURN_IF_ERROR(status);
  }
  if (!missing.empty()) {
    return absl::DeadlineExceededError(absl::StrCat("group ", options.group, " of ", options.size,
                                                    " ranks: nobody came to form NCCL's communicator as rank ", missing));
  }
  RM_ASSIGN_OR_RETURN(const std::string text, rendezvous.Await(absl::StrCat(prefix, "id"), left()));
  return IdFromText(text);
}

}  // namespace

NcclCommunicator::NcclCommunicator(const NcclCommunicatorOptions& options, NcclApi& api, const Clock& clock)
    : options_(options), api_(api), clock_(clock), aborter_(api, clock) {}

absl::StatusOr<std::unique_ptr<NcclCommunicator>> NcclCommunicator::Create(const NcclCommunicatorOptions& options, NcclApi& api,
                                                                           Rendezvous& rendezvous, absl::Duration timeout,
                                                                           const Clock& clock) {
  const absl::Time deadline = clock.Now() + timeout;
  RM_RETURN_IF_ERROR(api.SetDevice(options.device));
  RM_ASSIGN_OR_RETURN(const NcclId id, MeetAll(options, api, rendezvous, deadline, clock));
  std::unique_ptr<NcclCommunicator> made(new NcclCommunicator(options, api, clock));
  if (options.reachable) options.reachable(made.get());
  if (absl::Status status = made->Connect(id, deadline); !status.ok()) {
    if (options.reachable) options.reachable(nullptr);
    return status;
  }
  return made;
}

absl::Status NcclCommunicator::Connect(const NcclId& id, absl::Time deadline) {
  RM_RETURN_IF_ERROR(Use([&]() -> absl::Status {
    RM_ASSIGN_OR_RETURN(comm_, api_.Init(options_.size, id, options_.rank));
    return absl::OkStatus();
  }));
  RM_RETURN_IF_ERROR(WaitUntilReady("ncclCommInitRankConfig", deadline));
  return Use([this] { return MakeOwnStream(); });
}

absl::Status NcclCommunicator::MakeOwnStream() {
  RM_ASSIGN_OR_RETURN(stream_, api_.CreateStream());
  RM_ASSIGN_OR_RETURN(done_, api_.CreateEvent(/*timed=*/false));
  RM_ASSIGN_OR_RETURN(barrier_, api_.Allocate(1));
  return api_.Zero(barrier_, 1, stream_);
}

absl::Status NcclCommunicator::FreeOwnStream() {
  absl::Status status = api_.SetDevice(options_.device);
  if (void* const memory = std::exchange(copy_, nullptr); memory != nullptr) status.Update(api_.Free(memory));
  if (void* const memory = std::exchange(barrier_, nullptr); memory != nullptr) status.Update(api_.Free(memory));
  if (const CudaEvent event = std::exchange(done_, nullptr); event != nullptr) status.Update(api_.DestroyEvent(event));
  if (const CudaStream stream = std::exchange(stream_, nullptr); stream != nullptr) status.Update(api_.DestroyStream(stream));
  return status;
}

// Whoever wants to know how it went has called Close.
NcclCommunicator::~NcclCommunicator() { Close(options_.close_timeout).IgnoreError(); }

absl::Status NcclCommunicator::Close(absl::Duration timeout) {
  if (std::exchange(closed_, true)) return aborter_.Wait(timeout);
  const absl::Time deadline = clock_.Now() + timeout;
  absl::Status status = comm_ == nullptr ? absl::OkStatus() : Use([this] { return api_.Finalize(comm_); });
  // Half of the time is the abort's, should there be one.
  if (status.ok() && comm_ != nullptr) status = WaitUntilReady("ncclCommFinalize", deadline - timeout / 2);
  bool healthy = false;
  {
    MutexLock lock(&mu_);
    healthy = broken_.ok();
    if (healthy) broken_ = absl::FailedPreconditionError(absl::StrCat("the communicator of group ", options_.group, " is closed"));
  }
  status = aborter_.Wait(std::max(deadline - clock_.Now(), absl::ZeroDuration()));
  // Behind an abort that hangs, everything that waits for the device would hang too.
  if (absl::IsDeadlineExceeded(status)) return status;
  status.Update(FreeOwnStream());
  if (healthy && comm_ != nullptr) status.Update(api_.Destroy(comm_));
  comm_ = nullptr;
  return status;
}

std::string NcclCommunicator::Explain(const Call& call) const {
  return absl::StrCat(ringmaster::Describe(call), ": ", api_.Version(),
                      " chooses (NCCL_DEBUG=INFO NCCL_DEBUG_SUBSYS=TUNING shows it)");
}

absl::StatusOr<RegisteredBuffer> NcclCommunicator::Register(int64_t bytes, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Barrier(timeout));
  void* memory = nullptr;
  RM_RETURN_IF_ERROR(Use([&]() -> absl::Status {
    RM_ASSIGN_OR_RETURN(memory, api_.Allocate(std::max<int64_t>(bytes, 1)));
    return absl::OkStatus();
  }));
  RegisteredBuffer buffer(memory, bytes, [&api = api_, memory] { api.Free(memory).IgnoreError(); });
  RM_RETURN_IF_ERROR(RunOnOwnStream("register", timeout, [&] { return api_.Zero(memory, bytes, stream_); }));
  return buffer;
}

absl::StatusOr<std::unique_ptr<Communicator>> NcclCommunicator::Split(int colour, int key, absl::Duration timeout) {
  const absl::Time deadline = clock_.Now() + timeout;
  // NCCL may write it for as long as the split is in progress, so it is left to NCCL when the split fails.
  auto split = std::make_unique<NcclComm>(nullptr);
  RM_RETURN_IF_ERROR(Use([&]() -> absl::Status {
    RM_RETURN_IF_ERROR(api_.SetDevice(options_.device));
    return api_.Split(comm_, colour, key, split.get());
  }));
  if (absl::Status status = WaitUntilReady("ncclCommSplit", deadline); !status.ok()) {
    split.release();
    return status;
  }
  if (colour < 0) return nullptr;
  NcclCommunicatorOptions options = options_;
  options.group = absl::StrCat(options_.group, ".", colour);
  std::unique_ptr<NcclCommunicator> made(new NcclCommunicator(options, api_, clock_));
  made->comm_ = *split;
  RM_RETURN_IF_ERROR(made->WaitUntilReady("ncclCommSplit", deadline));
  RM_RETURN_IF_ERROR(made->Use([&]() -> absl::Status {
    RM_ASSIGN_OR_RETURN(made->options_.rank, api_.RankOf(made->comm_));
    RM_ASSIGN_OR_RETURN(made->options_.size, api_.SizeOf(made->comm_));
    return made->MakeOwnStream();
  }));
  return made;
}

}  // namespace ringmaster
