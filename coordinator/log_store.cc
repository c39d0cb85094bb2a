#include "coordinator/log_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/log.h"

namespace ringmaster::coordinator {
namespace {

constexpr size_t kBatchBytes = 256 << 10;
constexpr uint32_t kLongestLine = 1 << 20;
constexpr size_t kLengthBytes = 4;

std::string Frame(const v1::LogLine& line) {
  const std::string bytes = line.SerializeAsString();
  const uint32_t length = static_cast<uint32_t>(bytes.size());
  std::string framed(kLengthBytes, '\0');
  for (size_t i = 0; i < kLengthBytes; ++i) framed[i] = static_cast<char>(length >> (8 * i));
  return framed + bytes;
}

// About what a line takes in the file, the same for every line of this length.
int64_t BytesOf(const v1::LogLine& line) { return static_cast<int64_t>(line.text().size()) + 32; }

uint32_t LengthAt(const char* bytes) {
  uint32_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= uint32_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  return length;
}

}  // namespace

std::filesystem::path LogStore::PathOf(const JobId& job) const { return directory_ / (job.value() + ".log"); }

void LogStore::Open(const JobId& job) {
  MutexLock lock(&mu_);
  if (files_.contains(job)) return;
  std::error_code ignored;  // the open below says what is wrong
  std::filesystem::create_directories(directory_, ignored);
  FileDescriptor file(open(PathOf(job).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!file.valid()) LogWarn("job=%s logs are not kept: %s: %s", job.value(), PathOf(job).string(), std::strerror(errno));
  JobFile& job_file = files_[job];
  job_file.file = std::move(file);
  TakeUp(job_file, job);
}

// Counts what earlier lives have written, and cuts half a record at the end: it would hide all later ones.
void LogStore::TakeUp(JobFile& job_file, const JobId& job) {
  if (!job_file.file.valid()) return;
  int64_t offset = 0;
  while (true) {
    const absl::StatusOr<Batch> batch = Read(job, offset);
    if (!batch.ok()) return LogWarn("job=%s %s", job.value(), batch.status().ToString());
    for (const v1::LogLine& line : batch->lines) job_file.bytes_of_rank[line.rank()] += BytesOf(line);
    offset = batch->next_offset;
    if (batch->at_end) break;
  }
  const off_t size = lseek(job_file.file.get(), 0, SEEK_END);
  if (size <= offset) return;
  LogWarn("job=%s %d bytes of half a line are cut: %s", job.value(), size - offset, PathOf(job).string());
  if (ftruncate(job_file.file.get(), offset) != 0) job_file.file.Reset();
}

void LogStore::Append(const JobId& job, const v1::LogLines& lines) {
  std::vector<std::function<void()>> wakes;
  {
    MutexLock lock(&mu_);
    const auto it = files_.find(job);
    if (it == files_.end() || !it->second.file.valid()) return;
    Write(it->second, job, lines);
    for (const auto& [id, subscription] : subscriptions_) {
      if (subscription.first == job) wakes.push_back(subscription.second);
    }
  }
  for (const auto& wake : wakes) wake();
}

void LogStore::Write(JobFile& job_file, const JobId& job, const v1::LogLines& lines) {
  std::string bytes;
  for (v1::LogLine line : lines.lines()) {
    int64_t& used = job_file.bytes_of_rank[line.rank()];
    if (used > most_bytes_per_rank_) continue;
    if (line.text().size() > kLongestLine / 2) line.mutable_text()->resize(kLongestLine / 2);
    used += BytesOf(line);
    if (used > most_bytes_per_rank_) {
      line.set_text("[the coordinator keeps no more lines of this rank; its worker's files have them]");
    }
    bytes += Frame(line);
  }
  const off_t before = lseek(job_file.file.get(), 0, SEEK_END);
  const ssize_t written = write(job_file.file.get(), bytes.data(), bytes.size());
  if (written == static_cast<ssize_t>(bytes.size())) return;
  LogWarn("job=%s %d lines lost: %s: %s", job.value(), lines.lines_size(), PathOf(job).string(), std::strerror(errno));
  if (written > 0 && ftruncate(job_file.file.get(), before) != 0) job_file.file.Reset();  // half a record would hide all later ones
}

absl::StatusOr<LogStore::Batch> LogStore::Read(const JobId& job, int64_t offset) const {
  Batch batch{.lines = {}, .next_offset = offset, .at_end = false};
  const FileDescriptor file(open(PathOf(job).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) {
    if (errno != ENOENT) return absl::UnavailableError(absl::StrCat(PathOf(job).string(), ": ", std::strerror(errno)));
    batch.at_end = true;
    return batch;
  }
  std::string bytes(kBatchBytes + kLongestLine, '\0');
  const ssize_t count = pread(file.get(), bytes.data(), bytes.size(), offset);
  if (count < 0) return absl::UnavailableError(absl::StrCat(PathOf(job).string(), ": ", std::strerror(errno)));
  size_t at = 0;
  const size_t end = static_cast<size_t>(count);
  while (at + kLengthBytes <= end && at < kBatchBytes) {
    const uint32_t length = LengthAt(bytes.data() + at);
    v1::LogLine line;
    if (length > kLongestLine) {
      return absl::DataLossError(absl::StrCat(PathOf(job).string(), " at byte ", offset + at, ": a line of ", length, " bytes"));
    }
    if (at + kLengthBytes + length > end) break;
    if (!line.ParseFromArray(bytes.data() + at + kLengthBytes, static_cast<int>(length))) {
      return absl::DataLossError(absl::StrCat(PathOf(job).string(), " at byte ", offset + at, ": not a log line"));
    }
    batch.lines.push_back(std::move(line));
    at += kLengthBytes + length;
  }
  batch.next_offset = offset + static_cast<int64_t>(at);
  batch.at_end = at < kBatchBytes;
  return batch;
}

LogStore::Subscription LogStore::Subscribe(const JobId& job, std::function<void()> wake) {
  MutexLock lock(&mu_);
  subscriptions_[next_subscription_] = {job, std::move(wake)};
  return next_subscription_++;
}

void LogStore::Unsubscribe(Subscription subscription) {
  MutexLock lock(&mu_);
  subscriptions_.erase(subscription);
}

}  // namespace ringmaster::coordinator
