// Sequences of tokens for language models: bytes of text files, or token shards.
#ifndef RINGMASTER_TRAINER_DATA_SEQUENCE_DATASET_H_
#define RINGMASTER_TRAINER_DATA_SEQUENCE_DATASET_H_

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "proto/job.pb.h"
#include "trainer/data/dataset.h"

namespace ringmaster::trainer {

// The files' bytes one after the other, vocabulary 256; the last validation_fraction is for validation.
absl::StatusOr<std::unique_ptr<Dataset>> OpenText(const v1::TextData& text, int64_t context);

// Shards in the layout of llm.c; windows do not cross from one shard into the next.
absl::StatusOr<std::unique_ptr<Dataset>> OpenTokens(const v1::TokenData& tokens, int64_t context);

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_DATA_SEQUENCE_DATASET_H_
