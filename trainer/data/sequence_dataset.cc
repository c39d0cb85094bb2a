#include "trainer/data/sequence_dataset.h"

#include <algorithm>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "trainer/data/mapped_file.h"

namespace ringmaster::trainer {
namespace {

constexpr int64_t kByteVocabulary = 256;
constexpr double kDefaultValidationFraction = 0.1;
constexpr int32_t kTokenMagic = 20240520;
constexpr int32_t kTokenVersion = 1;
constexpr size_t kTokenHeaderBytes = 256 * sizeof(int32_t);

// Pieces of tokens and where in the numbering of samples each piece starts.
template <typename Token>
class Windows {
 public:
  // `stride`: distance of neighbouring windows' starts. A window is `context` inputs and the token after them.
  Windows(std::vector<std::span<const Token>> pieces, int64_t context, int64_t stride)
      : pieces_(std::move(pieces)), context_(context), stride_(stride) {
    for (const auto& piece : pieces_) {
      const int64_t starts = static_cast<int64_t>(piece.size()) - context;
      total_ += starts > 0 ? (starts - 1) / stride + 1 : 0;
      ends_.push_back(total_);
    }
  }

  int64_t size() const { return total_; }

  void Read(int64_t id, int64_t slot, Batch& batch) const {
    const size_t piece = static_cast<size_t>(std::upper_bound(ends_.begin(), ends_.end(), id) - ends_.begin());
    const int64_t first = piece == 0 ? 0 : ends_[piece - 1];
    const Token* source = pieces_[piece].data() + (id - first) * stride_;
    int32_t* tokens = batch.tokens.data() + slot * context_;
    int32_t* targets = batch.targets.data() + slot * context_;
    for (int64_t i = 0; i < context_; ++i) {
      tokens[i] = source[i];
      targets[i] = source[i + 1];
    }
  }

 private:
  std::vector<std::span<const Token>> pieces_;
  std::vector<int64_t> ends_;  // number of windows up to the end of each piece
  int64_t context_;
  int64_t stride_;
  int64_t total_ = 0;
};

// `Storage` keeps alive what the pieces point into.
template <typename Token, typename Storage>
class SequenceDataset final : public Dataset {
 public:
  SequenceDataset(Storage storage, std::vector<std::span<const Token>> training, std::vector<std::span<const Token>> validation,
                  int64_t context, int64_t vocabulary)
      : storage_(std::move(storage)),
        training_(std::move(training), context, 1),
        validation_(std::move(validation), context, context),
        shape_{.context = context, .vocabulary = vocabulary} {}

  SampleShape shape() const override { return shape_; }
  int64_t training_samples() const override { return training_.size(); }
  int64_t validation_samples() const override { return validation_.size(); }
  void ReadTraining(int64_t id, int64_t slot, Batch& batch) const override { training_.Read(id, slot, batch); }
  void ReadValidation(int64_t id, int64_t slot, Batch& batch) const override { validation_.Read(id, slot, batch); }

