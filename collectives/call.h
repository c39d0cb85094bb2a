// One operation of a communicator, as data: what Communicator::Run carries out, what the flight recorder keeps, what ranks compare.
#ifndef RINGMASTER_COLLECTIVES_CALL_H_
#define RINGMASTER_COLLECTIVES_CALL_H_

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "collectives/types.h"

namespace ringmaster {

// Values travel on the wire: append only. V: the parts of the ranks differ in size.
enum class Operation : uint8_t {
  kAllReduce,
  kReduceScatter,
  kAllGather,
  kBroadcast,
  kBarrier,
  kReduce,
  kGather,
  kScatter,
  kAllToAll,
  kReduceScatterV,
  kAllGatherV,
  kAllToAllV,
  kSend,
  kReceive,
};

constexpr int kOperations = 14;

// "all_reduce"; "unknown operation" for a value from outside.
const char* NameOf(Operation operation);

constexpr bool IsReduction(Operation operation) {
  return operation == Operation::kAllReduce || operation == Operation::kReduceScatter || operation == Operation::kReduce ||
         operation == Operation::kReduceScatterV;
}
constexpr bool IsRooted(Operation operation) {
  return operation == Operation::kBroadcast || operation == Operation::kReduce || operation == Operation::kGather ||
         operation == Operation::kScatter;
}
// With a count for each rank.
constexpr bool IsVaried(Operation operation) {
  return operation == Operation::kReduceScatterV || operation == Operation::kAllGatherV || operation == Operation::kAllToAllV;
}
// Between two ranks; everything else is collective.
constexpr bool IsPointToPoint(Operation operation) { return operation == Operation::kSend || operation == Operation::kReceive; }

// The fields that an operation does not use stay as they are here, so that equal operations are equal calls.
struct Call {
  Operation operation = Operation::kBarrier;
  DataType type = DataType::kU8;
  Reduction reduction = Reduction::kSum;
  int32_t root = 0;   // of a rooted operation; the peer of kSend and kReceive
  int64_t count = 0;  // elements of one part (see communicator.h); the V operations use the spans below instead
  const void* send = nullptr;
  void* receive = nullptr;
  // V operations: elements by rank, parts lie one behind the other. kReduceScatterV and kAllGatherV use send_counts alone, equal on
  // all ranks; for kAllToAllV send_counts[p] here is receive_counts of this rank on rank p.
  std::span<const int64_t> send_counts = {};
  std::span<const int64_t> receive_counts = {};
};

// "all_reduce(count 10, f32, sum)", "send(to 3, count 4, u8)".
std::string Describe(const Call& call);

// INVALID_ARGUMENT: no such operation, type, reduction, root or peer; a negative or overflowing count; spans of another length than
// `size`; a null buffer where there are elements.
absl::Status Validate(const Call& call, int rank, int size);

}  // namespace ringmaster

#endif  // RINGMASTER_COLLECTIVES_CALL_H_
