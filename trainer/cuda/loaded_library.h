// Libraries of CUDA that are loaded at run time.
#ifndef RINGMASTER_TRAINER_CUDA_LOADED_LIBRARY_H_
#define RINGMASTER_TRAINER_CUDA_LOADED_LIBRARY_H_

#include <dlfcn.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace ringmaster::trainer {

// One thread. Stays loaded until the process ends: such a library registers kernels with the runtime.
class LoadedLibrary {
 public:
  // FAILED_PRECONDITION, here and below: no such library or function. `product`: "cuBLAS of CUDA 13".
  static absl::StatusOr<LoadedLibrary> Open(const std::string& file, const std::string& product) {
    void* const handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return LoadedLibrary(handle, file, product);
    return absl::FailedPreconditionError(
        absl::StrCat(dlerror(), "; install ", product, " and let LD_LIBRARY_PATH name the directory that holds ", file));
  }

  template <typename Function>
  absl::Status Find(const char* name, Function* function) const {
    *function = reinterpret_cast<Function>(dlsym(handle_, name));
    if (*function != nullptr) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(file_, " has no function ", name, ": ", product_, " is needed"));
  }

 private:
  LoadedLibrary(void* handle, const std::string& file, const std::string& product)
      : handle_(handle), file_(file), product_(product) {}

  void* handle_;
  std::string file_;
  std::string product_;
};

}  // namespace ringmaster::trainer

#endif  // RINGMASTER_TRAINER_CUDA_LOADED_LIBRARY_H_
