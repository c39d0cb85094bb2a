"""Kernels: .cu files through nvcc, as a library that C++ links."""

load("@cuda//:defs.bzl", "CUDA_AVAILABLE", "NVCC")

def if_cuda(then, otherwise = []):
    """Chooses in a BUILD file, by whether the toolkit was found.

    Args:
      then: with it.
      otherwise: without it.
    """
    return then if CUDA_AVAILABLE else otherwise

def cuda_library(name, srcs, hdrs = [], without = [], deps = [], **attrs):
    """Compiles kernels for Hopper (sm_90).

    Args:
      name: target name.
      srcs: .cu files. They see `hdrs` and the standard library alone.
      hdrs: headers, plain C++.
      without: .cc files that stand in for srcs where the toolkit is missing.
      deps: passed on to cc_library.
      **attrs: passed on to cc_library.
    """
    objects = []
    for src in srcs if CUDA_AVAILABLE else []:
        objects.append(src[:-len(".cu")] + ".cu.o")
        native.genrule(
            name = name + "_" + src.replace(".", "_"),
            srcs = [src] + hdrs,
            outs = [objects[-1]],
            cmd = NVCC + " -c -O3 -std=c++20 -gencode arch=compute_90a,code=sm_90a -Werror all-warnings -Xcompiler -fPIC,-Wall,-Wextra -I. " +
                  "$(location %s) -o $@" % src,
        )
    native.cc_library(
        name = name,
        srcs = objects if CUDA_AVAILABLE else without,
        hdrs = hdrs,
        deps = deps + ["@cuda//:runtime"],
        **attrs
    )
