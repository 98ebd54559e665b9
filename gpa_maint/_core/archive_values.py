"""csrc/v1/values.c, wrapped: the values of a v1 archive by key, from any thread, and after a fork too.

The C archive lives as long as somebody refers to it: this object, or the object database of a libgit2 repository.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakSet

from ..errors import ObjectMissing
from ._gpa import ffi, lib
from .archive import KEY_SIZE, IndexedPage, check_page, pages_of
from .files import c_strings
from .page import CODES, Buffer
from .status import check, new_error

NO_PAGE = 0xFFFFFFFF
"""The place of a page that a table names and the archive has no more."""


class Table:
    """A sorted index over pages: the file of that path, or an image. Corrupt or Unsupported; FileNotFoundError."""

    def __init__(self, source: str | bytes) -> None:
        out, err = ffi.new("gpa_archive_table **"), new_error()
        if isinstance(source, str):
            check(lib.gpa_archive_table_open(out, os.fsencode(source), err), err, source)
        else:
            held = ffi.from_buffer("unsigned char[]", source)
            image = ffi.new("gpa_bytes *", (held, len(held)))
            check(lib.gpa_archive_table_make(out, image[0], err), err, "index in memory")
        self._pointer = ffi.gc(out[0], lib.gpa_archive_table_free)
        self.pages: tuple[IndexedPage, ...] = pages_of(lib.gpa_archive_table_index(self._pointer))


class Values:
    """The values of an archive. Any number of threads may call; results are the caller's own."""

    def __init__(self, directory: str) -> None:
        """`directory` is what messages say."""
        self._directory = directory
        out, err = ffi.new("gpa_archive **"), new_error()
        check(lib.gpa_archive_new(out, err), err, directory)
        self._pointer = ffi.gc(out[0], lib.gpa_archive_free)
        with _FORKING:
            _ARCHIVES.add(self)

    def show(self, paths: Sequence[str], tables: Sequence[tuple[Table, Sequence[int]]], saved: int = 0) -> None:
        """From now on it consists of these pages, and the first `saved` values wait no longer.

        Each table comes with the places in `paths` of the pages it names, or NO_PAGE. DamagedArchive, SystemFailed:
        nothing has changed.
        """
        names = c_strings(paths)
        handles = ffi.new("gpa_archive_table *[]", [table._pointer for table, _ in tables])
        places = [ffi.new("uint32_t[]", list(numbers)) for _, numbers in tables]
        numbers = ffi.new("uint32_t *[]", places)
        err = new_error()
        pages = ffi.cast("char const * const *", names)
        status = lib.gpa_archive_show(
            self._pointer,
            pages,
            len(paths),
            handles,
            ffi.cast("uint32_t const * const *", numbers),
            len(tables),
            saved,
            err,
        )
        check_page(status, err, paths[err.source] if status and err.source >= 0 else self._directory)

    def has(self, key: bytes) -> bool:
        return bool(lib.gpa_archive_has(self._pointer, _checked(key)) == lib.GPA_OK)

    def get(self, key: bytes) -> bytes:
        """The value as it is stored. ObjectMissing; DamagedArchive when it is not inside its page."""
        lease, err = ffi.new("gpa_archive_lease *"), new_error()
        status = lib.gpa_archive_lend(lease, self._pointer, _checked(key), lib.GPA_ARCHIVE_STORED, err)
        if status == lib.GPA_ENOTFOUND:
            raise ObjectMissing(f"no object {key.hex()} in '{self._directory}'")
        if status:
            check_page(status, err, os.path.join(self._directory, ffi.string(err.file).decode("utf-8", "replace")))
        return _taken(lease)

    def add(self, key: bytes, kind: str, content: Buffer) -> None:
        """Add an object, or with "" a plain value, unless the key is there. Unsupported when it is too large."""
        held, err = ffi.from_buffer("unsigned char[]", content), new_error()
        borrowed = ffi.new("gpa_bytes *", (held, len(held)))
        status = lib.gpa_archive_add(self._pointer, _checked(key), CODES.get(kind, 0), borrowed[0], err)
        check(status, err, self._directory)

    @property
    def waiting(self) -> tuple[int, int]:
        """How many values wait to be saved, and their bytes."""
        count, size = ffi.new("uint32_t *"), ffi.new("uint64_t *")
        lib.gpa_archive_waiting(count, size, self._pointer)
        return int(count[0]), int(size[0])

    def waiting_value(self, place: int) -> tuple[bytes, bytes]:
        """Key and value of one of them, in the order in which they were set."""
        lease = ffi.new("gpa_archive_lease *")
        if lib.gpa_archive_lend_waiting(lease, self._pointer, place):
            raise IndexError(place)
        key = bytes(ffi.buffer(lease.key, KEY_SIZE))
        return key, _taken(lease)

    def all_keys(self) -> list[bytes]:
        """All keys, ascending."""
        out, err = ffi.new("gpa_buffer *"), new_error()
        check(lib.gpa_archive_list(out, self._pointer, err), err, self._directory)
        try:
            keys = bytes(ffi.buffer(out.ptr, out.len))
        finally:
            lib.gpa_buffer_free(out)
        return [keys[at : at + KEY_SIZE] for at in range(0, len(keys), KEY_SIZE)]

    def lend_to_libgit2(self, library: str, repository: int) -> None:
        """Let the git_repository at that address read and write here, also when this object is gone.

        `library` is a loaded file that is linked with its libgit2. Unsupported for a version that is not known here.
        """
        err = new_error()
        pointer = ffi.cast("void *", repository)
        check(lib.gpa_archive_attach(os.fsencode(library), pointer, self._pointer, err), err, library)


def _checked(key: bytes) -> bytes:
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
    return key


def _taken(lease: Any) -> bytes:
    try:
        return bytes(ffi.buffer(lease.bytes.ptr, lease.bytes.len))
    finally:
        lib.gpa_archive_return(lease)


# -- fork: no other thread is inside an archive at that moment

_ARCHIVES: WeakSet[Values] = WeakSet()
_FORKING = threading.Lock()
_held: list[Any] = []


def _before_fork() -> None:
    _FORKING.acquire()
    for archive in list(_ARCHIVES):
        lib.gpa_archive_before_fork(archive._pointer)
        _held.append(archive._pointer)


def _after_fork() -> None:
    while _held:
        lib.gpa_archive_after_fork(_held.pop())
    _FORKING.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
