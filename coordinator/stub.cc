#include "coordinator/coordinator.h"
namespace ringmaster {
absl::StatusOr<std::unique_ptr<Coordinator>> Coordinator::Start(const CoordinatorOptions&, const Clock&) { return absl::UnimplementedError("stub"); }
}
