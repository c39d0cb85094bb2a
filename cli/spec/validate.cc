#include "cli/spec/validate.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/spec/suggest.h"

namespace ringmaster::cli {
namespace {

constexpr int kMaxRanks = 4096;

// The checks, with the user's places at hand.
class Validator {
 public:
  Validator(const v1::JobSpec& spec, const FieldLocations& locations, const std::string& source, Diagnostics* diagnostics)
      : spec_(spec), locations_(locations), source_(source), diagnostics_(*diagnostics) {}

  void Run();

 private:
  bool Written(const std::string& path) const { return locations_.contains(path); }

  // The nearest enclosing field that was written, so that a missing one is reported where it belongs.
  Location PlaceOf(std::string path) const {
    while (!path.empty()) {
      if (const auto it = locations_.find(path); it != locations_.end()) return it->second;
      const size_t dot = path.find_last_of(".[");
      path = dot == std::string::npos ? "" : path.substr(0, dot);
    }
    return Location{source_, 1, 1};
  }
  void Fail(const std::string& path, const std::string& message) {
    diagnostics_.Add(PlaceOf(path), absl::StrCat(path, ": ", message));
  }
  void Missing(const std::string& path, const std::string& hint) { Fail(path, absl::StrCat("is missing; ", hint)); }

  bool Between(const std::string& path, int64_t value, int64_t low, int64_t high = std::numeric_limits<int64_t>::max()) {
    if (value >= low && value <= high) return true;
    if (high == std::numeric_limits<int64_t>::max()) {
      Fail(path, absl::StrCat("expected at least ", low, ", found ", value));
    } else {
      Fail(path, absl::StrCat("expected ", low, " to ", high, ", found ", value));
    }
    return false;
  }
  void Fraction(const std::string& path, double value, const std::string& expected, bool ok) {
    if (!ok || !std::isfinite(value)) Fail(path, absl::StrFormat("expected %s, found %g", expected, value));
  }

  void CheckName();
  bool CheckKind();  // false: it is neither kind of job, and nothing more can be said
  void CheckLayout();
  void CheckMesh();
  void CheckAxis(const std::string& path, int size);
  void CheckModel();
  void CheckData();
  void CheckTrain();
  void CheckBatch();
  void CheckOptimizer();
  void CheckSchedule();
  void CheckCheckpoint();
  void CheckRestart();
  void CheckEnvironment();

