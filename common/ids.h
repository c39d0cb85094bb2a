// The nouns' names. Two ids never share a type.
#ifndef RINGMASTER_COMMON_IDS_H_
#define RINGMASTER_COMMON_IDS_H_

#include <compare>
#include <cstdint>
#include <ostream>
#include <string>
#include <utility>

namespace ringmaster {

// A number that is not interchangeable with other numbers. `value()` is for formatting, wire formats and arithmetic at the edge.
template <typename Tag, typename Value>
class NumberId {
 public:
  constexpr NumberId() = default;
  constexpr explicit NumberId(Value value) : value_(value) {}
  constexpr Value value() const { return value_; }
  constexpr NumberId Next() const { return NumberId(value_ + 1); }
  constexpr auto operator<=>(const NumberId&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const NumberId& id) {
    return H::combine(std::move(h), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, const NumberId& id) { return out << id.value_; }

 private:
  Value value_ = 0;
};

template <typename Tag>
class StringId {
 public:
  StringId() = default;
  explicit StringId(std::string value) : value_(std::move(value)) {}
  const std::string& value() const { return value_; }
  bool empty() const { return value_.empty(); }
  auto operator<=>(const StringId&) const = default;
  template <typename H>
  friend H AbslHashValue(H h, const StringId& id) {
    return H::combine(std::move(h), id.value_);
  }
  friend std::ostream& operator<<(std::ostream& out, const StringId& id) { return out << id.value_; }

 private:
  std::string value_;
};

using JobId = StringId<struct JobIdTag>;           // "char-gpt-7f3k2": unique for ever
using WorkerId = StringId<struct WorkerIdTag>;     // a worker's name, by default its host name: unique among live workers
using Epoch = NumberId<struct EpochTag, int64_t>;  // 1, 2, ...: one formation of a job's ranks; 0 = none yet
using Rank = NumberId<struct RankTag, int32_t>;    // 0 .. world_size-1
using Incarnation = NumberId<struct IncarnationTag, uint64_t>;  // one life of one process; random, never 0 when set

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_IDS_H_
