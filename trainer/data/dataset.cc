#include "trainer/data/dataset.h"

#include "trainer/data/image_dataset.h"
#include "trainer/data/sequence_dataset.h"

namespace ringmaster::trainer {

Batch MakeBatch(const SampleShape& shape, int64_t max_samples) {
  Batch batch;
  const auto samples = static_cast<size_t>(max_samples);
  if (shape.context > 0) {
    batch.tokens.resize(samples * static_cast<size_t>(shape.context));
    batch.targets.resize(batch.tokens.size());
  } else {
    batch.pixels.resize(samples * static_cast<size_t>(shape.height * shape.width));
    batch.targets.resize(samples);
  }
  return batch;
}

absl::StatusOr<std::unique_ptr<Dataset>> OpenDataset(const v1::Data& data, int64_t context) {
  switch (data.source_case()) {
    case v1::Data::kText: return OpenText(data.text(), context);
    case v1::Data::kTokens: return OpenTokens(data.tokens(), context);
    case v1::Data::kIdx: return OpenIdx(data.idx());
    case v1::Data::kSyntheticDigits: return DrawDigits(data.synthetic_digits());
    case v1::Data::SOURCE_NOT_SET: break;
  }
  return absl::InvalidArgumentError("data: found no source, expected one of text, tokens, idx, synthetic_digits");
}

}  // namespace ringmaster::trainer
