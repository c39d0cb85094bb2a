// Records of the core as bytes, and back.
#ifndef RINGMASTER_COORDINATOR_STORE_RECORD_CODEC_H_
#define RINGMASTER_COORDINATOR_STORE_RECORD_CODEC_H_

#include <string>

#include "absl/status/statusor.h"
#include "coordinator/core/records.h"

namespace ringmaster::coordinator {

std::string EncodeRecord(const Record& record);

// DATA_LOSS: these bytes are no record.
absl::StatusOr<Record> DecodeRecord(const std::string& bytes);

}  // namespace ringmaster::coordinator

#endif  // RINGMASTER_COORDINATOR_STORE_RECORD_CODEC_H_
