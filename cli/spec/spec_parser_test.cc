#include "cli/spec/spec_parser.h"

#include <string>

#include "common/status_matchers.h"
#include "gtest/gtest.h"

namespace ringmaster::cli {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::StatusIs;

constexpr char kGood[] = R"(name: char-gpt
parallel: {data: 2}
device: cpu
model: {gpt: {layers: 4, heads: 4, channels: 128, context: 64}}
data: {text: {files: [corpus.txt, /abs/b.txt]}}
train:
  steps: 400
  global_batch: 24
  optimizer: {adamw: {learning_rate: 1.0e-3}}
  schedule: {cosine: {warmup_steps: 20}}
checkpoint: {directory: ./checkpoints, every_steps: 100}
restart: {backoff: 500ms}
)";

SpecSource Source(std::string text) {
  return {.text = std::move(text), .name = "job.yaml", .current_directory = "/home/user/project"};
}

// kGood with one piece of text replaced by another.
std::string Replace(const std::string& from, const std::string& to) {
  std::string text = kGood;
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(ParseJobSpec, ReadsWhatIsThere) {
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(Source(kGood)));

  EXPECT_EQ(spec.name(), "char-gpt");
  EXPECT_EQ(spec.parallel().data().min(), 2);
  EXPECT_EQ(spec.parallel().data().max(), 2);
  EXPECT_EQ(spec.model().gpt().channels(), 128);
  EXPECT_EQ(spec.train().steps(), 400);
  EXPECT_DOUBLE_EQ(spec.train().optimizer().adamw().learning_rate(), 1e-3);
  EXPECT_EQ(spec.train().schedule().cosine().warmup_steps(), 20);
  EXPECT_EQ(spec.restart().backoff().seconds(), 0);
  EXPECT_EQ(spec.restart().backoff().nanos(), 500'000'000);
  EXPECT_EQ(WorldSize(spec), 2);
}

TEST(ParseJobSpec, FillsWhatIsLeftOut) {
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(Source(kGood)));

  EXPECT_EQ(spec.parallel().tensor(), 1);
  EXPECT_EQ(spec.parallel().pipeline(), 1);
  EXPECT_DOUBLE_EQ(spec.data().text().validation_fraction(), 0.1);
  EXPECT_DOUBLE_EQ(spec.train().optimizer().adamw().beta1(), 0.9);
  EXPECT_DOUBLE_EQ(spec.train().optimizer().adamw().beta2(), 0.95);
  EXPECT_DOUBLE_EQ(spec.train().optimizer().adamw().epsilon(), 1e-8);
  EXPECT_EQ(spec.checkpoint().keep(), 2);
  EXPECT_EQ(spec.restart().max_failures(), 3);
  EXPECT_EQ(spec.restart().backoff_max().seconds(), 60);
  EXPECT_EQ(spec.stop_grace().seconds(), 10);
  EXPECT_EQ(spec.collective_timeout().seconds(), 60);
  EXPECT_FALSE(spec.has_time_limit());
  EXPECT_EQ(spec.train().log_every(), 10);
}

TEST(ParseJobSpec, AnExplicitZeroOfFailuresIsNoDefault) {
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(Source(Replace("backoff: 500ms", "max_failures: 0"))));
  EXPECT_EQ(spec.restart().max_failures(), 0);
  EXPECT_EQ(spec.restart().backoff().seconds(), 1);
}

TEST(ParseJobSpec, PathsBeginAtTheSubmittersDirectory) {
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(Source(kGood)));
  EXPECT_EQ(spec.data().text().files(0), "/home/user/project/corpus.txt");
  EXPECT_EQ(spec.data().text().files(1), "/abs/b.txt");
  EXPECT_EQ(spec.checkpoint().directory(), "/home/user/project/checkpoints");
  EXPECT_EQ(spec.work_directory(), "/home/user/project/");
}

TEST(ParseJobSpec, ReadsJson) {
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(Source(R"({
	"name": "any-program", "nodes": 2, "slotsPerNode": 4,
	"command": ["python3", "train.py", "--epochs", "3"],
	"env": {"NCCL_DEBUG": "WARN"}, "stop_grace": "1.5s"
})")));
  EXPECT_EQ(WorldSize(spec), 8);
  EXPECT_EQ(spec.command(3), "3");
  EXPECT_EQ(spec.env().at("NCCL_DEBUG"), "WARN");
  EXPECT_EQ(spec.stop_grace().seconds(), 1);
  EXPECT_EQ(spec.stop_grace().nanos(), 500'000'000);
}

