// Exit codes that processes of Ringmaster give each other and the user a meaning by. docs/failure_model.md explains them.
#ifndef RINGMASTER_COMMON_EXIT_CODES_H_
#define RINGMASTER_COMMON_EXIT_CODES_H_

namespace ringmaster {

inline constexpr int kExitSucceeded = 0;
inline constexpr int kExitFailed = 1;         // failed without a code of its own; restarts exhausted
inline constexpr int kExitUsage = 2;          // bad usage, bad spec, bad data: the same call fails again, so no restart
inline constexpr int kExitUnavailable = 69;   // EX_UNAVAILABLE: coordinator not reachable
inline constexpr int kExitPeerLost = 75;      // EX_TEMPFAIL: this rank is healthy, another one is gone: never a root cause
inline constexpr int kExitDoNotRequeue = 93;  // a program says: restarting me is useless
inline constexpr int kExitRequeue = 94;       // a program says: start me again, this is no failure
inline constexpr int kExitTimeLimit = 124;    // as timeout(1)
inline constexpr int kExitSignalBase = 128;   // 128 + signal number

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_EXIT_CODES_H_
