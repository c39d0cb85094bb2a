// model and data: each kind with its own fields, and the two together.
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/spec/field_checks.h"

namespace ringmaster::cli {

void CheckModel(FieldChecks& check) {
  const v1::Model& model = check.spec().model();
  switch (model.kind_case()) {
    case v1::Model::kGpt: {
      const v1::Gpt& gpt = model.gpt();
      for (const char* field : {"layers", "heads", "channels", "context"}) {
        if (!check.Written(absl::StrCat("model.gpt.", field)))
          check.Missing(absl::StrCat("model.gpt.", field), "a GPT has layers, heads, channels and context");
      }
      if (check.Written("model.gpt.layers")) check.Between("model.gpt.layers", gpt.layers(), 1, 1000);
      if (check.Written("model.gpt.context")) check.Between("model.gpt.context", gpt.context(), 2, 1 << 20);
      const bool heads = check.Written("model.gpt.heads") && check.Between("model.gpt.heads", gpt.heads(), 1, 1024);
      const bool channels = check.Written("model.gpt.channels") && check.Between("model.gpt.channels", gpt.channels(), 1, 1 << 17);
      if (heads && channels && gpt.channels() % gpt.heads() != 0) {
        check.Fail("model.gpt.channels", absl::StrCat("expected a multiple of heads (", gpt.heads(), "), found ", gpt.channels(),
                                                      "; ", (gpt.channels() / gpt.heads() + 1) * gpt.heads(), " is one"));
      }
      return;
    }
    case v1::Model::kMlp:
      for (int i = 0; i < model.mlp().hidden_size(); ++i)
        check.Between(absl::StrCat("model.mlp.hidden[", i, "]"), model.mlp().hidden(i), 1, 1 << 20);
      return;
    case v1::Model::kCnn:
      if (model.cnn().channels_size() == 0) check.Missing("model.cnn.channels", "one entry per convolution, such as [16, 32]");
      // Each entry halves 28 x 28 pixels; after four, one pixel is left.
      if (model.cnn().channels_size() > 4)
        check.Fail("model.cnn.channels", absl::StrCat("expected 1 to 4 entries, found ", model.cnn().channels_size()));
      for (int i = 0; i < model.cnn().channels_size(); ++i)
        check.Between(absl::StrCat("model.cnn.channels[", i, "]"), model.cnn().channels(i), 1, 1 << 14);
      if (!check.Written("model.cnn.hidden"))
        return check.Missing("model.cnn.hidden", "the size of the layer before the classifier, such as 64");
      check.Between("model.cnn.hidden", model.cnn().hidden(), 1, 1 << 20);
      return;
    case v1::Model::KIND_NOT_SET: check.Missing("model", "expected one of gpt, mlp, cnn");
  }
}

void CheckData(FieldChecks& check) {
  if (!check.Written("data")) return check.Missing("data", "expected one of text, tokens, idx, synthetic_digits");
  const v1::Data& data = check.spec().data();
  const bool wants_tokens = check.spec().model().has_gpt();
  const bool is_tokens = data.has_text() || data.has_tokens();
  if (data.source_case() != v1::Data::SOURCE_NOT_SET && check.spec().model().kind_case() != v1::Model::KIND_NOT_SET &&
      wants_tokens != is_tokens) {
    check.Fail("data",
               wants_tokens ? "a gpt needs text or tokens, found images" : "mlp and cnn need idx or synthetic_digits, found text");
  }
  switch (data.source_case()) {
    case v1::Data::kText: {
      if (data.text().files_size() == 0) check.Missing("data.text.files", "list at least one file");
      const double fraction = data.text().validation_fraction();
      check.Fraction("data.text.validation_fraction", fraction, "a number between 0 and 1", fraction >= 0 && fraction < 1);
      return;
    }
    case v1::Data::kTokens:
      if (data.tokens().train_files_size() == 0) check.Missing("data.tokens.train_files", "list at least one token shard");
      if (data.tokens().validation_files_size() == 0)
        check.Missing("data.tokens.validation_files", "list at least one token shard");
      if (!check.Written("data.tokens.vocabulary"))
        return check.Missing("data.tokens.vocabulary", "every token is below it, such as 50257");
      check.Between("data.tokens.vocabulary", data.tokens().vocabulary(), 2, 65536);
      return;
    case v1::Data::kIdx:
      for (const auto& [field, value] :
           {std::pair("train_images", &data.idx().train_images()), std::pair("train_labels", &data.idx().train_labels()),
            std::pair("validation_images", &data.idx().validation_images()),
            std::pair("validation_labels", &data.idx().validation_labels())}) {
        if (value->empty()) check.Missing(absl::StrCat("data.idx.", field), "the path of an uncompressed IDX file");
      }
      return;
    case v1::Data::kSyntheticDigits:
      for (const auto& [field, value] :
           {std::pair("train", data.synthetic_digits().train()), std::pair("validation", data.synthetic_digits().validation())}) {
        const std::string path = absl::StrCat("data.synthetic_digits.", field);
        check.Written(path) ? static_cast<void>(check.Between(path, value, 1, 10'000'000))
                            : check.Missing(path, "a number of images, such as 10000");
      }
      return;
    case v1::Data::SOURCE_NOT_SET: check.Missing("data", "expected one of text, tokens, idx, synthetic_digits");
  }
}

}  // namespace ringmaster::cli
