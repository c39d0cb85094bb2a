#include "cli/bench/gpu_sweep.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/bench/exact_data.h"
#include "cli/bench/sweep_call.h"
#include "collectives/nccl/pattern.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(60);
constexpr int kWarmUps = 5;
// Operations between two events, as many as nccl-tests has: the first one finds a device that has nothing to do.
constexpr int64_t kBatch = 20;

absl::Status Launched(int code, const char* kernel) {
  return code == 0 ? absl::OkStatus() : absl::InternalError(absl::StrCat("kernel ", kernel, ": CUDA error ", code));
}

class GpuSweep {
 public:
  GpuSweep(const BenchOptions& options, const Call& like, Communicator& host, NcclCommunicator& ranks, NcclApi& api)
      : options_(options),
        like_(like),
        host_(host),
        ranks_(ranks),
        api_(api),
        element_(static_cast<int64_t>(BytesPerElement(like.type))),
        period_(12 * (ranks.size() + 1)) {}

  ~GpuSweep() {
    if (begin_ != nullptr) api_.DestroyEvent(begin_).IgnoreError();
    if (end_ != nullptr) api_.DestroyEvent(end_).IgnoreError();
    if (stream_ != nullptr) api_.DestroyStream(stream_).IgnoreError();
  }

  absl::Status Prepare(int64_t most_bytes) {
    const int64_t room = most_bytes + 64 * ranks_.size();
    RM_ASSIGN_OR_RETURN(input_, ranks_.Register(room, kTimeout));
    RM_ASSIGN_OR_RETURN(output_, ranks_.Register(room, kTimeout));
    RM_ASSIGN_OR_RETURN(tables_, ranks_.Register((ranks_.size() + 1) * period_ * element_, kTimeout));
    RM_ASSIGN_OR_RETURN(wrong_, ranks_.Register(sizeof(int64_t), kTimeout));
    RM_ASSIGN_OR_RETURN(stream_, api_.CreateStream());
    RM_ASSIGN_OR_RETURN(begin_, api_.CreateEvent(/*timed=*/true));
    RM_ASSIGN_OR_RETURN(end_, api_.CreateEvent(/*timed=*/true));
    // Inputs of all ranks and, last, their reduction: all of exact_data.h repeats itself.
    std::vector<char> tables(static_cast<size_t>((ranks_.size() + 1) * period_ * element_));
    const Reduction reduction = IsReduction(like_.operation) ? like_.reduction : Reduction::kSum;
    for (int rank = 0; rank <= ranks_.size(); ++rank) {
      for (int64_t i = 0; i < period_; ++i) {
        const int value =
            rank < ranks_.size() ? InputOf(rank, i, ranks_.size(), reduction) : ReducedAt(i, ranks_.size(), reduction);
        StoreElement(tables.data(), rank * period_ + i, like_.type, value);
      }
    }
    RM_RETURN_IF_ERROR(api_.Copy(tables_.data(), tables.data(), static_cast<int64_t>(tables.size()), stream_));
    return Finish();
  }

  absl::StatusOr<BenchRow> Measure(int64_t bytes, bool in_place) {
    const Call call = MakeSweepCall(like_, bytes, in_place,
                                    {.rank = ranks_.rank(),
                                     .ranks = ranks_.size(),
                                     .input = static_cast<char*>(input_.data()),
                                     .output = static_cast<char*>(output_.data())},
                                    &counts_);
    int64_t wrong = 0;
    RM_RETURN_IF_ERROR(Check(call, &wrong));
    std::vector<double> times;
    RM_RETURN_IF_ERROR(Time(call, &times));
    RM_RETURN_IF_ERROR(Check(call, &wrong));
    RM_RETURN_IF_ERROR(host_.AllReduce(&wrong, &wrong, 1, DataType::kI64, Reduction::kSum, kTimeout));
    BenchRow row = RowOf(call, ranks_.size(), bytes, times, wrong);
    row.transport = "nccl";
    row.buffers = "device";
    row.in_place = in_place;
    return row;
  }

 private:
  Pattern InputPattern(int rank, int64_t begin) const {
    return {.table = static_cast<const char*>(tables_.data()) + rank * period_ * element_,
            .period = period_,
            .begin = begin,
            .element_bytes = static_cast<int>(element_)};
  }
  Pattern ReducedPattern(int64_t begin) const { return InputPattern(ranks_.size(), begin); }

  absl::Status Finish() {
    RM_RETURN_IF_ERROR(api_.RecordEvent(end_, stream_));
    return ranks_.WaitFor(end_, kTimeout);
  }

  absl::Status Check(const Call& call, int64_t* wrong) {
    void* const input = const_cast<void*>(call.send);
    RM_RETURN_IF_ERROR(api_.Zero(wrong_.data(), sizeof(int64_t), stream_));
    RM_RETURN_IF_ERROR(Launched(FillWithPattern(input, InputElements(call, ranks_.size()), InputPattern(ranks_.rank(), 0), stream_),
                                "FillWithPattern"));
    RM_RETURN_IF_ERROR(ranks_.Enqueue(call, stream_, kTimeout));
    RM_RETURN_IF_ERROR(Compare(call));
    int64_t found = 0;
    RM_RETURN_IF_ERROR(api_.Copy(&found, wrong_.data(), sizeof(found), stream_));
    RM_RETURN_IF_ERROR(Finish());
    *wrong += found;
    return absl::OkStatus();
  }

