"""Builds gpa_maint._core._gpa from csrc/: the cdef is made of the headers that csrc/gpa.h lists, in its order.

Run by setuptools (setup.py). libdeflate is used where pkg-config or the compiler finds it; GPA_CFLAGS adds compiler
flags, and GPA_NO_LIBDEFLATE=1 leaves libdeflate out. A build says which it was.
"""

import os
import re
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path

from cffi import FFI

CSRC = "csrc"
PROGRAMS = ("fuzz", "threads")  # folders of programs of their own


def cdef_from_header(text: str) -> str:
    """Return a header's declarations; numbers keep their names and get their values from the compiler."""
    numbers = re.findall(r"^#define (GPA_[A-Z0-9_]+) -?(?:0x[0-9a-f]+|\d+)$", text, flags=re.MULTILINE)
    without_comments = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    declarations = [line for line in without_comments.splitlines() if not line.startswith("#")]
    return "\n".join([*(f"#define {name} ..." for name in numbers), *declarations])


def cdef_of(csrc: Path) -> str:
    """Return the declarations of all headers that gpa.h includes."""
    names = re.findall(r'^#include "(.+)"$', (csrc / "gpa.h").read_text(), flags=re.MULTILINE)
    return "\n".join(cdef_from_header((csrc / name).read_text()) for name in names)


def pkg_config(*args: str) -> list[str] | None:
    """Return the words that pkg-config prints, or None if it or the library is missing."""
    try:
        done = subprocess.run(["pkg-config", *args], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return shlex.split(done.stdout) if done.returncode == 0 else None


def compiles_with_libdeflate() -> bool:
    """Whether the compiler finds libdeflate by itself, with the flags of the environment."""
    variables = ("CPPFLAGS", "CFLAGS", "LDFLAGS")
    flags = [word for name in variables for word in shlex.split(os.environ.get(name, ""))]
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    program = "#include <libdeflate.h>\nint main(void) { return (int)libdeflate_crc32(0, 0, 0); }\n"
    command = [*compiler, "-x", "c", "-", *flags, "-ldeflate", "-o", os.devnull]
    try:
        return subprocess.run(command, input=program, capture_output=True, text=True, check=False).returncode == 0
    except OSError:
        return False


def libdeflate_flags() -> tuple[list[str], list[str]] | None:
    """Return what the compiler and what the linker needs for libdeflate, or None to build without it.

    A library in a prefix of its own is found there when the module is loaded too: pkg-config names its folder with -L,
    which it never does for the folders that the loader knows.
    """
    if os.environ.get("GPA_NO_LIBDEFLATE"):
        return None
    cflags, libs = pkg_config("--cflags", "libdeflate"), pkg_config("--libs", "libdeflate")
    if cflags is not None and libs is not None:
        rpaths = [f"-Wl,-rpath,{word[2:]}" for word in libs if word.startswith("-L")]
        return ["-DGPA_LIBDEFLATE", *cflags], [*libs, *rpaths]
    return (["-DGPA_LIBDEFLATE"], ["-ldeflate"]) if compiles_with_libdeflate() else None


def say_which(with_libdeflate: bool) -> None:
    """Name the variant on stderr, when this is a build and not a question of pip's about the package."""
    if not {"build", "build_ext", "bdist_wheel", "editable_wheel", "develop", "install"}.intersection(sys.argv):
        return
    if with_libdeflate:
        print("git-gpa is built with libdeflate", file=sys.stderr)
    else:
        print("warning: git-gpa is built without libdeflate, and will read objects more slowly", file=sys.stderr)
        print("hint: install libdeflate with its headers, and pkg-config; then build again", file=sys.stderr)


def make_builder() -> FFI:
    root = Path(__file__).resolve().parents[2] if "__file__" in globals() else Path.cwd()
    csrc = root / CSRC
    sources = [
        f"{CSRC}/{path.relative_to(csrc)}" for path in sorted(csrc.glob("*/*.c")) if path.parent.name not in PROGRAMS
    ]
    headers = [f"{CSRC}/{path.relative_to(csrc)}" for path in sorted(csrc.glob("**/*.h"))]
    cflags = ["-std=c11", "-O2", "-D_GNU_SOURCE", "-fvisibility=hidden", "-Wall", "-Wextra"]
    libraries = ["-lcrypto", "-lz", "-lpthread", "-ldl"]
    libdeflate = libdeflate_flags()
    say_which(libdeflate is not None)
    if libdeflate is not None:
        cflags += libdeflate[0]
        libraries += libdeflate[1]
    extra = shlex.split(os.environ.get("GPA_CFLAGS", ""))
    builder = FFI()
    builder.cdef(cdef_of(csrc))
    builder.set_source(
        "gpa_maint._core._gpa",
        '#include "gpa.h"',
        sources=sources,
        depends=headers,
        include_dirs=[CSRC],
        extra_compile_args=[*cflags, *extra],
        extra_link_args=[*libraries, *extra],
    )
    return builder


ffibuilder = make_builder()