  const v1::JobSpec& spec_;
  const FieldLocations& locations_;
  const std::string& source_;
  Diagnostics& diagnostics_;
};

void Validator::Run() {
  CheckName();
  if (!CheckKind()) return;
  if (spec_.command_size() == 0) {
    CheckLayout();
    CheckModel();
    CheckData();
    CheckTrain();
    CheckCheckpoint();
  }
  CheckRestart();
  CheckEnvironment();
}

void Validator::CheckName() {
  if (!Written("name")) return Missing("name", "give the job a name, such as name: char-gpt");
  const std::string& name = spec_.name();
  const bool letters =
      std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-'; });
  if (name.empty() || name.size() > 50 || !letters || name.front() == '-' || name.back() == '-') {
    Fail("name", absl::StrCat("expected 1 to 50 lower-case letters, digits and '-', not at either end, found \"", name, "\""));
  }
}

bool Validator::CheckKind() {
  const bool has_command = Written("command");
  const bool has_model = Written("model");
  if (has_command && spec_.command_size() == 0) {
    Fail("command", "expected a program and its arguments, found an empty list");
    return false;
  }
  if (has_command && spec_.command(0).empty()) Fail("command[0]", "expected a program, found empty text");
  if (!has_command && !has_model) {
    Missing("model", "a job has either a model (the built-in trainer) or a command (any program)");
    return false;
  }
  if (has_command) {
    for (const char* section : {"model", "data", "train", "checkpoint", "parallel"}) {
      if (Written(section)) Fail(section, "belongs to the built-in trainer and cannot stand beside command");
    }
    if (Written("nodes")) Between("nodes", spec_.nodes(), 0, kMaxRanks);
    if (Written("slots_per_node")) Between("slots_per_node", spec_.slots_per_node(), 1, kMaxRanks);
    return true;
  }
  for (const char* field : {"nodes", "slots_per_node"}) {
    if (Written(field)) Fail(field, "belongs to command jobs; the built-in trainer takes its world size from parallel.data");
  }
  return true;
}

void Validator::CheckLayout() {
  if (Written("device") && spec_.device() != "cpu" && spec_.device() != "cuda" && spec_.device() != "auto") {
    const std::string nearest = NearestName(spec_.device(), {"cpu", "cuda", "auto"});
    Fail("device", absl::StrCat("expected cpu, cuda or auto, found \"", spec_.device(), "\"",
                                nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?")));
  }
  const v1::ElasticSize& data = spec_.parallel().data();
  if (Written("parallel.data")) {
    if (!Written("parallel.data.min") || !Written("parallel.data.max")) {
      Missing(Written("parallel.data.min") ? "parallel.data.max" : "parallel.data.min", "write both, or a plain number: data: 2");
    } else if (Between("parallel.data.min", data.min(), 1, kMaxRanks) && Between("parallel.data.max", data.max(), 1, kMaxRanks) &&
               data.min() > data.max()) {
      Fail("parallel.data.min", absl::StrCat("expected at most max (", data.max(), "), found ", data.min()));
    }
  }
  CheckMesh();
  const int zero = spec_.parallel().zero();
  if (!Between("parallel.zero", zero, 0, 1) || zero == 0) return;
  if (spec_.device() != "cuda")
    Fail("parallel.zero", "expected 0 where device is not cuda (only a GPU's state is sharded), found 1");
  for (const auto& [axis, size] :
       {std::pair("tensor", spec_.parallel().tensor()), std::pair("pipeline", spec_.parallel().pipeline())}) {
    if (size <= 1) continue;
    Fail("parallel.zero",
         absl::StrCat("expected 0 beside parallel.", axis, " ", size, " (only whole models' state is sharded), found 1"));
  }
}

void Validator::CheckMesh() {
  const v1::Parallel& parallel = spec_.parallel();
  const v1::Gpt& gpt = spec_.model().gpt();
  CheckAxis("parallel.tensor", parallel.tensor());
  CheckAxis("parallel.pipeline", parallel.pipeline());
  if (parallel.tensor() > 1 && gpt.heads() > 0 && gpt.heads() % parallel.tensor() != 0) {
    Fail("parallel.tensor", absl::StrCat("expected a divisor of model.gpt.heads (", gpt.heads(), "), found ", parallel.tensor()));
  }
  if (parallel.pipeline() > 1 && gpt.layers() > 0 && gpt.layers() < parallel.pipeline()) {
    Fail("parallel.pipeline", absl::StrCat("expected at most model.gpt.layers (", gpt.layers(),
                                           "; a stage has whole layers), found ", parallel.pipeline()));
  }
  const std::string& schedule = parallel.schedule();
  if (!schedule.empty() && schedule != "1f1b" && schedule != "gpipe") {
    Fail("parallel.schedule", absl::StrCat("expected 1f1b or gpipe, found \"", schedule, "\""));
  }
  Between("parallel.micro_batches", parallel.micro_batches(), 0, 1 << 24);
  if (parallel.pipeline() > 1) return;
  for (const char* path : {"parallel.schedule", "parallel.micro_batches"}) {
    if (Written(path)) Fail(path, "belongs to a pipeline, and parallel.pipeline is 1");
  }
}

void Validator::CheckAxis(const std::string& path, int size) {
  if (size < 0) Between(path, size, 1);
  if (size <= 1 || !Between(path, size, 1, kMaxRanks)) return;
  const v1::ElasticSize& data = spec_.parallel().data();
  if (!spec_.model().has_gpt()) Fail(path, absl::StrCat("expected 1 (only a gpt is cut over ranks), found ", size));
  if (data.min() < data.max()) {
    Fail("parallel.data", absl::StrCat("expected one number beside ", path, " ", size,
                                       " (such a job does not shrink or grow), found ", data.min(), " to ", data.max()));
  }
}

void Validator::CheckModel() {
  const v1::Model& model = spec_.model();
  switch (model.kind_case()) {
    case v1::Model::kGpt: {
      const v1::Gpt& gpt = model.gpt();
      for (const char* field : {"layers", "heads", "channels", "context"}) {
        if (!Written(absl::StrCat("model.gpt.", field)))
          Missing(absl::StrCat("model.gpt.", field), "a GPT has layers, heads, channels and context");
      }
      if (Written("model.gpt.layers")) Between("model.gpt.layers", gpt.layers(), 1, 1000);
      if (Written("model.gpt.context")) Between("model.gpt.context", gpt.context(), 2, 1 << 20);
      const bool heads = Written("model.gpt.heads") && Between("model.gpt.heads", gpt.heads(), 1, 1024);
      const bool channels = Written("model.gpt.channels") && Between("model.gpt.channels", gpt.channels(), 1, 1 << 17);
      if (heads && channels && gpt.channels() % gpt.heads() != 0) {
        Fail("model.gpt.channels", absl::StrCat("expected a multiple of heads (", gpt.heads(), "), found ", gpt.channels(), "; ",
                                                (gpt.channels() / gpt.heads() + 1) * gpt.heads(), " is one"));
      }
      return;
    }
    case v1::Model::kMlp:
      for (int i = 0; i < model.mlp().hidden_size(); ++i)
        Between(absl::StrCat("model.mlp.hidden[", i, "]"), model.mlp().hidden(i), 1, 1 << 20);
      return;
    case v1::Model::kCnn:
      if (model.cnn().channels_size() == 0) Missing("model.cnn.channels", "one entry per convolution, such as [16, 32]");
      // Each entry halves 28 x 28 pixels; after four, one pixel is left.
      if (model.cnn().channels_size() > 4)
        Fail("model.cnn.channels", absl::StrCat("expected 1 to 4 entries, found ", model.cnn().channels_size()));
      for (int i = 0; i < model.cnn().channels_size(); ++i)
        Between(absl::StrCat("model.cnn.channels[", i, "]"), model.cnn().channels(i), 1, 1 << 14);
      if (!Written("model.cnn.hidden"))
        return Missing("model.cnn.hidden", "the size of the layer before the classifier, such as 64");
      Between("model.cnn.hidden", model.cnn().hidden(), 1, 1 << 20);
      return;
    case v1::Model::KIND_NOT_SET: Missing("model", "expected one of gpt, mlp, cnn");
  }
}

void Validator::CheckData() {
  if (!Written("data")) return Missing("data", "expected one of text, tokens, idx, synthetic_digits");
  const v1::Data& data = spec_.data();
  const bool wants_tokens = spec_.model().has_gpt();
  const bool is_tokens = data.has_text() || data.has_tokens();
  if (data.source_case() != v1::Data::SOURCE_NOT_SET && spec_.model().kind_case() != v1::Model::KIND_NOT_SET &&
      wants_tokens != is_tokens) {
    Fail("data",
         wants_tokens ? "a gpt needs text or tokens, found images" : "mlp and cnn need idx or synthetic_digits, found text");
  }
  switch (data.source_case()) {
    case v1::Data::kText: {
      if (data.text().files_size() == 0) Missing("data.text.files", "list at least one file");
      const double fraction = data.text().validation_fraction();
      Fraction("data.text.validation_fraction", fraction, "a number between 0 and 1", fraction >= 0 && fraction < 1);
      return;
    }
    case v1::Data::kTokens:
      if (data.tokens().train_files_size() == 0) Missing("data.tokens.train_files", "list at least one token shard");
      if (data.tokens().validation_files_size() == 0) Missing("data.tokens.validation_files", "list at least one token shard");
      if (!Written("data.tokens.vocabulary")) return Missing("data.tokens.vocabulary", "every token is below it, such as 50257");
      Between("data.tokens.vocabulary", data.tokens().vocabulary(), 2, 65536);
      return;
    case v1::Data::kIdx:
      for (const auto& [field, value] :
           {std::pair("train_images", &data.idx().train_images()), std::pair("train_labels", &data.idx().train_labels()),
            std::pair("validation_images", &data.idx().validation_images()),
            std::pair("validation_labels", &data.idx().validation_labels())}) {
        if (value->empty()) Missing(absl::StrCat("data.idx.", field), "the path of an uncompressed IDX file");
      }
      return;
    case v1::Data::kSyntheticDigits:
      for (const auto& [field, value] :
           {std::pair("train", data.synthetic_digits().train()), std::pair("validation", data.synthetic_digits().validation())}) {
        const std::string path = absl::StrCat("data.synthetic_digits.", field);
        Written(path) ? static_cast<void>(Between(path, value, 1, 10'000'000)) : Missing(path, "a number of images, such as 10000");
      }
      return;
    case v1::Data::SOURCE_NOT_SET: Missing("data", "expected one of text, tokens, idx, synthetic_digits");
  }
}

void Validator::CheckTrain() {
  if (!Written("train")) return Missing("train", "expected at least steps, global_batch and optimizer");
  const v1::Train& train = spec_.train();
  if (!Written("train.steps")) Missing("train.steps", "the number of optimiser steps");
  if (Written("train.steps")) Between("train.steps", train.steps(), 1, int64_t{1} << 40);
  CheckBatch();
  CheckOptimizer();
  CheckSchedule();
  Fraction("train.clip_norm", train.clip_norm(), "0 (no clipping) or more", train.clip_norm() >= 0);
  Between("train.validate_every", train.validate_every(), 0);
  Between("train.validation_samples", train.validation_samples(), 0);
  Between("train.log_every", train.log_every(), 0);
}

void Validator::CheckBatch() {
  const v1::Train& train = spec_.train();
  if (!Written("train.global_batch")) return Missing("train.global_batch", "sequences or images per step over all ranks");
  if (!Between("train.global_batch", train.global_batch(), 1, 1 << 24) ||
      !Between("train.micro_batch", train.micro_batch(), 0, 1 << 24))
    return;
  if (train.micro_batch() > 0 && spec_.parallel().micro_batches() > 0) {
    Fail("parallel.micro_batches", "says the same as train.micro_batch: write one of them");
  }
  const int min = std::max(1, spec_.parallel().data().min());
  const int max = std::max(min, spec_.parallel().data().max());
  if (max > kMaxRanks) return;
  for (int ranks = min; ranks <= max; ++ranks) {
    if (train.global_batch() % ranks != 0) {
      return Fail("train.global_batch",
                  absl::StrCat("expected a multiple of the ranks in parallel.data (", ranks, "), found ", train.global_batch(),
                               "; ", (train.global_batch() / ranks + 1) * ranks, " is one"));
    }
    const int pipeline = spec_.parallel().pipeline();
    const int micro_batches = spec_.parallel().micro_batches() > 0 ? spec_.parallel().micro_batches() : pipeline;
    if (pipeline > 1 && train.micro_batch() == 0 && train.global_batch() / ranks % micro_batches != 0) {
      return Fail("parallel.micro_batches",
                  absl::StrCat("expected a divisor of the ", train.global_batch() / ranks,
                               " samples that a pipeline takes per step (global_batch / parallel.data), found ", micro_batches));
    }
    if (train.micro_batch() > 0 && train.global_batch() / ranks % train.micro_batch() != 0) {
      return Fail("train.micro_batch",
                  absl::StrCat("expected a divisor of the ", train.global_batch() / ranks, " samples that each of ", ranks,
                               " ranks takes per step (global_batch / parallel.data), found ", train.micro_batch()));
    }
  }
}

void Validator::CheckOptimizer() {
  const v1::Optimizer& optimizer = spec_.train().optimizer();
  const auto rate = [&](const std::string& path, double value) {
    if (!Written(path)) return Missing(path, "such as 1.0e-3");
    Fraction(path, value, "more than 0", value > 0);
  };
  switch (optimizer.kind_case()) {
    case v1::Optimizer::kAdamw: {
      const v1::AdamW& adamw = optimizer.adamw();
      const std::string base = "train.optimizer.adamw.";
      rate(base + "learning_rate", adamw.learning_rate());
      Fraction(base + "beta1", adamw.beta1(), "0 to below 1", adamw.beta1() >= 0 && adamw.beta1() < 1);
      Fraction(base + "beta2", adamw.beta2(), "0 to below 1", adamw.beta2() >= 0 && adamw.beta2() < 1);
      Fraction(base + "epsilon", adamw.epsilon(), "0 or more", adamw.epsilon() >= 0);
      Fraction(base + "weight_decay", adamw.weight_decay(), "0 or more", adamw.weight_decay() >= 0);
      return;
    }
    case v1::Optimizer::kSgd: {
      const v1::Sgd& sgd = optimizer.sgd();
      const std::string base = "train.optimizer.sgd.";
      rate(base + "learning_rate", sgd.learning_rate());
      Fraction(base + "momentum", sgd.momentum(), "0 to below 1", sgd.momentum() >= 0 && sgd.momentum() < 1);
      Fraction(base + "weight_decay", sgd.weight_decay(), "0 or more", sgd.weight_decay() >= 0);
      return;
    }
    case v1::Optimizer::KIND_NOT_SET: Missing("train.optimizer", "expected one of adamw, sgd");
  }
}

void Validator::CheckSchedule() {
  const v1::Schedule& schedule = spec_.train().schedule();
  const auto warmup = [&](const std::string& kind, int64_t steps) {
    const std::string path = absl::StrCat("train.schedule.", kind, ".warmup_steps");
    if (Between(path, steps, 0) && spec_.train().steps() > 0 && steps > spec_.train().steps()) {
      Fail(path, absl::StrCat("expected at most train.steps (", spec_.train().steps(), "), found ", steps));
    }
  };
  const auto final_fraction = [&](const std::string& kind, double value) {
    Fraction(absl::StrCat("train.schedule.", kind, ".final_fraction"), value, "0 to 1", value >= 0 && value <= 1);
  };
  switch (schedule.kind_case()) {
    case v1::Schedule::kConstant: return warmup("constant", schedule.constant().warmup_steps());
    case v1::Schedule::kCosine:
      warmup("cosine", schedule.cosine().warmup_steps());
      return final_fraction("cosine", schedule.cosine().final_fraction());
    case v1::Schedule::kLinear:
      warmup("linear", schedule.linear().warmup_steps());
      return final_fraction("linear", schedule.linear().final_fraction());
    case v1::Schedule::KIND_NOT_SET:
      if (Written("train.schedule")) Missing("train.schedule", "expected one of constant, cosine, linear");
  }
}

void Validator::CheckCheckpoint() {
  if (!Written("checkpoint")) return;
  const v1::Checkpoint& checkpoint = spec_.checkpoint();
  if (checkpoint.directory().empty()) Missing("checkpoint.directory", "a directory that every rank reaches");
  Between("checkpoint.every_steps", checkpoint.every_steps(), 0);
  if (Written("checkpoint.keep") && checkpoint.keep() != 0 && checkpoint.keep() < 2) {
    Fail("checkpoint.keep", absl::StrCat("expected at least 2 (the newest may turn out damaged), found ", checkpoint.keep()));
  }
  const std::string& when_busy = checkpoint.when_busy();
  if (!when_busy.empty() && when_busy != "wait" && when_busy != "skip") {
    Fail("checkpoint.when_busy", absl::StrCat("expected wait or skip, found \"", when_busy, "\""));
  }
  const int64_t memory_every = checkpoint.memory_every();
  if (!Between("checkpoint.memory_every", memory_every, 0) || memory_every == 0 || spec_.parallel().zero() == 1) return;
  Fail("checkpoint.memory_every",
       absl::StrCat("expected 0 without parallel.zero 1 (other ranks have the whole state), found ", memory_every));
}

void Validator::CheckRestart() {
  Between("restart.max_failures", spec_.restart().max_failures(), 0, 100'000);
  Between("restart.warm_spares", spec_.restart().warm_spares(), 0, 64);
  if (spec_.restart().warm_spares() > 0 && !spec_.command().empty()) {
    Fail("restart.warm_spares", "a command cannot wait to be told its rank: only jobs with a model can have warm spares");
  }
  const auto seconds = [](const google::protobuf::Duration& duration) {
    return static_cast<double>(duration.seconds()) + 1e-9 * duration.nanos();
  };
  if (spec_.restart().has_backoff() && spec_.restart().has_backoff_max() &&
      seconds(spec_.restart().backoff()) > seconds(spec_.restart().backoff_max())) {
    Fail("restart.backoff", absl::StrFormat("expected at most backoff_max (%gs), found %gs", seconds(spec_.restart().backoff_max()),
                                            seconds(spec_.restart().backoff())));
  }
  if (spec_.restart().has_hang_after() && seconds(spec_.restart().hang_after()) < 1) {
    Fail("restart.hang_after", absl::StrFormat("expected at least 1s, found %gs", seconds(spec_.restart().hang_after())));
  }
  if (spec_.has_time_limit() && seconds(spec_.time_limit()) <= 0)
    Fail("time_limit", "expected more than 0; leave it out for no limit");
  if (spec_.has_collective_timeout() && seconds(spec_.collective_timeout()) < 1) {
    Fail("collective_timeout", absl::StrFormat("expected at least 1s, found %gs", seconds(spec_.collective_timeout())));
  }
}

void Validator::CheckEnvironment() {
  for (const auto& [name, value] : spec_.env()) {
    const std::string path = absl::StrCat("env.", name);
    const bool letters = std::all_of(name.begin(), name.end(), [](char c) { return absl::ascii_isalnum(c) || c == '_'; });
    if (name.empty() || !letters || absl::ascii_isdigit(name[0])) {
      Fail(path, "expected a variable name of letters, digits and '_'");
    } else if (absl::StartsWith(name, "RINGMASTER_")) {
      Fail(path, "names that begin with RINGMASTER_ are set by Ringmaster itself");
    }
  }
}

}  // namespace

void ValidateJobSpec(const v1::JobSpec& spec, const FieldLocations& locations, const std::string& source,
                     Diagnostics* diagnostics) {
  Validator(spec, locations, source, diagnostics).Run();
}

}  // namespace ringmaster::cli
