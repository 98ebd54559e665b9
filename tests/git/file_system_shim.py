"""System calls that fail as they do on other file systems: a library that is loaded before the C library.

Only Python programs notice it, not the git that they start. `FAIL_CALL` names the call and `FAIL_ERRNO` its answer.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from shims import preloaded

CODE = r"""
#define _GNU_SOURCE
#define _LARGEFILE64_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static int failing = -1;

static int is_python(void)
{
	char path[4096];
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
	if (len < 0)
		return 0;
	path[len] = '\0';
	return strstr(path, "python") != NULL;
}

/* Whether this call shall fail; then errno is set. */
static int fails(const char *call)
{
	const char *wanted = getenv("FAIL_CALL");
	if (failing < 0)
		failing = is_python();
	if (!failing || !wanted || strcmp(wanted, call))
		return 0;
	errno = atoi(getenv("FAIL_ERRNO"));
	return 1;
}

static int in_repository(const char *path)
{
	const char *folder = getenv("FAIL_BELOW");
	return folder && path && (path[0] != '/' || !strncmp(path, folder, strlen(folder)));
}

static int is_in_repository(int fd)
{
	char link[64], path[4096];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return 0;
	path[len] = '\0';
	return path[0] == '/' && in_repository(path);
}

static int is_dir(int fd)
{
	struct stat st;
	return !fstat(fd, &st) && S_ISDIR(st.st_mode);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OR_FAIL(call, name, ...) (fails(call) ? -1 : NEXT(name)(__VA_ARGS__))
#define BELOW(path, call, name, ...) (in_repository(path) && fails(call) ? -1 : NEXT(name)(__VA_ARGS__))
#define WITHIN(fd, call, name, ...) (is_in_repository(fd) && fails(call) ? -1 : NEXT(name)(__VA_ARGS__))

int link(const char *a, const char *b) { return OR_FAIL("link", link, a, b); }
int linkat(int x, const char *a, int y, const char *b, int f) { return OR_FAIL("link", linkat, x, a, y, b, f); }
int flock(int fd, int op) { return OR_FAIL("flock", flock, fd, op); }
int fsync(int fd) { return OR_FAIL(is_dir(fd) ? "fsync of a directory" : "fsync", fsync, fd); }
int sync_file_range(int fd, off_t a, off_t b, unsigned f)
{
	return OR_FAIL("sync_file_range", sync_file_range, fd, a, b, f);
}
int chmod(const char *path, mode_t mode) { return OR_FAIL("chmod", chmod, path, mode); }
int fchmod(int fd, mode_t mode) { return OR_FAIL("chmod", fchmod, fd, mode); }
int fchmodat(int at, const char *path, mode_t mode, int f) { return OR_FAIL("chmod", fchmodat, at, path, mode, f); }
int chown(const char *path, uid_t u, gid_t g) { return OR_FAIL("chown", chown, path, u, g); }
int fchown(int fd, uid_t u, gid_t g) { return OR_FAIL("chown", fchown, fd, u, g); }
int utimensat(int at, const char *path, const struct timespec t[2], int f)
{
	return OR_FAIL("utimensat", utimensat, at, path, t, f);
}
int futimens(int fd, const struct timespec t[2]) { return OR_FAIL("utimensat", futimens, fd, t); }
int posix_fadvise(int fd, off_t a, off_t b, int c)
{
	return fails("posix_fadvise") ? errno : NEXT(posix_fadvise)(fd, a, b, c);
}
int mkdir(const char *path, mode_t mode) { return BELOW(path, "mkdir", mkdir, path, mode); }
int mkdirat(int at, const char *path, mode_t mode) { return OR_FAIL("mkdir", mkdirat, at, path, mode); }
int rename(const char *a, const char *b) { return OR_FAIL("rename", rename, a, b); }
int renameat(int x, const char *a, int y, const char *b) { return OR_FAIL("rename", renameat, x, a, y, b); }
int unlink(const char *path) { return BELOW(path, "unlink", unlink, path); }
int unlinkat(int at, const char *path, int f) { return OR_FAIL("unlink", unlinkat, at, path, f); }
int ftruncate(int fd, off_t size) { return WITHIN(fd, "ftruncate", ftruncate, fd, size); }
int ftruncate64(int fd, off_t size) { return WITHIN(fd, "ftruncate", ftruncate64, fd, size); }
ssize_t write(int fd, const void *data, size_t len) { return WITHIN(fd, "write", write, fd, data, len); }
ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
	return WITHIN(fd, "write", pwrite, fd, data, len, at);
}
ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
	return WITHIN(fd, "write", pwrite64, fd, data, len, at);
}

#define OPEN(name) \
	int name(const char *path, int flags, ...) \
	{ \
		va_list list; \
		va_start(list, flags); \
		mode_t mode = va_arg(list, mode_t); \
		va_end(list); \
		if (flags & O_CREAT && in_repository(path) && fails("create")) \
			return -1; \
		return NEXT(name)(path, flags, mode); \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
	int name(int at, const char *path, int flags, ...) \
	{ \
		va_list list; \
		va_start(list, flags); \
		mode_t mode = va_arg(list, mode_t); \
		va_end(list); \
		if (flags & O_CREAT && (at != AT_FDCWD || in_repository(path)) && fails("create")) \
			return -1; \
		return NEXT(name)(at, path, flags, mode); \
	}
OPENAT(openat)
OPENAT(openat64)
"""


def build(folder: Path) -> Path:
    """The library; the test is skipped where no C compiler is."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler")
    library = folder / "shim.so"
    command = ["cc", "-shared", "-fPIC", "-xc", "-", "-o", library, "-ldl"]
    subprocess.run(command, input=CODE.encode(), check=True)
    return library


def environment(library: Path, call: str, number: int, below: Path) -> dict[str, str]:
    """The environment of a program in which `call` answers the errno `number`, for files below the folder `below`."""
    return {
        **os.environ,
        "LD_PRELOAD": preloaded(library),
        "FAIL_CALL": call,
        "FAIL_ERRNO": str(number),
        "FAIL_BELOW": str(below),
    }
