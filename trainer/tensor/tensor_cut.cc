#include "trainer/tensor/tensor_cut.h"

#include <algorithm>

namespace ringmaster::trainer {

void CopyPart(const TensorCut& cut, const float* whole, float* part) {
  for (int64_t index = 0; index < cut.outer; ++index) {
    std::copy_n(whole + cut.run_begin(index), cut.run(), part + index * cut.run());
  }
}

}  // namespace ringmaster::trainer