TEST(ParseJobSpec, TakesBareWordsOfACommandAsText) {
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec,
                       ParseJobSpec(Source("name: a\ncommand: [train, --epochs, 3, yes]\nenv: {DEBUG: 1}\n")));
  EXPECT_EQ(spec.command(2), "3");
  EXPECT_EQ(spec.command(3), "yes");
  EXPECT_EQ(spec.env().at("DEBUG"), "1");
  EXPECT_EQ(WorldSize(spec), 1);
}

TEST(ParseJobSpec, AnElasticSizeMayBeARange) {
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(Source(Replace("{data: 2}", "{data: {min: 2, max: 4}}"))));
  EXPECT_EQ(spec.parallel().data().min(), 2);
  EXPECT_EQ(WorldSize(spec), 4);
}

struct BadSpec {
  const char* name;
  std::string text;
  std::string place;    // "job.yaml:LINE:COLUMN"
  std::string message;  // part of it

  friend std::ostream& operator<<(std::ostream& out, const BadSpec& bad) { return out << bad.text; }
};

class BadSpecTest : public ::testing::TestWithParam<BadSpec> {};

TEST_P(BadSpecTest, IsRefusedWithItsPlace) {
  const auto spec = ParseJobSpec(Source(GetParam().text));
  EXPECT_THAT(spec, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(GetParam().message)));
  EXPECT_THAT(std::string(spec.status().message()), HasSubstr(GetParam().place + ": "));
  // One mistake, one finding.
  EXPECT_THAT(std::string(spec.status().message()), Not(HasSubstr("\n")));
}

const std::string kCommand = "name: job\ncommand: [true]\n";
std::string Cnn(const std::string& cnn, const std::string& data = "{synthetic_digits: {train: 100, validation: 10}}") {
  return "name: cnn\nmodel: {cnn: " + cnn + "}\ndata: " + data +
         "\ntrain: {steps: 1, global_batch: 2, optimizer: {sgd: {learning_rate: 0.1}}}\n";
}

