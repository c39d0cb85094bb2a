#include "trainer/validation.h"

#include <algorithm>

#include "common/status_macros.h"
#include "trainer/data/sampler.h"

namespace ringmaster::trainer {

namespace {

int64_t CountOf(const Dataset& dataset, const ValidationPart& part) {
  const int64_t available = dataset.validation_samples();
  return part.samples == 0 ? available : std::min(part.samples, available);
}

}  // namespace

int64_t ValidationBatches(const Dataset& dataset, const ValidationPart& part, int64_t micro_batch) {
  return (PartOfRank(CountOf(dataset, part), part.rank, part.ranks).size() + micro_batch - 1) / micro_batch;
}

void ReadValidationBatch(const Dataset& dataset, const ValidationPart& part, int64_t micro_batch, int64_t index, Batch& batch) {
  const int64_t count = CountOf(dataset, part);
  const SampleRange range = PartOfRank(count, part.rank, part.ranks);
  const int64_t begin = range.begin + index * micro_batch;
  batch.samples = std::min(micro_batch, range.end - begin);
  for (int64_t slot = 0; slot < batch.samples; ++slot) {
    dataset.ReadValidation((begin + slot) * dataset.validation_samples() / count, slot, batch);
  }
}

absl::StatusOr<LossSum> ValidatePart(Model& model, const Dataset& dataset, const ValidationPart& part, int64_t micro_batch,
                                     Batch& batch) {
  LossSum total;
  for (int64_t index = 0; index < ValidationBatches(dataset, part, micro_batch); ++index) {
    ReadValidationBatch(dataset, part, micro_batch, index, batch);
    RM_ASSIGN_OR_RETURN(const LossSum sum, model.Evaluate(batch));
    total.loss += sum.loss;
    total.units += sum.units;
    total.correct += sum.correct;
  }
  return total;
}

}  // namespace ringmaster::trainer
