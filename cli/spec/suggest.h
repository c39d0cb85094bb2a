// "did you mean ...?": the nearest of a few known names.
#ifndef RINGMASTER_CLI_SPEC_SUGGEST_H_
#define RINGMASTER_CLI_SPEC_SUGGEST_H_

#include <string>
#include <string_view>
#include <vector>

namespace ringmaster::cli {

// Insertions, deletions, substitutions and swaps of neighbours that turn a into b (optimal string alignment).
int EditDistance(std::string_view a, std::string_view b);

// The known name that `found` most likely meant, or "" when none is near (more than a third of its letters differ).
// The first of equally near ones wins.
std::string NearestName(std::string_view found, const std::vector<std::string>& known);

}  // namespace ringmaster::cli

#endif  // RINGMASTER_CLI_SPEC_SUGGEST_H_
