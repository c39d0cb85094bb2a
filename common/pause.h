// Between two looks at memory that another core is about to write: tells the core that it spins.
#ifndef RINGMASTER_COMMON_PAUSE_H_
#define RINGMASTER_COMMON_PAUSE_H_

namespace ringmaster {

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace ringmaster

#endif  // RINGMASTER_COMMON_PAUSE_H_
