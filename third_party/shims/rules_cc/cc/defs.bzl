"""The names of rules_cc that Bazel's own packages load, mapped to the native rules."""

def cc_binary(**attrs):
    native.cc_binary(**attrs)

def cc_library(**attrs):
    native.cc_library(**attrs)

def cc_test(**attrs):
    native.cc_test(**attrs)

def cc_import(**attrs):
    native.cc_import(**attrs)

def cc_proto_library(**attrs):
    native.cc_proto_library(**attrs)

def cc_toolchain(**attrs):
    native.cc_toolchain(**attrs)

def cc_toolchain_suite(**attrs):
    native.cc_toolchain_suite(**attrs)

def cc_toolchain_alias(**attrs):
    native.cc_toolchain_alias(**attrs)

def cc_libc_top_alias(**attrs):
    native.cc_libc_top_alias(**attrs)
