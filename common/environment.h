// The environment contract between worker and trainer: names only. docs/protocol.md describes each value.
// torchrun's names (RANK, LOCAL_RANK, WORLD_SIZE, LOCAL_WORLD_SIZE, GROUP_RANK, GROUP_WORLD_SIZE, ROLE_NAME, ROLE_RANK,
// ROLE_WORLD_SIZE, MASTER_ADDR, MASTER_PORT, TORCHELASTIC_RESTART_COUNT, TORCHELASTIC_MAX_RESTARTS, TORCHELASTIC_RUN_ID, ...) are
// set beside these.
#ifndef RINGMASTER_COMMON_ENVIRONMENT_H_
#define RINGMASTER_COMMON_ENVIRONMENT_H_

namespace ringmaster::environment {

inline constexpr char kCoordinator[] = "RINGMASTER_COORDINATOR";  // host:port of the coordinator
inline constexpr char kRelay[] = "RINGMASTER_RELAY";              // gRPC target of the worker's relay to TrainerService
inline constexpr char kJob[] = "RINGMASTER_JOB";                  // job id
inline constexpr char kEpoch[] = "RINGMASTER_EPOCH";              // decimal
inline constexpr char kIncarnation[] = "RINGMASTER_INCARNATION";  // decimal, this trainer process
inline constexpr char kHost[] = "RINGMASTER_HOST";                // worker's name
inline constexpr char kAddress[] = "RINGMASTER_ADDRESS";  // address of this host that peers reach: listen and advertise here
inline constexpr char kProgressBoardFd[] =
    "RINGMASTER_PROGRESS_BOARD_FD";  // decimal: inherited descriptor of a common/progress_board.h
inline constexpr char kChaos[] =
    "RINGMASTER_CHAOS";  // directory of a chaos plan: `ringmaster chaos` alone sets it, job files cannot
inline constexpr char kVisibleGpus[] = "CUDA_VISIBLE_DEVICES";  // CUDA's: which GPUs a process sees, and their order
inline constexpr char kThreads[] = "OMP_NUM_THREADS";           // usable cores / local ranks, unless the job's env sets it

}  // namespace ringmaster::environment

#endif  // RINGMASTER_COMMON_ENVIRONMENT_H_
