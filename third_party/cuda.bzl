"""CUDA, cuDNN and NCCL, where the build machine has them; without them everything else still builds."""

_WITHOUT = """
package(default_visibility = ["//visibility:public"])
cc_library(name = "runtime")
"""

_WITH = """
package(default_visibility = ["//visibility:public"])
cc_library(
    name = "runtime",
    srcs = ["libcudart_static.a"],
    hdrs = glob(["include/*.h", "include/crt/*.h", "include/crt/*.hpp", "nccl/nccl.h", "cudnn/*.h"]),
    includes = ["include", "nccl", "cudnn"],
    linkopts = ["-ldl", "-lrt", "-lpthread"],
)
"""

def _first(repository, paths):
    for path in paths:
        if repository.path(path).exists:
            return path
    return None

def _cuda_repository_impl(repository):
    environment = repository.os.environ
    home = environment.get("CUDA_HOME", "/usr/local/cuda")
    nvcc = _first(repository, [home + "/bin/nvcc"])
    header = _first(repository, [home + "/include/cuda_runtime_api.h"])
    archive = _first(repository, [home + folder + "/libcudart_static.a" for folder in ["/lib64", "/lib"]])
    nccl = _first(repository, [folder + "/nccl.h" for folder in [home + "/include", "/usr/include", "/usr/local/include"]])
    cudnn = _first(repository, [folder + "/cudnn.h" for folder in [home + "/include", "/usr/include", "/usr/local/include"]])
    available = environment.get("RINGMASTER_CUDA", "1") != "0" and None not in [nvcc, header, archive, nccl, cudnn]
    repository.file("defs.bzl", "CUDA_AVAILABLE = %s\nNVCC = %r\n" % (available, nvcc if available else ""))
    repository.file("BUILD.bazel", _WITH if available else _WITHOUT)
    if available:
        repository.symlink(home + "/include", "include")
        repository.symlink(archive, "libcudart_static.a")
        repository.symlink(nccl, "nccl/nccl.h")
        folder = repository.path(cudnn).realpath.dirname
        for found in folder.readdir():
            if found.basename.startswith("cudnn"):
                repository.symlink(found, "cudnn/" + found.basename)

# The repository @cuda: `defs.bzl` says CUDA_AVAILABLE; `:runtime` is the static CUDA runtime with the headers of CUDA, cuDNN and NCCL.
# CUDA_HOME names another toolkit, --repo_env=RINGMASTER_CUDA=0 builds as if there were none.
cuda_repository = repository_rule(
    implementation = _cuda_repository_impl,
    environ = ["CUDA_HOME", "RINGMASTER_CUDA"],
    local = True,
)
