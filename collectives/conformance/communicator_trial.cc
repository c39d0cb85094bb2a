#include "collectives/conformance/communicator_trial.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "collectives/reduce.h"

namespace ringmaster::testing {
namespace {

constexpr char kGuard = 0x5a;
constexpr size_t kGuardBytes = 64;

uint64_t Mix(uint64_t value) {
  value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
  value = (value ^ value >> 27) * 0x94d049bb133111eb;
  return value ^ value >> 31;
}

// Bits of a float whose exponent is `bias` - 6 to `bias` + 2, of `exponent_bits` and `mantissa_bits`.
uint64_t FloatBits(uint64_t random, int exponent_bits, int mantissa_bits) {
  const uint64_t bias = (uint64_t{1} << (exponent_bits - 1)) - 1;
  const uint64_t exponent = bias - 6 + (random >> 56) % 9;
  const uint64_t mantissa = random & ((uint64_t{1} << mantissa_bits) - 1);
  const uint64_t sign = random >> 55 & 1;
  return sign << (exponent_bits + mantissa_bits) | exponent << mantissa_bits | mantissa;
}

// A buffer between guards.
class Buffer {
 public:
  Buffer(const std::vector<char>& values, size_t shift) : shift_(kGuardBytes + shift), bytes_(values.size()) {
    memory_.assign(shift_ + bytes_ + kGuardBytes, kGuard);
    std::copy(values.begin(), values.end(), memory_.begin() + static_cast<std::ptrdiff_t>(shift_));
  }
  char* data() { return memory_.data() + shift_; }
  std::vector<char> values() const { return {memory_.begin() + static_cast<std::ptrdiff_t>(shift_), memory_.end() - kGuardBytes}; }
  bool GuardsStand() const {
    const auto stands = [](char byte) { return byte == kGuard; };
    return std::all_of(memory_.begin(), memory_.begin() + static_cast<std::ptrdiff_t>(shift_), stands) &&
           std::all_of(memory_.end() - kGuardBytes, memory_.end(), stands);
  }