INSTANTIATE_TEST_SUITE_P(
    Table, BadSpecTest,
    ::testing::Values(
        BadSpec{"UnknownField", Replace("global_batch", "global_bacth"), "job.yaml:8:3",
                "train: unknown field \"global_bacth\"; did you mean \"global_batch\"?"},
        BadSpec{"UnknownTopField", Replace("device", "devise"), "job.yaml:3:1", "did you mean \"device\"?"},
        BadSpec{"UnknownFieldNothingNear", Replace("device: cpu", "zzz: 1"), "job.yaml:3:1",
                "unknown field \"zzz\" (known here: name, parallel"},
        BadSpec{"UnknownModel", Replace("{gpt:", "{gtp:"), "job.yaml:4:9", "did you mean \"gpt\"?"},
        BadSpec{"NumberExpected", Replace("steps: 400", "steps: many"), "job.yaml:7:10",
                "train.steps: expected a whole number, found \"many\""},
        BadSpec{"WholeNumberExpected", Replace("steps: 400", "steps: 4.5"), "job.yaml:7:10",
                "expected a whole number, found \"4.5\""},
        BadSpec{"QuotedNumber", Replace("global_batch: 24", "global_batch: \"24\""), "job.yaml:8:17", "expected a whole number"},
        BadSpec{"NumberTooLarge", Replace("global_batch: 24", "global_batch: 99999999999"), "job.yaml:8:17",
                "a whole number from -2147483648 to 2147483647"},
        BadSpec{"DoubleExpected", Replace("1.0e-3", "fast"), "job.yaml:9:38", "learning_rate: expected a number, found \"fast\""},
        BadSpec{"NotANumber", Replace("1.0e-3", ".nan"), "job.yaml:9:38", "expected a number, found \".nan\""},
        BadSpec{"ListForNumber", Replace("steps: 400", "steps: [1]"), "job.yaml:7:10", "expected a whole number, found a list"},
        BadSpec{"ListExpected", Replace("[corpus.txt, /abs/b.txt]", "corpus.txt"), "job.yaml:5:22",
                "data.text.files: expected a list, found \"corpus.txt\""},
        BadSpec{"MapExpected", Replace("{gpt: {layers: 4, heads: 4, channels: 128, context: 64}}", "gpt"), "job.yaml:4:8",
                "model: expected a map with the fields gpt, mlp, cnn, found \"gpt\""},
        BadSpec{"NothingWritten", Replace("name: char-gpt", "name:"), "job.yaml:1:1", "name: expected a value, found nothing"},
        BadSpec{"DuplicateKey", Replace("device: cpu", "name: again"), "job.yaml:3:1",
                "name: written twice; the other is at job.yaml:1:1"},
        BadSpec{"TwoModels", Replace("{gpt:", "{mlp: {hidden: [5]}, gpt:"), "job.yaml:4:29",
                "model.gpt: only one of them can be chosen, and \"mlp\" is there already"},
        BadSpec{"DurationWithoutUnit", Replace("500ms", "5"), "job.yaml:12:20",
                "restart.backoff: expected a duration with a unit such as 500ms, 10s, 2m or 1h30m, found \"5\""},
        BadSpec{"NegativeDuration", Replace("500ms", "-1s"), "job.yaml:12:20", "expected a duration"},
        BadSpec{"Empty", "", "job.yaml", "the file is empty"},
        BadSpec{"OnlyComments", "# nothing here\n", "job.yaml", "the file is empty"},
        BadSpec{"NotYaml", Replace("{data: 2}", "{data: 2"), "job.yaml:3:7", "not valid YAML or JSON"},
        BadSpec{"AList", "- name: a\n", "job.yaml:1:1", "the file: expected a map with the fields name, parallel"},
        BadSpec{"TwoDocuments", kCommand + "---\nname: b\n", "job.yaml:4:1", "one job per file, found 2 documents"},
        BadSpec{"NameMissing", Replace("name: char-gpt\n", ""), "job.yaml:1:1", "name: is missing"},
        BadSpec{"NameWithCapitals", Replace("char-gpt", "Char_GPT"), "job.yaml:1:1",
                "expected 1 to 50 lower-case letters, digits and '-', not at either end, found \"Char_GPT\""},
        BadSpec{"NameTooLong", Replace("char-gpt", std::string(51, 'a')), "job.yaml:1:1", "expected 1 to 50"},
        BadSpec{"NeitherModelNorCommand", "name: a\n", "job.yaml:1:1",
                "a job has either a model (the built-in trainer) or a command (any program)"},
        BadSpec{"ModelAndCommand", kCommand + "model: {mlp: {hidden: [5]}}\n", "job.yaml:3:1",
                "model: belongs to the built-in trainer and cannot stand beside command"},
        BadSpec{"EmptyCommand", "name: a\ncommand: []\n", "job.yaml:2:1",
                "expected a program and its arguments, found an empty list"},
        BadSpec{"GpuForCuda", Replace("device: cpu", "device: gpu"), "job.yaml:3:1", "did you mean \"cuda\"?"},
        BadSpec{"NodesWithModel", Replace("device: cpu", "nodes: 2"), "job.yaml:3:1", "nodes: belongs to command jobs"},
        BadSpec{"NoSlots", kCommand + "slots_per_node: 0\n", "job.yaml:3:1", "expected 1 to 4096, found 0"},
        BadSpec{"DeviceName", Replace("cpu", "cpuu"), "job.yaml:3:1",
                "expected cpu, cuda or auto, found \"cpuu\"; did you mean \"cpu\"?"},
        BadSpec{"NoRanks", Replace("{data: 2}", "{data: 0}"), "job.yaml:2:18", "parallel.data.min: expected 1 to 4096, found 0"},
        BadSpec{"RangeUpsideDown", Replace("{data: 2}", "{data: {min: 4, max: 2}}"), "job.yaml:2:19",
                "expected at most max (2), found 4"},
        BadSpec{"TensorAxis", Replace("{data: 2}", "{data: 2, tensor: 3}"), "job.yaml:2:21",
                "parallel.tensor: expected a divisor of model.gpt.heads (4), found 3"},
        BadSpec{"PipelineAxis", Replace("{data: 2}", "{data: 2, pipeline: 6}"), "job.yaml:2:21",
                "parallel.pipeline: expected at most model.gpt.layers (4; a stage has whole layers), found 6"},
        BadSpec{"ZeroInAPipeline", Replace("{data: 2}\ndevice: cpu", "{data: 2, pipeline: 2, zero: 1}\ndevice: cuda"),
                "job.yaml:2:34", "parallel.zero: expected 0 beside parallel.pipeline 2"},
        BadSpec{"ElasticMesh", Replace("{data: 2}", "{data: {min: 1, max: 2}, tensor: 2}"), "job.yaml:2:12",
                "parallel.data: expected one number beside parallel.tensor 2"},
        BadSpec{"PipelineSchedule", Replace("{data: 2}", "{data: 2, pipeline: 2, schedule: 2f2b}"), "job.yaml:2:34",
                "parallel.schedule: expected 1f1b or gpipe, found \"2f2b\""},
        BadSpec{"ScheduleWithoutPipeline", Replace("{data: 2}", "{data: 2, schedule: gpipe}"), "job.yaml:2:21",
                "parallel.schedule: belongs to a pipeline"},
        BadSpec{"MicroBatches", Replace("{data: 2}", "{data: 2, pipeline: 2, micro_batches: 5}"), "job.yaml:2:34",
                "parallel.micro_batches: expected a divisor of the 12 samples"},
        BadSpec{"ZeroOnACpu", Replace("{data: 2}", "{data: 2, zero: 1}"), "job.yaml:2:21",
                "parallel.zero: expected 0 where device"},
        BadSpec{"ZeroTwo", Replace("{data: 2}", "{data: 2, zero: 2}"), "job.yaml:2:21", "parallel.zero: expected 0 to 1, found 2"},
        BadSpec{"BatchDoesNotDivide", Replace("global_batch: 24", "global_batch: 25"), "job.yaml:8:3",
                "expected a multiple of the ranks in parallel.data (2), found 25; 26 is one"},
        BadSpec{"BatchDoesNotDivideInTheRange", Replace("{data: 2}", "{data: {min: 4, max: 5}}"), "job.yaml:8:3",
                "(5), found 24; 25 is one"},
        BadSpec{"MicroBatchDoesNotDivide", Replace("global_batch: 24", "global_batch: 24\n  micro_batch: 5"), "job.yaml:9:3",
                "expected a divisor of the 12 samples that each of 2 ranks takes per step"},
        BadSpec{"NoSteps", Replace("steps: 400", "steps: 0"), "job.yaml:7:3", "train.steps: expected 1 to"},
        BadSpec{"StepsMissing", Replace("  steps: 400\n", ""), "job.yaml:6:1", "train.steps: is missing"},
        BadSpec{"OptimizerMissing", Replace("  optimizer: {adamw: {learning_rate: 1.0e-3}}\n", ""), "job.yaml:6:1",
                "train.optimizer: is missing; expected one of adamw, sgd"},
        BadSpec{"NoLearningRate", Replace("learning_rate: 1.0e-3", "weight_decay: 0.1"), "job.yaml:9:15",
                "learning_rate: is missing"},
        BadSpec{"NegativeLearningRate", Replace("1.0e-3", "-1"), "job.yaml:9:23", "learning_rate: expected more than 0, found -1"},
        BadSpec{"BetaOfOne", Replace("learning_rate: 1.0e-3", "learning_rate: 0.1, beta2: 1.0"), "job.yaml:9:43",
                "beta2: expected 0 to below 1, found 1"},
        BadSpec{"WarmupTooLong", Replace("warmup_steps: 20", "warmup_steps: 401"), "job.yaml:10:23",
                "expected at most train.steps (400), found 401"},
        BadSpec{"HeadsDoNotDivide", Replace("channels: 128", "channels: 130"), "job.yaml:4:36",
                "expected a multiple of heads (4), found 130; 132 is one"},
        BadSpec{"ContextTooSmall", Replace("context: 64", "context: 1"), "job.yaml:4:51",
                "model.gpt.context: expected 2 to 1048576, found 1"},
        BadSpec{"LayersMissing", Replace("layers: 4, ", ""), "job.yaml:4:9", "model.gpt.layers: is missing"},
        BadSpec{"ImagesForAGpt",
                Replace("{text: {files: [corpus.txt, /abs/b.txt]}}", "{synthetic_digits: {train: 5, validation: 5}}"),
                "job.yaml:5:1", "data: a gpt needs text or tokens, found images"},
        BadSpec{"TextForACnn", Cnn("{channels: [8], hidden: 8}", "{text: {files: [a]}}"), "job.yaml:3:1",
                "mlp and cnn need idx or synthetic_digits, found text"},
        BadSpec{"CnnTooDeep", Cnn("{channels: [8, 8, 8, 8, 8], hidden: 8}"), "job.yaml:2:15", "expected 1 to 4 entries, found 5"},
        BadSpec{"CnnHiddenMissing", Cnn("{channels: [8]}"), "job.yaml:2:9", "model.cnn.hidden: is missing"},
        BadSpec{"CnnZeroChannels", Cnn("{channels: [8, 0], hidden: 8}"), "job.yaml:2:29",
                "model.cnn.channels[1]: expected 1 to 16384, found 0"},
        BadSpec{"DataMissing", Replace("data: {text: {files: [corpus.txt, /abs/b.txt]}}\n", ""), "job.yaml:1:1",
                "data: is missing"},
        BadSpec{"NoFiles", Replace("[corpus.txt, /abs/b.txt]", "[]"), "job.yaml:5:15",
                "data.text.files: is missing; list at least one file"},
        BadSpec{"FractionOfOne", Replace("files: [corpus.txt, /abs/b.txt]", "files: [a], validation_fraction: 1"), "job.yaml:5:27",
                "expected a number between 0 and 1, found 1"},
        BadSpec{"WhenBusy", Replace("every_steps: 100", "when_busy: drop"), "job.yaml:11:40",
                "checkpoint.when_busy: expected wait or skip, found \"drop\""},
        BadSpec{"MemoryWithoutShards", Replace("every_steps: 100", "memory_every: 1"), "job.yaml:11:40",
                "checkpoint.memory_every: expected 0 without parallel.zero 1"},
        BadSpec{"KeepOne", Replace("every_steps: 100", "keep: 1"), "job.yaml:11:40", "checkpoint.keep: expected at least 2"},
        BadSpec{"CheckpointsWithoutDirectory", Replace("directory: ./checkpoints, ", ""), "job.yaml:11:1",
                "checkpoint.directory: is missing"},
        BadSpec{"NegativeFailures", kCommand + "restart: {max_failures: -1}\n", "job.yaml:3:11", "expected 0 to 100000, found -1"},
        BadSpec{"BackoffAboveItsMaximum", kCommand + "restart: {backoff: 2m, backoff_max: 1s}\n", "job.yaml:3:11",
                "expected at most backoff_max (1s), found 120s"},
        BadSpec{"NoTime", kCommand + "time_limit: 0s\n", "job.yaml:3:1", "time_limit: expected more than 0"},
        BadSpec{"VariableName", kCommand + "env: {A=B: c}\n", "job.yaml:3:7", "env.A=B: expected a variable name"},
        BadSpec{"ReservedVariable", kCommand + "env: {RINGMASTER_JOB: c}\n", "job.yaml:3:7", "are set by Ringmaster itself"},
        BadSpec{"VariableTwice", kCommand + "env: {A: b, A: c}\n", "job.yaml:3:13", "env.A: written twice"}),
    [](const ::testing::TestParamInfo<BadSpec>& info) { return info.param.name; });

