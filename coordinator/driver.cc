#include "coordinator/driver.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"
#include "coordinator/store/record_codec.h"

namespace ringmaster::coordinator {
namespace {

constexpr absl::Duration kRetryInterval = absl::Milliseconds(500);
constexpr absl::Duration kLongestWait = absl::Minutes(10);  // no wait is unbounded
constexpr size_t kMostAtOnce = 4096;                        // events of one step
constexpr size_t kCompactAbove = 256;                       // superseded records that are worth a rewrite

absl::Status Stopped() { return absl::UnavailableError("the coordinator is stopping"); }

}  // namespace

Driver::Driver(std::unique_ptr<JobStore> store, const Membership::Options& options, const Clock& clock)
    : store_(std::move(store)), clock_(clock), machine_(options), entropy_([] {
        std::random_device device;
        return (uint64_t{device()} << 32) | device();
      }()) {}

absl::Status Driver::Load() {
  std::vector<std::pair<int64_t, Record>> records;
  RM_RETURN_IF_ERROR(store_->Replay([&](int64_t number, const std::string& bytes) -> absl::Status {
    absl::StatusOr<Record> record = DecodeRecord(bytes);
    if (!record.ok()) {
      return absl::Status(record.status().code(), absl::StrCat("job store: record ", number, ": ", record.status().message()));
    }
    machine_.Replay(*record);
    records.emplace_back(number, *std::move(record));
    return absl::OkStatus();
  }));
  std::vector<int64_t> superseded;
  for (const auto& [number, record] : records) {
    // The newest record stays, so that its number is not given again.
    if (number != records.back().first && IsSuperseded(record, machine_.jobs())) superseded.push_back(number);
  }
  if (superseded.size() > kCompactAbove) {
    // A store that is full of old keys still serves.
    if (const absl::Status status = store_->Compact(superseded); !status.ok()) LogWarn("compaction failed: %s", status.ToString());
  }
  for (const auto& [id, entry] : machine_.jobs().by_id) logged_states_[id] = entry->job.state;
  LogInfo("store=open records=%d jobs=%d", records.size(), machine_.jobs().order.size());
  return absl::OkStatus();
}

void Driver::Start(Hooks hooks) {
  hooks_ = std::move(hooks);
  Post(Restarted{});
  thread_ = std::thread([this] { Run(); });
}

void Driver::Stop() {
  {
    MutexLock lock(&mu_);
    stopping_ = true;
    wake_.SignalAll();
  }
  if (thread_.joinable()) thread_.join();
}

CallId Driver::NextCall() {
  MutexLock lock(&mu_);
  return CallId(next_call_++);
}

void Driver::Post(EventBody event) { Enqueue({.event = std::move(event), .call = {}, .done = {}, .reader = {}, .refused = {}}); }

void Driver::Read(Reader reader, std::function<void()> refused) {
  Enqueue({.event = Tick{}, .call = {}, .done = {}, .reader = std::move(reader), .refused = std::move(refused)});
}

void Driver::Enqueue(Item item) {
  {
    MutexLock lock(&mu_);
    if (!stopping_) {
      queue_.push_back(std::move(item));
      wake_.Signal();
      return;
    }
  }
  Refuse(item);
}

void Driver::Refuse(Item& item) {
  if (item.done) item.done(Stopped(), {});
  if (item.refused) item.refused();
}

void Driver::Run() {
  while (true) {
    const absl::Time deadline = stalled_.empty() ? machine_.NextDeadline() : retry_at_;
    std::vector<Item> items;
    if (!Wait(deadline, &items)) break;
    if (!items.empty()) Process(std::move(items));
    if (clock_.Now() >= deadline && !stalled_.empty()) {
      Retry();
    } else if (clock_.Now() >= deadline && machine_.NextDeadline() <= clock_.Now()) {
      Process(std::vector<Item>(1));
    }
    hooks_.answered();
  }
  std::deque<Item> left;
  {
    MutexLock lock(&mu_);
    left.swap(queue_);
  }
  for (Item& item : left) Refuse(item);
  for (auto& [call, done] : calls_) done(Stopped(), {});
  calls_.clear();
}

bool Driver::Wait(absl::Time deadline, std::vector<Item>* items) {
  MutexLock lock(&mu_);
  while (queue_.empty() && !stopping_) {
    const absl::Duration left = deadline - clock_.Now();
    if (left <= absl::ZeroDuration()) return true;
    wake_.WaitFor(&mu_, std::min(left, kLongestWait));
  }
  if (stopping_) return false;
  do {
    items->push_back(std::move(queue_.front()));
    queue_.pop_front();
  } while (!queue_.empty() && !items->back().reader && !queue_.front().reader && items->size() < kMostAtOnce);
  return true;
}

void Driver::Process(std::vector<Item> items) {
  if (items.front().reader) {
    items.front().reader(machine_, clock_.Now());
    return;
  }
  if (stalled_.empty()) {
    std::vector<Event> events;
    events.reserve(items.size());
    for (Item& item : items) {
      if (item.call.has_value()) calls_.emplace(*item.call, std::move(item.done));
      events.push_back(Now(item.event));
    }
    const absl::Status status = StepAndStore(events);
    if (status.ok()) return;
    for (Item& item : items) {
      if (!item.call.has_value()) continue;
      item.done = std::move(calls_[*item.call]);
      calls_.erase(*item.call);
    }
    if (items.size() > 1) {  // only what cannot be stored shall fail
      for (Item& item : items) {
        std::vector<Item> one;
        one.push_back(std::move(item));
        Process(std::move(one));
      }
      return;
    }
    LogError("store=failing: %s; what workers say is tried again every %s", status.ToString(),
             absl::FormatDuration(kRetryInterval));
    store_error_ = status;
    retry_at_ = clock_.Now() + kRetryInterval;
  }
  for (Item& item : items) {
    if (item.call.has_value()) {
      item.done(store_error_, {});
    } else {
      stalled_.push_back(std::move(item.event));
    }
  }
}

void Driver::Retry() {
  // Before what waited, so that no lease runs out on a worker whose heartbeats are in the queue. Restarted gives grace by itself,
  // and must come first: before it the workers are not known.
  if (!std::holds_alternative<Restarted>(stalled_.front())) stalled_.push_front(Resumed{});
  while (!stalled_.empty()) {
    if (const absl::Status status = StepAndStore(std::vector{Now(stalled_.front())}); !status.ok()) {
      if (std::holds_alternative<Resumed>(stalled_.front())) stalled_.pop_front();  // the next try brings a new one
      store_error_ = status;
      retry_at_ = clock_.Now() + kRetryInterval;
      return;
    }
    stalled_.pop_front();
  }
  LogInfo("store=working again");
}

absl::Status Driver::StepAndStore(std::span<const Event> events) {
  const Outcome outcome = machine_.Step(events, clock_.Now());
  if (!outcome.records.empty()) {
    std::vector<std::string> bytes;
    bytes.reserve(outcome.records.size());
    for (const Record& record : outcome.records) bytes.push_back(EncodeRecord(record));
    if (absl::Status status = store_->Append(bytes); !status.ok()) {
      machine_.Rollback();
      return status;
    }
  }
  Perform(outcome);
  return absl::OkStatus();
}

void Driver::Perform(const Outcome& outcome) {
  for (const Record& record : outcome.records) LogRecord(record);
  for (const Effect& effect : outcome.effects) {
    if (const auto* reply = std::get_if<Reply>(&effect)) {
      const auto it = calls_.find(reply->call);
      if (it == calls_.end()) continue;
      const Done done = std::move(it->second);
      calls_.erase(it);
      done(reply->status, reply->answer);
    } else if (const auto* changed = std::get_if<JobChanged>(&effect)) {
      hooks_.job_changed(*machine_.jobs().Find(changed->job), changed->progress_only);
    } else if (const auto* announce = std::get_if<Announce>(&effect)) {
      LogInfo("%s", announce->line);
    } else {
      hooks_.to_worker(effect);
    }
  }
}

void Driver::LogRecord(const Record& record) {
  const std::string& job = JobOf(record).value();
  if (const auto* changed = std::get_if<StateChanged>(&record)) {
    JobState& logged = logged_states_[changed->job];
    LogInfo("job=%s state=%s->%s reason=\"%s\"", job, Name(logged), Name(changed->state), changed->reason);
    logged = changed->state;
  } else if (const auto* opened = std::get_if<EpochOpened>(&record)) {
    JobState& logged = logged_states_[opened->job];
    LogInfo("job=%s epoch=%d state=%s->Starting world_size=%d reason=\"%s\"", job, opened->epoch.value(), Name(logged),
            opened->ranks.size(), opened->reason);
    logged = JobState::kStarting;
  } else if (const auto* ended = std::get_if<RankEnded>(&record)) {
    if (ended->failure.has_value()) LogWarn("job=%s epoch=%d %s", job, ended->epoch.value(), Describe(*ended->failure));
  } else if (const auto* committed = std::get_if<CheckpointCommitted>(&record)) {
    LogInfo("job=%s step=%d checkpoint=\"%s\"", job, committed->checkpoint.step, committed->checkpoint.path);
  } else if (const auto* refused = std::get_if<CheckpointRefused>(&record)) {
    LogWarn("job=%s checkpoint=\"%s\" refused: %s", job, refused->path, refused->reason);
  } else if (const auto* accepted = std::get_if<JobAccepted>(&record)) {
    LogInfo("job=%s accepted world_size=%d", job, accepted->spec.world_size);
  }
}

}  // namespace ringmaster::coordinator
