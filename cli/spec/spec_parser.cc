#include "cli/spec/spec_parser.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cli/spec/defaults.h"
#include "cli/spec/diagnostics.h"
#include "cli/spec/message_reader.h"
#include "cli/spec/validate.h"

namespace ringmaster::cli {

absl::StatusOr<v1::JobSpec> ParseJobSpec(const SpecSource& source) {
  v1::JobSpec spec;
  FieldLocations locations;
  Diagnostics diagnostics;
  ReadMessage(source.text, source.name, &spec, &locations, &diagnostics);
  for (const std::string& assignment : source.assignments) {
    ReadOverride(assignment, absl::StrCat("--set ", assignment), &spec, &locations, &diagnostics);
  }
  if (source.ranks != 0) {
    const std::string option = absl::StrCat("--ranks ", source.ranks);
    if (spec.command_size() == 0) {
      ReadOverride(absl::StrCat("parallel.data=", source.ranks), option, &spec, &locations, &diagnostics);
    } else if (spec.nodes() > 1 && source.ranks % spec.nodes() != 0) {
      diagnostics.Add({option, 0, 0}, absl::StrCat("a multiple of nodes (", spec.nodes(), ") is needed"));
    } else {
      ReadOverride(absl::StrCat("slots_per_node=", source.ranks / std::max(1, spec.nodes())), option, &spec, &locations,
                   &diagnostics);
    }
  }
  // A value that could not be read would be reported again as missing or out of range.
  if (diagnostics.empty()) ValidateJobSpec(spec, locations, source.name, &diagnostics);
  if (!diagnostics.empty()) return diagnostics.ToStatus();
  FillDefaults(locations, source.current_directory, &spec);
  return spec;
}

int WorldSize(const v1::JobSpec& spec) {
  if (spec.command_size() > 0) return std::max(1, spec.nodes()) * std::max(1, spec.slots_per_node());
  return std::max(1, spec.parallel().data().max()) * std::max(1, spec.parallel().tensor()) *
         std::max(1, spec.parallel().pipeline());
}

}  // namespace ringmaster::cli
