"""Builds gpa_maint._core._gpa from csrc/: the cdef is csrc/gpa.h itself, without its preprocessor lines.

Run by setuptools (setup.py). libdeflate is used where pkg-config finds it; GPA_CFLAGS adds compiler flags, and
GPA_NO_LIBDEFLATE=1 leaves libdeflate out.
"""

import os
import re
import shlex
import subprocess
from pathlib import Path

from cffi import FFI

CSRC = "csrc"


def cdef_from_header(text: str) -> str:
    """The header's declarations; numbers keep their names and get their values from the compiler."""
    numbers = re.findall(r"^#define (GPA_[A-Z0-9_]+) -?(?:0x[0-9a-f]+|\d+)$", text, flags=re.MULTILINE)
    without_comments = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    declarations = [line for line in without_comments.splitlines() if not line.startswith("#")]
    return "\n".join([*(f"#define {name} ..." for name in numbers), *declarations])


def pkg_config(*args: str) -> list[str] | None:
    """The words pkg-config prints, or None where it, or the library, is not there."""
    try:
        done = subprocess.run(["pkg-config", *args], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return shlex.split(done.stdout) if done.returncode == 0 else None


def make_builder() -> FFI:
    root = Path(__file__).resolve().parents[2] if "__file__" in globals() else Path.cwd()
    csrc = root / CSRC
    sources = sorted(f"{CSRC}/{path.name}" for path in csrc.glob("*.c"))
    headers = sorted(f"{CSRC}/{path.name}" for path in csrc.glob("*.h"))
    cflags = ["-std=c11", "-O2", "-D_GNU_SOURCE", "-fvisibility=hidden", "-Wall", "-Wextra"]
    libraries = ["-lcrypto", "-lz", "-lpthread", "-ldl"]
    libdeflate = None if os.environ.get("GPA_NO_LIBDEFLATE") else pkg_config("--cflags", "--libs", "libdeflate")
    if libdeflate is not None:
        cflags += ["-DGPA_LIBDEFLATE", *(word for word in libdeflate if not word.startswith("-l"))]
        libraries += [word for word in libdeflate if word.startswith("-l")] or ["-ldeflate"]
    extra = shlex.split(os.environ.get("GPA_CFLAGS", ""))
    builder = FFI()
    builder.cdef(cdef_from_header((csrc / "gpa.h").read_text()))
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
