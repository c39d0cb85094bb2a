#include "trainer/session/epoch_watch.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace ringmaster::trainer {
namespace {

// The link itself asks again more often; this is how long one wait of the thread lasts.
constexpr absl::Duration kWait = absl::Minutes(10);

}  // namespace

void EpochWatch::Start() {
  thread_ = std::thread([this] { Run(); });
}

void EpochWatch::Stop() {
  if (!thread_.joinable()) return;
  link_->CancelAwaitEpoch();
  thread_.join();
}

void EpochWatch::Run() {
  while (true) {
    const auto next = link_->AwaitEpoch({}, kWait);
    if (next.ok()) return on_over_(absl::StrCat("epoch ", next->epoch.value(), " has begun"));
    // A coordinator that is away does not end an epoch.
    if (absl::IsDeadlineExceeded(next.status()) || absl::IsUnavailable(next.status())) continue;
    if (!absl::IsCancelled(next.status())) on_over_(std::string(next.status().message()));
    return;
  }
}

}  // namespace ringmaster::trainer
