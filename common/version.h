// What Hello, GetVersion, `doctor` and `--version` say.
#ifndef RINGMASTER_COMMON_VERSION_H_
#define RINGMASTER_COMMON_VERSION_H_

namespace ringmaster {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_VERSION_H_