 private:
  Storage storage_;
  Windows<Token> training_;
  Windows<Token> validation_;
  SampleShape shape_;
};

absl::Status CheckContext(int64_t context) {
  if (context >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError("data of tokens needs a model with a context (model.gpt.context), found none");
}

absl::Status CheckLength(const std::string& what, size_t found, int64_t context) {
  if (static_cast<int64_t>(found) > context) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, ": found ", found, " tokens, expected at least ", context + 1,
                                                 " (model.gpt.context + 1): give more data or a smaller context"));
}

struct TokenShard {
  MappedFile file;
  std::span<const uint16_t> tokens;
};

absl::StatusOr<TokenShard> OpenShard(const std::string& path, int64_t vocabulary) {
  TokenShard shard;
  RM_ASSIGN_OR_RETURN(shard.file, MappedFile::Open(path));
  const std::span<const uint8_t> bytes = shard.file.bytes();
  if (bytes.size() < kTokenHeaderBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": found ", bytes.size(), " bytes, expected a token shard with a header of ", kTokenHeaderBytes));
  }
  int32_t header[3];
  std::memcpy(header, bytes.data(), sizeof(header));
  if (header[0] != kTokenMagic || header[1] != kTokenVersion) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": found magic ", header[0], " version ", header[1],
                                                   ", expected a token shard with magic ", kTokenMagic, " version ",
                                                   kTokenVersion));
  }
  const auto expected = static_cast<int64_t>(kTokenHeaderBytes) + int64_t{2} * header[2];
  if (header[2] < 0 || static_cast<int64_t>(bytes.size()) != expected) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": found ", bytes.size(), " bytes, expected ", expected, " for the ",
                                                   header[2], " tokens of its header"));
  }
  shard.tokens = {reinterpret_cast<const uint16_t*>(bytes.data() + kTokenHeaderBytes), static_cast<size_t>(header[2])};
  for (size_t i = 0; i < shard.tokens.size(); ++i) {
    if (shard.tokens[i] >= vocabulary) {
      return absl::InvalidArgumentError(absl::StrCat(path, ": found token ", shard.tokens[i], " at position ", i,
                                                     ", expected all below data.tokens.vocabulary = ", vocabulary));
    }
  }
  return shard;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Dataset>> OpenText(const v1::TextData& text, int64_t context) {
  RM_RETURN_IF_ERROR(CheckContext(context));
  if (text.files().empty()) return absl::InvalidArgumentError("data.text.files: found none, expected at least one text file");
  const double fraction = text.validation_fraction() == 0 ? kDefaultValidationFraction : text.validation_fraction();
  if (!(fraction > 0 && fraction < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("data.text.validation_fraction: found ", fraction, ", expected 0 < fraction < 1"));
  }
  std::vector<uint8_t> bytes;
  for (const std::string& path : text.files()) {
    RM_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
    if (file.bytes().empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": found an empty file, expected text"));
    bytes.insert(bytes.end(), file.bytes().begin(), file.bytes().end());
  }
  const auto validation = static_cast<size_t>(fraction * static_cast<double>(bytes.size()));
  const std::span<const uint8_t> all(bytes);
  const std::string names = absl::StrJoin(text.files(), ", ");
  RM_RETURN_IF_ERROR(CheckLength(absl::StrCat("training part of ", names), all.size() - validation, context));
  RM_RETURN_IF_ERROR(CheckLength(absl::StrCat("validation part of ", names), validation, context));
  // A moved vector keeps its buffer, so the spans stay good.
  std::vector<std::span<const uint8_t>> training_pieces = {all.first(all.size() - validation)};
  std::vector<std::span<const uint8_t>> validation_pieces = {all.last(validation)};
  return std::make_unique<SequenceDataset<uint8_t, std::vector<uint8_t>>>(std::move(bytes), std::move(training_pieces),
                                                                          std::move(validation_pieces), context, kByteVocabulary);
}

absl::StatusOr<std::unique_ptr<Dataset>> OpenTokens(const v1::TokenData& tokens, int64_t context) {
  RM_RETURN_IF_ERROR(CheckContext(context));
  if (tokens.vocabulary() < 1 || tokens.vocabulary() > 65536) {
    return absl::InvalidArgumentError(absl::StrCat("data.tokens.vocabulary: found ", tokens.vocabulary(), ", expected 1 .. 65536"));
  }
  std::vector<MappedFile> files;
  const auto open_all = [&](const auto& paths, const char* field) -> absl::StatusOr<std::vector<std::span<const uint16_t>>> {
    if (paths.empty()) return absl::InvalidArgumentError(absl::StrCat(field, ": found none, expected at least one token shard"));
    std::vector<std::span<const uint16_t>> pieces;
    for (const std::string& path : paths) {
      RM_ASSIGN_OR_RETURN(TokenShard shard, OpenShard(path, tokens.vocabulary()));
      RM_RETURN_IF_ERROR(CheckLength(path, shard.tokens.size(), context));
      pieces.push_back(shard.tokens);
      files.push_back(std::move(shard.file));
    }
    return pieces;
  };
  RM_ASSIGN_OR_RETURN(auto training, open_all(tokens.train_files(), "data.tokens.train_files"));
  RM_ASSIGN_OR_RETURN(auto validation, open_all(tokens.validation_files(), "data.tokens.validation_files"));
  return std::make_unique<SequenceDataset<uint16_t, std::vector<MappedFile>>>(std::move(files), std::move(training),
                                                                              std::move(validation), context, tokens.vocabulary());
}

}  // namespace ringmaster::trainer
