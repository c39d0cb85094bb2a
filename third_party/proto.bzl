"""C++ code from .proto files with the system's protoc and gRPC plugin."""

def cc_grpc_proto_library(name, srcs, **attrs):
    """Generates messages and gRPC stubs for all srcs (files of this package) and compiles them as one library.

    Args:
      name: target name.
      srcs: .proto files; they may import each other.
      **attrs: passed on to cc_library.
    """
    stems = [src[:-len(".proto")] for src in srcs]
    headers = [stem + ext for stem in stems for ext in [".pb.h", ".grpc.pb.h"]]
    sources = [stem + ext for stem in stems for ext in [".pb.cc", ".grpc.pb.cc"]]
    native.genrule(
        name = name + "_generated",
        srcs = srcs,
        outs = headers + sources,
        cmd = "protoc -I. --cpp_out=$(GENDIR) --grpc_out=$(GENDIR) " +
              "--plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin) $(SRCS)",
    )
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        copts = ["-Wno-error"],
        deps = [
            "//third_party:grpc",
        ],
        **attrs
    )
