#include "trainer/validation.h"

#include <algorithm>

#include "common/status_macros.h"
#include "trainer/data/sampler.h"

namespace ringmaster::trainer {

absl::StatusOr<LossSum> ValidatePart(Model& model, const Dataset& dataset, const ValidationPart& part, int64_t micro_batch,
                                     Batch& batch) {
  const int64_t available = dataset.validation_samples();
  const int64_t count = part.samples == 0 ? available : std::min(part.samples, available);
  const SampleRange range = PartOfRank(count, part.rank, part.ranks);
  LossSum total;
  for (int64_t begin = range.begin; begin < range.end; begin += micro_batch) {
    batch.samples = std::min(micro_batch, range.end - begin);
    for (int64_t slot = 0; slot < batch.samples; ++slot) dataset.ReadValidation((begin + slot) * available / count, slot, batch);
    RM_ASSIGN_OR_RETURN(const LossSum sum, model.Evaluate(batch));
    total.loss += sum.loss;
    total.units += sum.units;
    total.correct += sum.correct;
  }
  return total;
}

}  // namespace ringmaster::trainer
