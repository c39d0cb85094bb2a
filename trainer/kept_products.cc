#include "trainer/kept_products.h"

#include "absl/strings/str_cat.h"

namespace ringmaster::trainer {

std::optional<ProductChoices> KeptProducts(const v1::JobSpec& spec) {
  if (spec.checkpoint().directory().empty()) return std::nullopt;
  return ProductChoices(absl::StrCat(spec.checkpoint().directory(), "/products"));
}

}  // namespace ringmaster::trainer
