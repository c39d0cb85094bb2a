#include "worker/process/fake_process_runner.h"

#include "worker/process/process_runner_conformance.h"

namespace ringmaster::testing {
namespace {

INSTANTIATE_TEST_SUITE_P(
    Fake, ProcessRunnerConformance, ::testing::Values([] {
      return RunnerUnderTest{"/program", [](const std::string& program) { return std::make_unique<FakeProcessRunner>(program); }};
    }));

}  // namespace
}  // namespace ringmaster::testing