 private:
  const size_t shift_, bytes_;
  std::vector<char> memory_;
};

absl::Status Compare(const std::vector<char>& found, const std::vector<char>& expected, size_t element, const char* what) {
  if (found.size() != expected.size()) return absl::InternalError(absl::StrCat(what, " has ", found.size(), " bytes"));
  const auto [at, unused] = std::mismatch(found.begin(), found.end(), expected.begin());
  if (at == found.end()) return absl::OkStatus();
  const size_t index = static_cast<size_t>(at - found.begin()) / element;
  uint64_t is = 0, should = 0;
  std::memcpy(&is, found.data() + index * element, element);
  std::memcpy(&should, expected.data() + index * element, element);
  return absl::InternalError(absl::StrCat(what, ": element ", index, " of ", found.size() / element, " is ", absl::Hex(is),
                                          ", expected ", absl::Hex(should)));
}

}  // namespace

void WriteElement(DataType type, uint64_t random, char* element) {
  uint64_t bits = random;
  if (type == DataType::kF32) bits = FloatBits(random, 8, 23);
  if (type == DataType::kF64) bits = FloatBits(random, 11, 52);
  if (type == DataType::kF16) bits = FloatBits(random, 5, 10);
  if (type == DataType::kBF16) bits = FloatBits(random, 8, 7);
  std::memcpy(element, &bits, BytesPerElement(type));
}

std::string Describe(const TrialOptions& options, int size) {
  const Call call{.operation = options.operation,
                  .type = options.type,
                  .reduction = options.reduction,
                  .root = options.root,
                  .count = options.count};
  return absl::StrCat(ringmaster::Describe(call), options.in_place ? " in place" : "", ", shift ", options.shift, ", seed ",
                      options.seed, ", ", size, " ranks");
}

Trial::Trial(int size, const TrialOptions& options) : size_(size), options_(options), element_(BytesPerElement(options.type)) {
  const Operation operation = options.operation;
  sent_.assign(size, std::vector<int64_t>(size));
  for (int rank = 0; rank < size; ++rank) {
    for (int peer = 0; peer < size; ++peer) {
      const uint64_t row = operation == Operation::kAllToAllV ? rank + 1 : 0;  // the others know one row alone
      const uint64_t random = Mix(options.seed + 1000 * row + peer);
      sent_[rank][peer] = random % 4 == 0 ? 0 : std::max<int64_t>(0, options.count - 2 + static_cast<int64_t>(random >> 8) % 5);
    }
  }
  for (int rank = 0; rank < size; ++rank) {
    int64_t elements = options.count;
    if (operation == Operation::kBarrier) elements = 0;
    if (operation == Operation::kReduceScatter || operation == Operation::kAllToAll) elements *= size;
    if (operation == Operation::kScatter) elements = rank == options.root ? elements * size : 0;
    if (operation == Operation::kBroadcast && rank != options.root) elements = 0;
    if (operation == Operation::kAllGatherV) elements = PartOf(rank);
    if (operation == Operation::kReduceScatterV) elements = PartBegin(size);
    if (operation == Operation::kAllToAllV) {
      elements = 0;
      for (const int64_t count : sent_[rank]) elements += count;
    }
    std::vector<char>& input = inputs_.emplace_back(static_cast<size_t>(elements) * element_);
    for (int64_t i = 0; i < elements; ++i) {
      const uint64_t random = Mix(options.seed * uint64_t{0x9e3779b97f4a7c15} + static_cast<uint64_t>(i * 64 + rank));
      WriteElement(options.type, random, input.data() + static_cast<size_t>(i) * element_);
    }
  }
  if (IsReduction(operation)) {
    std::vector<const void*> operands;
    for (const std::vector<char>& input : inputs_) operands.push_back(input.data());
    reduced_.resize(inputs_[0].size());
    void* const result = reduced_.data();
    ReduceInOrder(operands, {&result, 1}, static_cast<int64_t>(reduced_.size() / element_), options.type, options.reduction);
  }
}

int64_t Trial::PartOf(int rank) const { return IsVaried(options_.operation) ? sent_[0][rank] : options_.count; }

int64_t Trial::PartBegin(int rank) const {
  int64_t begin = 0;
  for (int before = 0; before < rank; ++before) begin += PartOf(before);
  return begin;
}

std::vector<char> Trial::Slice(const std::vector<char>& values, int64_t begin, int64_t count) const {
  const auto bytes = static_cast<int64_t>(element_);
  return {values.begin() + begin * bytes, values.begin() + (begin + count) * bytes};
}

std::vector<char> Trial::Expected(int rank) const {
  const bool is_root = rank == options_.root;
  std::vector<char> expected;
  const auto append = [&](const std::vector<char>& part) { expected.insert(expected.end(), part.begin(), part.end()); };
  switch (options_.operation) {
    case Operation::kAllReduce: return reduced_;
    case Operation::kReduce: return is_root ? reduced_ : expected;
    case Operation::kReduceScatter:
    case Operation::kReduceScatterV: return Slice(reduced_, PartBegin(rank), PartOf(rank));
    case Operation::kBroadcast: return inputs_[options_.root];
    case Operation::kScatter: return Slice(inputs_[options_.root], PartBegin(rank), PartOf(rank));
    case Operation::kGather:
      if (!is_root) return expected;
      [[fallthrough]];
    case Operation::kAllGather:
    case Operation::kAllGatherV:
      for (const std::vector<char>& input : inputs_) append(input);
      return expected;
    case Operation::kAllToAll:
      for (const std::vector<char>& input : inputs_) append(Slice(input, PartBegin(rank), PartOf(rank)));
      return expected;
    case Operation::kAllToAllV:
      for (int peer = 0; peer < size_; ++peer) {
        int64_t begin = 0;
        for (int before = 0; before < rank; ++before) begin += sent_[peer][before];
        append(Slice(inputs_[peer], begin, sent_[peer][rank]));
      }
      return expected;
    default: return expected;
  }
}

absl::Status Trial::Check(Communicator& ranks, absl::Duration timeout) const {
  const int rank = ranks.rank();
  const Operation operation = options_.operation;
  const std::vector<char> expected = Expected(rank);
  const std::vector<char>& input = inputs_[rank];
  const size_t own = static_cast<size_t>(PartBegin(rank)) * element_;
  const size_t shift = static_cast<size_t>(options_.shift) * element_;

  const bool parts_in = operation == Operation::kReduceScatter || operation == Operation::kReduceScatterV ||
                        (operation == Operation::kScatter && rank == options_.root);  // the input holds the parts of all ranks
  const bool parts_out = operation == Operation::kAllGather || operation == Operation::kAllGatherV ||
                         (operation == Operation::kGather && rank == options_.root);
  bool in_place = options_.in_place || operation == Operation::kBroadcast;
  if ((operation == Operation::kReduce || operation == Operation::kGather || operation == Operation::kScatter) &&
      rank != options_.root) {
    in_place = false;
  }
  std::vector<char> first(std::max(input.size(), in_place ? expected.size() : 0), kGuard);
  std::copy(input.begin(), input.end(), first.begin() + static_cast<std::ptrdiff_t>(in_place && parts_out ? own : 0));
  Buffer send(first, shift);
  Buffer receive(std::vector<char>(expected.size(), kGuard), shift / 2 / element_ * element_);

  Call call{.operation = operation, .type = options_.type, .send = send.data(), .receive = receive.data()};
  if (IsReduction(operation)) call.reduction = options_.reduction;
  if (IsRooted(operation)) call.root = options_.root;
  if (operation != Operation::kBarrier && !IsVaried(operation)) call.count = options_.count;
  std::vector<int64_t> receive_counts;
  if (IsVaried(operation)) call.send_counts = sent_[operation == Operation::kAllToAllV ? rank : 0];
  if (operation == Operation::kAllToAllV) {
    for (int peer = 0; peer < size_; ++peer) receive_counts.push_back(sent_[peer][rank]);
    call.receive_counts = receive_counts;
  }
  if (in_place) {
    call.receive = send.data() + (parts_in ? own : 0);
    call.send = send.data() + (parts_out ? own : 0);
  }
  if (absl::Status status = ranks.Run(call, timeout); !status.ok()) return status;

  if (!send.GuardsStand() || !receive.GuardsStand()) return absl::InternalError("something was written outside of the buffers");
  if (!in_place) {
    if (absl::Status status = Compare(send.values(), input, element_, "the input"); !status.ok()) return status;
    return Compare(receive.values(), expected, element_, "the result");
  }
  const size_t offset = parts_in ? own : 0;
  const std::vector<char> whole = send.values();
  const auto begin = whole.begin() + static_cast<std::ptrdiff_t>(offset);
  return Compare({begin, begin + static_cast<std::ptrdiff_t>(expected.size())}, expected, element_, "the result");
}

}  // namespace ringmaster::testing
