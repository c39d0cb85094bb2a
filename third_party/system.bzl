"""A library that the system provides: headers in /usr/include, archives in the linker's path."""

def system_library(name, archives = [], dynamic = [], **attrs):
    """Declares it.

    Args:
      name: target name.
      archives: static archives without "lib" and ".a"; linked as one group, so their order does not matter.
      dynamic: libraries that come as shared objects.
      **attrs: passed on to cc_library.
    """
    group = ["-l:lib%s.a" % archive for archive in archives]
    if group:
        group = ["-Wl,--start-group"] + group + ["-Wl,--end-group"]
    native.cc_library(
        name = name,
        linkopts = group + ["-l" + library for library in dynamic],
        **attrs
    )
