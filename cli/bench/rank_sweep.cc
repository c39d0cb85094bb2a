#include "cli/bench/rank_sweep.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "cli/bench/exact_data.h"
#include "cli/bench/sweep_call.h"
#include "common/status_macros.h"

namespace ringmaster::cli {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(60);
constexpr double kBatchMicroseconds = 50;  // several short operations are timed as one

class Sweep {
 public:
  Sweep(const BenchOptions& options, Operation operation, DataType type, Reduction reduction, Communicator& ranks,
        const Clock& clock)
      : options_(options), operation_(operation), type_(type), reduction_(reduction), ranks_(ranks), clock_(clock) {}

  absl::Status Prepare(int64_t most_bytes) {
    const int64_t room = most_bytes + 64 * ranks_.size();
    RM_ASSIGN_OR_RETURN(input_, Make(room));
    RM_ASSIGN_OR_RETURN(output_, Make(room));
    std::memset(input_.data(), 0, static_cast<size_t>(room));
    std::memset(output_.data(), 0, static_cast<size_t>(room));
    return absl::OkStatus();
  }

  absl::StatusOr<BenchRow> Measure(int64_t bytes, bool in_place) {
    const Call call = MakeCall(bytes, in_place);
    int64_t wrong = 0;
    RM_RETURN_IF_ERROR(Check(call, &wrong));
    RM_ASSIGN_OR_RETURN(const double estimate, WarmUp(call));
    std::vector<double> times;
    RM_RETURN_IF_ERROR(Time(call, estimate, &times));
    RM_RETURN_IF_ERROR(Check(call, &wrong));
    RM_RETURN_IF_ERROR(ranks_.AllReduce(&wrong, &wrong, 1, DataType::kI64, Reduction::kSum, kTimeout));
    BenchRow row = RowOf(call, ranks_.size(), bytes, times, wrong);
    row.transport = options_.transport;
    row.buffers = options_.buffers;
    row.in_place = in_place;
    return row;
  }

 private:
  absl::StatusOr<RegisteredBuffer> Make(int64_t bytes) {
    return options_.buffers == "registered" ? ranks_.Register(bytes, kTimeout) : AllocatePrivateBuffer(bytes);
  }

  Call MakeCall(int64_t bytes, bool in_place) {
    return MakeSweepCall({.operation = operation_, .type = type_, .reduction = reduction_}, bytes, in_place,
                         {.rank = ranks_.rank(),
                          .ranks = ranks_.size(),
                          .input = static_cast<char*>(input_.data()),
                          .output = static_cast<char*>(output_.data())},
                         &counts_);
  }

  absl::Status Check(const Call& call, int64_t* wrong) {
    const int64_t elements = InputElements(call, ranks_.size());
    char* const send = static_cast<char*>(const_cast<void*>(call.send));
    for (int64_t i = 0; i < elements; ++i) {
      StoreElement(send, i, type_, InputOf(ranks_.rank(), i, ranks_.size(), call.reduction));
    }
    RM_RETURN_IF_ERROR(ranks_.Run(call, kTimeout));
    *wrong += CountWrong(call, ranks_.rank(), ranks_.size());
    return absl::OkStatus();
  }

  double Microseconds() const { return absl::ToDoubleMicroseconds(clock_.Now() - absl::UnixEpoch()); }

  // All ranks do what rank 0 says: the same number of operations. Returns microseconds for one.
  absl::StatusOr<double> WarmUp(const Call& call) {
    RM_RETURN_IF_ERROR(ranks_.Barrier(kTimeout));
    const double begin = Microseconds();
    int64_t done = 0, batch = 1;
    for (int64_t more = 1; more != 0; batch = std::min<int64_t>(2 * batch, 1000)) {
      for (int64_t i = 0; i < batch; ++i) RM_RETURN_IF_ERROR(ranks_.Run(call, kTimeout));
      done += batch;
      more = Microseconds() - begin < options_.seconds * 1e6 * 0.2 ? 1 : 0;
      RM_RETURN_IF_ERROR(ranks_.Broadcast(&more, 1, DataType::kI64, 0, kTimeout));
    }
    return (Microseconds() - begin) / static_cast<double>(done);
  }

  absl::Status Time(const Call& call, double estimate, std::vector<double>* times) {
    int64_t plan[] = {std::clamp<int64_t>(static_cast<int64_t>(kBatchMicroseconds / estimate), 1, 64),
                      std::clamp<int64_t>(static_cast<int64_t>(options_.seconds * 1e6 / estimate), 5, 100'000)};
    RM_RETURN_IF_ERROR(ranks_.Broadcast(plan, 2, DataType::kI64, 0, kTimeout));
    times->reserve(static_cast<size_t>(plan[1] / plan[0] + 1));
    RM_RETURN_IF_ERROR(ranks_.Barrier(kTimeout));
    RM_RETURN_IF_ERROR(ranks_.Run(call, kTimeout));
    double before = Microseconds();
    for (int64_t done = 0; done < plan[1]; done += plan[0]) {
      for (int64_t i = 0; i < plan[0]; ++i) RM_RETURN_IF_ERROR(ranks_.Run(call, kTimeout));
      const double after = Microseconds();
      times->push_back((after - before) / static_cast<double>(plan[0]));
      before = after;
    }
    return absl::OkStatus();
  }

  const BenchOptions& options_;
  const Operation operation_;
  const DataType type_;
  const Reduction reduction_;
  Communicator& ranks_;
  const Clock& clock_;
  RegisteredBuffer input_;
  RegisteredBuffer output_;
  std::vector<int64_t> counts_;
};

}  // namespace

absl::Status RunSweep(const BenchOptions& options, Communicator& ranks, const Clock& clock,
                      const std::function<void(const BenchRow&)>& report) {
  RM_ASSIGN_OR_RETURN(const Operation operation, ParseOperation(options.operation));
  RM_ASSIGN_OR_RETURN(const DataType type, ParseType(options.type));
  RM_ASSIGN_OR_RETURN(const Reduction reduction, ParseReduction(options.reduction));
  RM_ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, ParseSizes(options.sizes));
  Sweep sweep(options, operation, type, reduction, ranks, clock);
  RM_RETURN_IF_ERROR(sweep.Prepare(*std::max_element(sizes.begin(), sizes.end())));
  for (const int64_t bytes : sizes) {
    for (const bool in_place : {false, true}) {
      // Against peers only what they do: in place.
      if (in_place ? !HasInPlace(operation) : !HasOutOfPlace(operation) || !options.against.empty()) continue;
      RM_ASSIGN_OR_RETURN(const BenchRow row, sweep.Measure(bytes, in_place));
      if (ranks.rank() == 0) report(row);
    }
  }
  return absl::OkStatus();
}

}  // namespace ringmaster::cli
