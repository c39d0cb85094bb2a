// device and parallel: how many ranks, and what each has of the model.
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/spec/field_checks.h"
#include "cli/spec/suggest.h"

namespace ringmaster::cli {
namespace {

void CheckAxis(FieldChecks& check, const std::string& path, int size) {
  if (size < 0) check.Between(path, size, 1);
  if (size <= 1 || !check.Between(path, size, 1, kMaxRanks)) return;
  const v1::ElasticSize& data = check.spec().parallel().data();
  if (!check.spec().model().has_gpt()) check.Fail(path, absl::StrCat("expected 1 (only a gpt is cut over ranks), found ", size));
  if (data.min() < data.max()) {
    check.Fail("parallel.data", absl::StrCat("expected one number beside ", path, " ", size,
                                             " (such a job does not shrink or grow), found ", data.min(), " to ", data.max()));
  }
}

void CheckMesh(FieldChecks& check) {
  const v1::Parallel& parallel = check.spec().parallel();
  const v1::Gpt& gpt = check.spec().model().gpt();
  CheckAxis(check, "parallel.tensor", parallel.tensor());
  CheckAxis(check, "parallel.pipeline", parallel.pipeline());
  if (parallel.tensor() > 1 && gpt.heads() > 0 && gpt.heads() % parallel.tensor() != 0) {
    check.Fail("parallel.tensor",
               absl::StrCat("expected a divisor of model.gpt.heads (", gpt.heads(), "), found ", parallel.tensor()));
  }
  if (parallel.pipeline() > 1 && gpt.layers() > 0 && gpt.layers() < parallel.pipeline()) {
    check.Fail("parallel.pipeline", absl::StrCat("expected at most model.gpt.layers (", gpt.layers(),
                                                 "; a stage has whole layers), found ", parallel.pipeline()));
  }
  const std::string& schedule = parallel.schedule();
  if (!schedule.empty() && schedule != "1f1b" && schedule != "gpipe") {
    check.Fail("parallel.schedule", absl::StrCat("expected 1f1b or gpipe, found \"", schedule, "\""));
  }
  check.Between("parallel.micro_batches", parallel.micro_batches(), 0, 1 << 24);
  if (parallel.pipeline() > 1) return;
  for (const char* path : {"parallel.schedule", "parallel.micro_batches"}) {
    if (check.Written(path)) check.Fail(path, "belongs to a pipeline, and parallel.pipeline is 1");
  }
}

}  // namespace

void CheckLayout(FieldChecks& check) {
  if (check.Written("device") && check.spec().device() != "cpu" && check.spec().device() != "cuda" &&
      check.spec().device() != "auto") {
    // By letters "gpu" is nearest to "cpu".
    const std::string nearest =
        check.spec().device() == "gpu" ? "cuda" : NearestName(check.spec().device(), {"cpu", "cuda", "auto"});
    check.Fail("device", absl::StrCat("expected cpu, cuda or auto, found \"", check.spec().device(), "\"",
                                      nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?")));
  }
  const v1::ElasticSize& data = check.spec().parallel().data();
  if (check.Written("parallel.data")) {
    if (!check.Written("parallel.data.min") || !check.Written("parallel.data.max")) {
      check.Missing(check.Written("parallel.data.min") ? "parallel.data.max" : "parallel.data.min",
                    "write both, or a plain number: data: 2");
    } else if (check.Between("parallel.data.min", data.min(), 1, kMaxRanks) &&
               check.Between("parallel.data.max", data.max(), 1, kMaxRanks) && data.min() > data.max()) {
      check.Fail("parallel.data.min", absl::StrCat("expected at most max (", data.max(), "), found ", data.min()));
    }
  }
  CheckMesh(check);
  const int zero = check.spec().parallel().zero();
  if (!check.Between("parallel.zero", zero, 0, 1) || zero == 0) return;
  if (check.spec().device() != "cuda")
    check.Fail("parallel.zero", "expected 0 where device is not cuda (only a GPU's state is sharded), found 1");
  for (const auto& [axis, size] :
       {std::pair("tensor", check.spec().parallel().tensor()), std::pair("pipeline", check.spec().parallel().pipeline())}) {
    if (size <= 1) continue;
    check.Fail("parallel.zero",
               absl::StrCat("expected 0 beside parallel.", axis, " ", size, " (only whole models' state is sharded), found 1"));
  }
}

}  // namespace ringmaster::cli
