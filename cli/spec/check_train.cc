// train: steps, batch, optimizer and schedule.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cli/spec/field_checks.h"

namespace ringmaster::cli {
namespace {

void CheckBatch(FieldChecks& check) {
  const v1::Train& train = check.spec().train();
  if (!check.Written("train.global_batch"))
    return check.Missing("train.global_batch", "sequences or images per step over all ranks");
  if (!check.Between("train.global_batch", train.global_batch(), 1, 1 << 24) ||
      !check.Between("train.micro_batch", train.micro_batch(), 0, 1 << 24))
    return;
  if (train.micro_batch() > 0 && check.spec().parallel().micro_batches() > 0) {
    check.Fail("parallel.micro_batches", "says the same as train.micro_batch: write one of them");
  }
  const int min = std::max(1, check.spec().parallel().data().min());
  const int max = std::max(min, check.spec().parallel().data().max());
  if (max > kMaxRanks) return;
  for (int ranks = min; ranks <= max; ++ranks) {
    if (train.global_batch() % ranks != 0) {
      return check.Fail("train.global_batch",
                        absl::StrCat("expected a multiple of the ranks in parallel.data (", ranks, "), found ",
                                     train.global_batch(), "; ", (train.global_batch() / ranks + 1) * ranks, " is one"));
    }
    const int pipeline = check.spec().parallel().pipeline();
    const int micro_batches = check.spec().parallel().micro_batches() > 0 ? check.spec().parallel().micro_batches() : pipeline;
    if (pipeline > 1 && train.micro_batch() == 0 && train.global_batch() / ranks % micro_batches != 0) {
      return check.Fail(
          "parallel.micro_batches",
          absl::StrCat("expected a divisor of the ", train.global_batch() / ranks,
                       " samples that a pipeline takes per step (global_batch / parallel.data), found ", micro_batches));
    }
    if (train.micro_batch() > 0 && train.global_batch() / ranks % train.micro_batch() != 0) {
      return check.Fail("train.micro_batch",
                        absl::StrCat("expected a divisor of the ", train.global_batch() / ranks, " samples that each of ", ranks,
                                     " ranks takes per step (global_batch / parallel.data), found ", train.micro_batch()));
    }
  }
}

void CheckOptimizer(FieldChecks& check) {
  const v1::Optimizer& optimizer = check.spec().train().optimizer();
  const auto rate = [&](const std::string& path, double value) {
    if (!check.Written(path)) return check.Missing(path, "such as 1.0e-3");
    check.Fraction(path, value, "more than 0", value > 0);
  };
  switch (optimizer.kind_case()) {
    case v1::Optimizer::kAdamw: {
      const v1::AdamW& adamw = optimizer.adamw();
      const std::string base = "train.optimizer.adamw.";
      rate(base + "learning_rate", adamw.learning_rate());
      check.Fraction(base + "beta1", adamw.beta1(), "0 to below 1", adamw.beta1() >= 0 && adamw.beta1() < 1);
      check.Fraction(base + "beta2", adamw.beta2(), "0 to below 1", adamw.beta2() >= 0 && adamw.beta2() < 1);
      check.Fraction(base + "epsilon", adamw.epsilon(), "0 or more", adamw.epsilon() >= 0);
      check.Fraction(base + "weight_decay", adamw.weight_decay(), "0 or more", adamw.weight_decay() >= 0);
      return;
    }
    case v1::Optimizer::kSgd: {
      const v1::Sgd& sgd = optimizer.sgd();
      const std::string base = "train.optimizer.sgd.";
      rate(base + "learning_rate", sgd.learning_rate());
      check.Fraction(base + "momentum", sgd.momentum(), "0 to below 1", sgd.momentum() >= 0 && sgd.momentum() < 1);
      check.Fraction(base + "weight_decay", sgd.weight_decay(), "0 or more", sgd.weight_decay() >= 0);
      return;
    }
    case v1::Optimizer::KIND_NOT_SET: check.Missing("train.optimizer", "expected one of adamw, sgd");
  }
}

void CheckSchedule(FieldChecks& check) {
  const v1::Schedule& schedule = check.spec().train().schedule();
  const auto warmup = [&](const std::string& kind, int64_t steps) {
    const std::string path = absl::StrCat("train.schedule.", kind, ".warmup_steps");
    if (check.Between(path, steps, 0) && check.spec().train().steps() > 0 && steps > check.spec().train().steps()) {
      check.Fail(path, absl::StrCat("expected at most train.steps (", check.spec().train().steps(), "), found ", steps));
    }
  };
  const auto final_fraction = [&](const std::string& kind, double value) {
    check.Fraction(absl::StrCat("train.schedule.", kind, ".final_fraction"), value, "0 to 1", value >= 0 && value <= 1);
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
      if (check.Written("train.schedule")) check.Missing("train.schedule", "expected one of constant, cosine, linear");
  }
}

}  // namespace

void CheckTrain(FieldChecks& check) {
  if (!check.Written("train")) return check.Missing("train", "expected at least steps, global_batch and optimizer");
  const v1::Train& train = check.spec().train();
  if (!check.Written("train.steps")) check.Missing("train.steps", "the number of optimiser steps");
  if (check.Written("train.steps")) check.Between("train.steps", train.steps(), 1, int64_t{1} << 40);
  CheckBatch(check);
  CheckOptimizer(check);
  CheckSchedule(check);
  check.Fraction("train.clip_norm", train.clip_norm(), "0 (no clipping) or more", train.clip_norm() >= 0);
  check.Between("train.validate_every", train.validate_every(), 0);
  check.Between("train.validation_samples", train.validation_samples(), 0);
  check.Between("train.log_every", train.log_every(), 0);
}

}  // namespace ringmaster::cli
