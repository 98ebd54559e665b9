"""Libraries for LD_PRELOAD: system calls that fail for chosen files, in our processes and in git's."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from pathlib import Path

SYSTEM_ERRORS = tuple(
    getattr(errno, name)
    for name in ("EACCES", "EPERM", "EMFILE", "ENFILE", "ENOMEM", "ESTALE", "EIO", "ELOOP", "ENOTDIR")
)
"""What open() may answer about a file with nothing wrong in it."""

FAILING_OPEN = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* Does `path` end with what GPA_TEST_PATH says, and is it opened for reading? */
static int fails(const char *path, int flags)
{
	const char *end = getenv("GPA_TEST_PATH"), *number = getenv("GPA_TEST_ERRNO");
	if (!path || !end || !number || (flags & (O_CREAT | O_DIRECTORY)))
		return 0;
	size_t length = strlen(path), wanted = strlen(end);
	if (length < wanted || strcmp(path + length - wanted, end))
		return 0;
	errno = atoi(number);
	return 1;
}

#define MODE \
	mode_t mode = 0; \
	if (flags & O_CREAT) { \
		va_list list; \
		va_start(list, flags); \
		mode = va_arg(list, mode_t); \
		va_end(list); \
	}

#define OPEN(name) \
int name(const char *path, int flags, ...) \
{ \
	static int (*next)(const char *, int, ...); \
	MODE \
	if (fails(path, flags)) \
		return -1; \
	if (!next) \
		next = dlsym(RTLD_NEXT, #name); \
	return next(path, flags, mode); \
}

#define OPENAT(name) \
int name(int dir, const char *path, int flags, ...) \
{ \
	static int (*next)(int, const char *, int, ...); \
	MODE \
	if (fails(path, flags)) \
		return -1; \
	if (!next) \
		next = dlsym(RTLD_NEXT, #name); \
	return next(dir, path, flags, mode); \
}

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)
"""


def build(folder: Path, source: str = FAILING_OPEN) -> Path:
    """The library, made in `folder`."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "the tests need the C compiler that built the package"
    (folder / "shim.c").write_text(source)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], check=True)
    return folder / "shim.so"


def preloaded(library: Path) -> str:
    """The value of LD_PRELOAD: AddressSanitizer's library, in a test that runs with it, has to stay the first."""
    return ":".join(filter(None, (os.environ.get("LD_PRELOAD"), str(library))))


def failing_open(library: Path, path_end: str, number: int) -> dict[str, str]:
    """The environment in which opening a file whose path ends so, for reading, fails with this errno."""
    return {"LD_PRELOAD": preloaded(library), "GPA_TEST_PATH": path_end, "GPA_TEST_ERRNO": str(number)}
