#include "trainer/cuda/loaded_library.h"

#include "common/status_matchers.h"

namespace ringmaster::trainer {
namespace {

using ::ringmaster::testing::StatusIs;
using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(LoadedLibrary, SaysWhatToInstallWhereThereIsNone) {
  EXPECT_THAT(LoadedLibrary::Open("libthere_is_none.so.9", "Nothing 9"),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("install Nothing 9"), HasSubstr("directory that holds libthere_is_none.so.9"))));
}

TEST(LoadedLibrary, FindsFunctionsAndNamesThoseThatAreMissing) {
  ASSERT_OK_AND_ASSIGN(const LoadedLibrary library, LoadedLibrary::Open("libm.so.6", "Maths 7"));
  double (*cosine)(double) = nullptr;
  ASSERT_OK(library.Find("cos", &cosine));
  EXPECT_EQ(cosine(0.0), 1.0);
  EXPECT_THAT(library.Find("no_such_function", &cosine),
              StatusIs(absl::StatusCode::kFailedPrecondition,
                       AllOf(HasSubstr("no function no_such_function"), HasSubstr("Maths 7 is needed"))));
}

}  // namespace
}  // namespace ringmaster::trainer
