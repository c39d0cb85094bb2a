#include "collectives/frames.h"

namespace ringmaster {

std::string Describe(const WireCall& call) {
  return Describe(
      Call{.operation = call.operation, .type = call.type, .reduction = call.reduction, .root = call.root, .count = call.count});
}

}  // namespace ringmaster
