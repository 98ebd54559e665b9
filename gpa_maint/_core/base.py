"""Errors, progress, maps of files, names and numbers, for all wrappers of the C core (csrc/base/gpa_base.h)."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from ..errors import Corrupt, FileGone, GpaError, ObjectMissing, Stopped, SystemFailed, Unsupported
from ._gpa import ffi, lib

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any

AT_FDCWD = -100
ALGORITHMS = {"sha1": lib.GPA_SHA1, "sha256": lib.GPA_SHA256}
TYPES = {lib.GPA_COMMIT: "commit", lib.GPA_TREE: "tree", lib.GPA_BLOB: "blob", lib.GPA_TAG: "tag"}
CODES = {kind: code for code, kind in TYPES.items()}
Buffer = bytes | bytearray | memoryview


def new_error() -> Any:
    """Return a gpa_error for one call."""
    return ffi.new("gpa_error *")


def check(status: int, err: Any, path: str) -> None:
    """Return when `status` is GPA_OK; otherwise raise the error it stands for, about the file `path`."""
    if status == lib.GPA_OK:
        return
    text = ffi.string(err.text).decode("utf-8", "replace")
    if status == lib.GPA_ECORRUPT:
        offset = None if err.offset == lib.GPA_NO_OFFSET else err.offset
        raise Corrupt(path, text, offset=offset, git_dies=bool(err.git_dies))
    if status == lib.GPA_ENOTFOUND:
        raise ObjectMissing(f"'{path}': {text}")
    if status == lib.GPA_EUNSUPPORTED:
        raise Unsupported(f"unsupported '{path}': {text}")
    if status == lib.GPA_ESYS:
        what, _, why = text.partition(": ")
        kind = FileGone if err.sys_errno == errno.ENOENT else SystemFailed
        raise kind(f"{what} '{path}': {why}", path=path, errno=err.sys_errno)
    if status == lib.GPA_ESTOPPED:
        raise Stopped
    if status == lib.GPA_ENOMEM:
        raise MemoryError(f"'{path}': {text}")
    raise GpaError(f"'{path}': unknown status {status}: {text}")


class Progress:
    """A counter of objects for one call into the C core; another thread may read `done`, or stop the call.

    One value may be used for several calls in turn: `done` adds up, and a stopped value stays stopped.
    """

    def __init__(self) -> None:
        self.pointer = ffi.new("gpa_progress *")

    @property
    def done(self) -> int:
        return int(self.pointer.done)

    @property
    def is_stopped(self) -> bool:
        return bool(self.pointer.stop)

    def stop(self) -> None:
        """Ask the call that counts here to end soon; most then raise Stopped."""
        self.pointer.stop = 1


def pointer_of(progress: Progress | None) -> Any:
    """Return the pointer that C functions take: a gpa_progress *, or NULL."""
    return ffi.NULL if progress is None else progress.pointer


def hash_size(object_format: str) -> int:
    """Return the bytes of an object id: 20 or 32."""
    return int(lib.gpa_hash_size(ALGORITHMS[object_format]))


def build_info() -> str:
    """Return the libraries the C core was built with."""
    return bytes(ffi.string(lib.gpa_build_info())).decode()


@contextmanager
def directory(path: str) -> Iterator[int]:
    """Yield a descriptor of a directory, for opening files in it by name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def close_all(fds: list[int]) -> None:
    """Close descriptors, while other threads run Python."""
    lib.gpa_close_all(fds, len(fds))


class Map:
    """A file mapped read-only. C functions take `bytes_`. Raises SystemFailed or Corrupt if it cannot be mapped."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.pointer = ffi.new("gpa_bytes *")
        err = new_error()
        check(lib.gpa_map_open(self.pointer, AT_FDCWD, os.fsencode(path), err), err, path)

    @property
    def bytes_(self) -> Any:
        return self.pointer[0]

    @property
    def size(self) -> int:
        return int(self.pointer.len)

    def tail(self, count: int) -> bytes:
        """Return the last `count` bytes."""
        return bytes(ffi.buffer(self.pointer.ptr + (self.size - count), count))

    def close(self) -> None:
        lib.gpa_map_close(self.pointer)

    def __enter__(self) -> Map:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def c_strings(names: Sequence[str]) -> Any:
    """Return a char *[] of file names. The names are in the same memory, so only this object has to be kept alive.

    ValueError about a name with a NUL byte in it.
    """
    texts = os.fsencode("\0".join([*names, ""]))
    count, width = len(names), ffi.sizeof("char *")
    if count != texts.count(b"\0"):
        raise ValueError("embedded null byte")
    array = ffi.new("char *[]", count + 1 + len(texts) // width)
    places, at = [], int(ffi.cast("uintptr_t", array + count))
    for text in texts.split(b"\0")[:count]:
        places.append(at)
        at += len(text) + 1
    ffi.memmove(array, ffi.new("uintptr_t[]", places), count * width)
    ffi.memmove(array + count, texts, len(texts))
    return array


def processes_named(names: Sequence[str]) -> list[int]:
    """Return the numbers of the processes with one of these names, from /proc; [] if there is no /proc.

    Of a name the first 15 bytes count, since the kernel keeps no more.
    """
    texts = [ffi.new("char[]", os.fsencode(name)) for name in names]
    count = ffi.new("uint32_t *")
    room = 64
    while True:
        pids = ffi.new("int64_t[]", room)
        lib.gpa_processes_named(count, pids, room, texts, len(texts))
        if count[0] <= room:
            return list(pids[0 : count[0]])
        room = 2 * count[0]
