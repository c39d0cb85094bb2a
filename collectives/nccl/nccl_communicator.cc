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
    : options_(options), api_(api), clock_(clock), guard_(api, clock, options.device, Place()) {}

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
  guard_.Start();
  RM_RETURN_IF_ERROR(guard_.UseControl([&]() -> absl::Status {
    RM_ASSIGN_OR_RETURN(guard_.control(), api_.Init(options_.size, id, options_.rank));
    return absl::OkStatus();
  }));
  RM_RETURN_IF_ERROR(WaitUntilReady("ncclCommInitRankConfig", deadline));
  RM_RETURN_IF_ERROR(guard_.UseControl([&] { return api_.Duplicate(guard_.control(), &guard_.data()); }));
  RM_RETURN_IF_ERROR(WaitUntilReady("ncclCommSplit", deadline));
  return guard_.UseData([this] { return MakeOwnStream(); });
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
  if (std::exchange(closed_, true)) return guard_.Wait(timeout);
  const absl::Time deadline = clock_.Now() + timeout;
  // Half of the time is the abort's, should there be one: whatever goes wrong is the guard's.
  Finalize(deadline - timeout / 2).IgnoreError();
  const bool is_healthy =
      guard_.Stop(absl::FailedPreconditionError(absl::StrCat("the communicator of group ", options_.group, " is closed")));
  absl::Status status = guard_.Wait(std::max(deadline - clock_.Now(), absl::ZeroDuration()));
  // Behind an abort that hangs, everything that waits for the device would hang too.
  if (absl::IsDeadlineExceeded(status)) return status;
  status.Update(FreeOwnStream());
  if (is_healthy && guard_.control() != nullptr) status.Update(api_.Destroy(guard_.control()));
  return status;
}

absl::Status NcclCommunicator::Finalize(absl::Time deadline) {
  if (guard_.data() != nullptr) {
    RM_RETURN_IF_ERROR(
        guard_.CallData({.what = "ncclCommFinalize", .sequence = sequence_, .deadline = deadline}, [&]() -> absl::Status {
          RM_RETURN_IF_ERROR(api_.Finalize(guard_.data()));
          return api_.Destroy(std::exchange(guard_.data(), nullptr));
        }));
  }
  if (guard_.control() == nullptr) return absl::OkStatus();
  RM_RETURN_IF_ERROR(guard_.UseControl([&] { return api_.Finalize(guard_.control()); }));
  return WaitUntilReady("ncclCommFinalize", deadline);
}

std::string NcclCommunicator::Explain(const Call& call) const {
  return absl::StrCat(ringmaster::Describe(call), ": ", api_.Version(),
                      " chooses (NCCL_DEBUG=INFO NCCL_DEBUG_SUBSYS=TUNING shows it)");
}

absl::StatusOr<RegisteredBuffer> NcclCommunicator::Register(int64_t bytes, absl::Duration timeout) {
  RM_RETURN_IF_ERROR(Barrier(timeout));
  void* memory = nullptr;
  RM_RETURN_IF_ERROR(guard_.UseData([&]() -> absl::Status {
    RM_ASSIGN_OR_RETURN(memory, api_.Allocate(std::max<int64_t>(bytes, 1)));
    return absl::OkStatus();
  }));
  RegisteredBuffer buffer(memory, bytes, [&api = api_, memory] { api.Free(memory).IgnoreError(); });
  RM_RETURN_IF_ERROR(RunOnOwnStream("register", "register", timeout, [&] { return api_.Zero(memory, bytes, stream_); }));
  return buffer;
}

absl::StatusOr<std::vector<char>> NcclCommunicator::TellAll(std::span<const char> mine, absl::Duration timeout) {
  const auto bytes = static_cast<int64_t>(mine.size());
  RM_ASSIGN_OR_RETURN(const RegisteredBuffer memory, Register(bytes * size(), timeout));
  char* const own = static_cast<char*>(memory.data()) + bytes * rank();
  std::vector<char> all(static_cast<size_t>(bytes * size()));
  RM_RETURN_IF_ERROR(RunOnOwnStream("split", "split", timeout, [&] { return api_.Copy(own, mine.data(), bytes, stream_); }));
  RM_RETURN_IF_ERROR(AllGather(own, memory.data(), bytes, DataType::kU8, timeout));
  RM_RETURN_IF_ERROR(
      RunOnOwnStream("split", "split", timeout, [&] { return api_.Copy(all.data(), memory.data(), bytes * size(), stream_); }));
  return all;
}

// Not by ncclCommSplit: what that makes of a communicator that shares its resources goes down with it.
absl::StatusOr<std::unique_ptr<Communicator>> NcclCommunicator::Split(int colour, int key, absl::Duration timeout) {
  const absl::Time deadline = clock_.Now() + timeout;
  const int choice[] = {colour, key};
  RM_ASSIGN_OR_RETURN(const std::vector<char> chosen,
                      TellAll({reinterpret_cast<const char*>(choice), sizeof(choice)}, deadline - clock_.Now()));
  std::vector<std::pair<int, int>> members;  // key, rank
  for (int rank = 0; rank < size(); ++rank) {
    int other[2];
    std::memcpy(other, chosen.data() + static_cast<size_t>(rank) * sizeof(other), sizeof(other));
    if (other[0] == colour) members.emplace_back(other[1], rank);
  }
  std::sort(members.begin(), members.end());
  const auto own = static_cast<int>(std::find(members.begin(), members.end(), std::pair(key, rank())) - members.begin());
  NcclId id{};
  if (colour >= 0 && own == 0) {
    RM_ASSIGN_OR_RETURN(id, api_.GetUniqueId());
  }
  RM_ASSIGN_OR_RETURN(const std::vector<char> ids, TellAll(id, deadline - clock_.Now()));
  if (colour < 0) return nullptr;
  std::memcpy(id.data(), ids.data() + static_cast<size_t>(members[0].second) * id.size(), id.size());
  NcclCommunicatorOptions options = options_;
  options.rank = own;
  options.size = static_cast<int>(members.size());
  options.group = absl::StrCat(options_.group, ".", colour);
  options.reachable = {};
  std::unique_ptr<NcclCommunicator> made(new NcclCommunicator(options, api_, clock_));
  RM_RETURN_IF_ERROR(made->Connect(id, deadline));
  return made;
}

}  // namespace ringmaster