TEST(ParseJobSpec, ReportsEveryMistakeInOrder) {
  std::string text = Replace("steps: 400", "steps: 0");
  text.replace(text.find("device: cpu"), 11, "device: tpu");
  const auto spec = ParseJobSpec(Source(text));
  EXPECT_THAT(std::string(spec.status().message()),
              AllOf(HasSubstr("job.yaml:3:1: device"), HasSubstr("\njob.yaml:7:3: train.steps")));
}

TEST(ParseJobSpec, RefusesAFileThatIsNoJobFile) {
  EXPECT_THAT(
      ParseJobSpec(Source(std::string(2 << 20, 'a'))),
      StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("larger than a message with a job may be: at most 1048576 bytes")));
  EXPECT_THAT(ParseJobSpec(Source(std::string("\x7f"
                                              "ELF\x02\x01\x01\0\0\xff\xfe",
                                              11)))
                  .status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("job.yaml")));
  EXPECT_THAT(ParseJobSpec(Source(std::string(100'000, '['))).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("job.yaml")));
}

// --set and --ranks.

SpecSource WithAssignments(std::vector<std::string> assignments) {
  SpecSource source = Source(kGood);
  source.assignments = std::move(assignments);
  return source;
}

TEST(Overrides, ReplaceFieldsOfAnyKind) {
  ASSERT_OK_AND_ASSIGN(
      const v1::JobSpec spec,
      ParseJobSpec(WithAssignments({"train.steps=100", "train.seed=7", "train.optimizer.adamw.beta1=0.8",
                                    "data.text.files=[x, y, z]", "restart.backoff=2s", "env.A_B=first", "env.A_B=c=d",
                                    "restart.remedies.stopped=report", "checkpoint.keep=5", "train.steps=200"})));
  EXPECT_EQ(spec.train().steps(), 200) << "the last one wins";
  EXPECT_EQ(spec.train().seed(), 7u);
  EXPECT_DOUBLE_EQ(spec.train().optimizer().adamw().beta1(), 0.8);
  EXPECT_DOUBLE_EQ(spec.train().optimizer().adamw().learning_rate(), 1e-3) << "its neighbours stay";
  EXPECT_EQ(spec.data().text().files_size(), 3);
  EXPECT_EQ(spec.restart().backoff().seconds(), 2);
  EXPECT_EQ(spec.env().at("A_B"), "c=d");
  EXPECT_EQ(spec.restart().remedies().at("stopped"), "report") << "every map of names to text";
  EXPECT_FALSE(spec.env().contains("stopped"));
  EXPECT_EQ(spec.checkpoint().keep(), 5);
}

TEST(Overrides, MayChooseAnotherMemberOfAOneof) {
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(WithAssignments({"train.optimizer={sgd: {learning_rate: 0.1}}"})));
  EXPECT_TRUE(spec.train().optimizer().has_sgd());
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec other, ParseJobSpec(WithAssignments({"train.optimizer.sgd.learning_rate=0.2"})));
  EXPECT_DOUBLE_EQ(other.train().optimizer().sgd().learning_rate(), 0.2);
}

TEST(Overrides, AreReadStrictly) {
  const auto message = [](const std::string& assignment) {
    return std::string(ParseJobSpec(WithAssignments({assignment})).status().message());
  };
  EXPECT_THAT(message("train.stepz=5"), HasSubstr("--set train.stepz=5: train: unknown field \"stepz\"; did you mean \"steps\"?"));
  EXPECT_THAT(message("train.steps=five"),
              HasSubstr("--set train.steps=five: train.steps: expected a whole number, found \"five\""));
  EXPECT_THAT(message("train.steps="), HasSubstr("expected a value, found nothing"));
  EXPECT_THAT(message("train.steps"), HasSubstr("expected FIELD=VALUE"));
  EXPECT_THAT(message("=5"), HasSubstr("expected FIELD=VALUE"));
  EXPECT_THAT(message("train.steps.more=5"), HasSubstr("train.steps has no fields below it"));
  EXPECT_THAT(message("train.steps=0"), HasSubstr("--set train.steps=0: train.steps: expected 1 to"));
  EXPECT_THAT(message("data.text.files=[a"), HasSubstr("not valid YAML or JSON"));
  EXPECT_THAT(message("restart.backoff.seconds=1"), HasSubstr("restart.backoff has no fields below it"));
}

TEST(Overrides, RanksSetTheDataAxis) {
  SpecSource source = Source(kGood);
  source.ranks = 4;
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(source));
  EXPECT_EQ(spec.parallel().data().min(), 4);
  EXPECT_EQ(spec.parallel().data().max(), 4);

  source.ranks = 5;
  EXPECT_THAT(ParseJobSpec(source),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a multiple of the ranks in parallel.data (5)")));
  source.ranks = -1;
  EXPECT_THAT(ParseJobSpec(source), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("--ranks -1: ")));
}

TEST(Overrides, RanksOfACommandJobAreItsSlots) {
  SpecSource source = Source("name: a\ncommand: [train]\nnodes: 2\n");
  source.ranks = 6;
  ASSERT_OK_AND_ASSIGN(const v1::JobSpec spec, ParseJobSpec(source));
  EXPECT_EQ(spec.slots_per_node(), 3);
  EXPECT_EQ(WorldSize(spec), 6);
  source.ranks = 5;
  EXPECT_THAT(ParseJobSpec(source), StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("a multiple of nodes (2)")));
}

}  // namespace
}  // namespace ringmaster::cli