  absl::Status Expect(const Call& call, int64_t at, int64_t count, const Pattern& pattern) {
    const char* const found = static_cast<const char*>(call.receive) + at * element_;
    return Launched(CountDifferent(found, count, pattern, static_cast<unsigned long long*>(wrong_.data()), stream_),
                    "CountDifferent");
  }

  // What CountWrong in exact_data.h checks on the host.
  absl::Status Compare(const Call& call) {
    const int64_t count = call.send_counts.empty() ? call.count : call.send_counts[0];
    const int rank = ranks_.rank();
    const bool is_root = rank == call.root;
    switch (call.operation) {
      case Operation::kAllReduce: return Expect(call, 0, count, ReducedPattern(0));
      case Operation::kReduce: return is_root ? Expect(call, 0, count, ReducedPattern(0)) : absl::OkStatus();
      case Operation::kReduceScatter:
      case Operation::kReduceScatterV: return Expect(call, 0, count, ReducedPattern(rank * count));
      case Operation::kBroadcast: return Expect(call, 0, count, InputPattern(call.root, 0));
      case Operation::kScatter: return Expect(call, 0, count, InputPattern(call.root, rank * count));
      case Operation::kGather:
        if (!is_root) return absl::OkStatus();
        break;
      case Operation::kAllGather:
      case Operation::kAllGatherV:
      case Operation::kAllToAll:
      case Operation::kAllToAllV: break;
      default: return absl::OkStatus();
    }
    const bool to_all = call.operation == Operation::kAllToAll || call.operation == Operation::kAllToAllV;
    for (int from = 0; from < ranks_.size(); ++from) {
      RM_RETURN_IF_ERROR(Expect(call, from * count, count, InputPattern(from, to_all ? rank * count : 0)));
    }
    return absl::OkStatus();
  }

  // Microseconds of one of `count` operations that follow each other on the stream.
  absl::StatusOr<double> TimeBatch(const Call& call, int64_t count) {
    RM_RETURN_IF_ERROR(api_.RecordEvent(begin_, stream_));
    for (int64_t i = 0; i < count; ++i) RM_RETURN_IF_ERROR(ranks_.Enqueue(call, stream_, kTimeout));
    RM_RETURN_IF_ERROR(Finish());
    RM_ASSIGN_OR_RETURN(const double microseconds, api_.MicrosecondsBetween(begin_, end_));
    return microseconds / static_cast<double>(count);
  }

  absl::Status Time(const Call& call, std::vector<double>* times) {
    RM_RETURN_IF_ERROR(TimeBatch(call, kWarmUps).status());
    RM_ASSIGN_OR_RETURN(const double estimate, TimeBatch(call, kWarmUps));
    const double batch = std::max(estimate, 1.0) * static_cast<double>(kBatch);
    int64_t samples = std::clamp<int64_t>(static_cast<int64_t>(options_.seconds * 1e6 / batch), 5, 1000);
    RM_RETURN_IF_ERROR(host_.Broadcast(&samples, 1, DataType::kI64, 0, kTimeout));
    for (int64_t sample = 0; sample < samples; ++sample) {
      RM_ASSIGN_OR_RETURN(const double microseconds, TimeBatch(call, kBatch));
      times->push_back(microseconds);
    }
    return absl::OkStatus();
  }

  const BenchOptions& options_;
  const Call like_;
  Communicator& host_;
  NcclCommunicator& ranks_;
  NcclApi& api_;
  const int64_t element_;
  const int64_t period_;  // of all data: elements
  RegisteredBuffer input_, output_, tables_, wrong_;
  CudaStream stream_ = nullptr;
  CudaEvent begin_ = nullptr, end_ = nullptr;
  std::vector<int64_t> counts_;
};

}  // namespace

absl::Status RunGpuSweep(const BenchOptions& options, Communicator& host, NcclCommunicator& ranks, NcclApi& api,
                         const std::function<void(const BenchRow&)>& report) {
  Call like;
  RM_ASSIGN_OR_RETURN(like.operation, ParseOperation(options.operation));
  RM_ASSIGN_OR_RETURN(like.type, ParseType(options.type));
  RM_ASSIGN_OR_RETURN(like.reduction, ParseReduction(options.reduction));
  RM_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, ParseSizes(options.sizes));
  GpuSweep sweep(options, like, host, ranks, api);
  RM_RETURN_IF_ERROR(sweep.Prepare(*std::max_element(sizes.begin(), sizes.end())));
  for (const int64_t bytes : sizes) {
    for (const bool in_place : {false, true}) {
      if (in_place ? !HasInPlace(like.operation) : !HasOutOfPlace(like.operation)) continue;
      RM_ASSIGN_OR_RETURN(const BenchRow row, sweep.Measure(bytes, in_place));
      if (ranks.rank() == 0) report(row);
    }
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::cli
