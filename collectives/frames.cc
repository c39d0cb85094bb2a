#include "collectives/frames.h"

#include "absl/strings/str_cat.h"

namespace ringmaster {
namespace {

// The value may come from a peer: anything is possible.
const char* NameOf(DataType type) {
  switch (type) {
    case DataType::kF32: return "f32";
    case DataType::kF64: return "f64";
    case DataType::kI32: return "i32";
    case DataType::kI64: return "i64";
    case DataType::kU8: return "u8";
  }
  return "unknown type";
}

const char* NameOf(Reduction reduction) {
  switch (reduction) {
    case Reduction::kSum: return "sum";
    case Reduction::kMin: return "min";
    case Reduction::kMax: return "max";
  }
  return "unknown reduction";
}

}  // namespace

const char* NameOf(Operation operation) {
  switch (operation) {
    case Operation::kAllReduce: return "all_reduce";
    case Operation::kReduceScatter: return "reduce_scatter";
    case Operation::kAllGather: return "all_gather";
    case Operation::kBroadcast: return "broadcast";
    case Operation::kBarrier: return "barrier";
  }
  return "unknown operation";
}

std::string Describe(const Call& call) {
  std::string text = NameOf(call.operation);
  switch (call.operation) {
    case Operation::kBarrier: return text;
    case Operation::kAllReduce:
    case Operation::kReduceScatter:
      absl::StrAppend(&text, "(count ", call.count, ", ", NameOf(call.type), ", ", NameOf(call.reduction), ")");
      return text;
    case Operation::kAllGather: absl::StrAppend(&text, "(count ", call.count, ", ", NameOf(call.type), ")"); return text;
    case Operation::kBroadcast:
      absl::StrAppend(&text, "(count ", call.count, ", ", NameOf(call.type), ", root ", call.root, ")");
      return text;
  }
  return text;
}

}  // namespace ringmaster
