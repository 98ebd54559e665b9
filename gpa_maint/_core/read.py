"""Any object of a repository, from any thread, and after a fork too (csrc/read/gpa_read.h).

A C reader lives as long as a call is inside it or a stream is open; close() only releases it.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakSet

from ..base.tuples import NamedTuple
from ..errors import ObjectMissing
from ._gpa import ffi, lib
from .base import ALGORITHMS, TYPES, c_strings, check, hash_size, new_error

_OK = lib.GPA_OK
_MISSING = lib.GPA_ENOTFOUND
_TYPE_BITS = lib.GPA_TYPE_BITS
_TYPE_MASK = (1 << _TYPE_BITS) - 1
_buffer = ffi.buffer
_cast = ffi.cast
_c_has = lib.gpa_reader_has
_c_info = lib.gpa_slot_info
_c_read = lib.gpa_slot_read
_c_next = lib.gpa_many_next

_Info = TypeVar("_Info")

PATH_ROOM = 4096
ROOM = len(ffi.new("gpa_read_slot *").content)  # bytes of an object that is answered in place
_ROW = struct.Struct("=IiQ")  # gpa_run_row: its fields one by one would cost more
assert _ROW.size == ffi.sizeof("gpa_run_row")


class _Room(NamedTuple):
    """The memory for the answer of one call. It is reused, because allocating it costs as much as a small read."""

    answer: Any  # a gpa_read_slot
    content: Any  # its content, as a buffer
    err: Any  # its error

    @classmethod
    def make(cls) -> _Room:
        answer = ffi.new("gpa_read_slot *")
        return cls(answer, _buffer(answer.content), ffi.addressof(answer, "err"))


class ReaderStats(NamedTuple):
    """Counters since the reader was opened, and what it holds now."""

    scan_count: int
    open_count: int
    map_count: int
    map_bytes: int
    cache_bytes: int
    cache_hits: int
    cache_misses: int


class Reader:
    """A reader of objects by raw id. Any number of threads may call. Each result belongs to the caller.

    A miss is ObjectMissing; Corrupt names a damaged file when no other copy of the object is there.
    """

    def __init__(
        self,
        dirs: Sequence[str],
        object_format: str,
        *,
        verify: bool,
        cache_bytes: int,
        map_bytes: int,
        map_count: int,
    ) -> None:
        """Open a reader of `dirs`: the object directory, then its alternates. SystemFailed if one cannot be listed."""
        self.dirs = tuple(dirs)
        self.hash_size = hash_size(object_format)
        options = ffi.new("gpa_reader_options *")
        options.algo = ALGORITHMS[object_format]
        options.verify = verify
        options.cache_bytes, options.map_bytes, options.map_count = cache_bytes, map_bytes, map_count
        names = c_strings(self.dirs)
        out, err = ffi.new("gpa_reader **"), new_error()
        status = lib.gpa_reader_open(out, names, len(self.dirs), options, err)
        self._check(status, err)
        # Freed when nobody refers to it any more: a call in another thread does, so close() cannot pull it away.
        self._pointer = ffi.gc(out[0], lib.gpa_reader_free)
        self._rooms = [_Room.make()]
        with _FORKING:
            _READERS.add(self)

    @property
    def pointer(self) -> Any:
        """Return the gpa_reader *, for a writer."""
        return self._pointer

    def has(self, oid: bytes) -> bool:
        try:
            room = self._rooms.pop()
        except IndexError:
            room = _Room.make()
        status = _c_has(self._pointer, oid, room[2])
        if status != _OK and status != _MISSING:
            self._check(status, room.err, oid)
        self._rooms.append(room)
        return bool(status == _OK)

    def info(self, oid: bytes) -> tuple[str, int]:
        """Return type and size."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = _Room.make()
        packed = _c_info(room[0], self._pointer, oid)
        if packed < 0:
            self._check(packed, room.err, oid)
        self._rooms.append(room)
        return TYPES[packed & _TYPE_MASK], packed >> _TYPE_BITS

    def read(self, oid: bytes) -> tuple[str, bytes]:
        """Return type and content."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = _Room.make()
        answer, content, err = room
        packed = _c_read(answer, self._pointer, oid)
        if packed < 0:
            self._check(packed, err, oid)
        size = packed >> _TYPE_BITS
        data = content[:size] if size <= ROOM else _taken(answer.object)
        self._rooms.append(room)
        return TYPES[packed & _TYPE_MASK], data

    def locate(self, oid: bytes) -> tuple[str, int, int] | None:
        """Return an object's pack, and the offsets of its entry and its delta base (0: none); None if it is loose."""
        path, offsets, err = ffi.new("char[]", PATH_ROOM), ffi.new("uint64_t[2]"), new_error()
        status = lib.gpa_reader_locate(path, PATH_ROOM, offsets, offsets + 1, self._pointer, oid, err)
        self._check(status, err, oid)
        pack = os.fsdecode(ffi.string(path))
        return (pack, int(offsets[0]), int(offsets[1])) if pack else None

    def read_many(self, oids: bytes, threads: int) -> list[tuple[str, bytes]]:
        """Return type and content of each of `oids`, which are concatenated. They are read in the order of storage."""
        count = len(oids) // self.hash_size
        answers: list[Any] = [None] * count
        out, failed, err = ffi.new("gpa_many **"), ffi.new("uint32_t *"), new_error()
        self._check(lib.gpa_many_begin(out, self._pointer, oids, count, threads, err), err)
        many, run = out[0], ffi.new("gpa_run **")
        try:
            while not (status := _c_next(run, failed, many, err)) and run[0]:
                _take_run(answers, run[0])
            self._check(status, err, oids[failed[0] * self.hash_size : (failed[0] + 1) * self.hash_size])
        finally:
            lib.gpa_many_end(many)
        return answers

    def info_many(self, oids: bytes, threads: int, make: Callable[[tuple[str, int]], _Info]) -> list[_Info | None]:
        """Return `make((type, size))` of each object, called once for equal values; None for a missing object."""
        answers = self._ask_many(lib.gpa_many_info, oids, threads)
        made = {packed: make((TYPES[packed & _TYPE_MASK], packed >> _TYPE_BITS)) for packed in {*answers} - {_MISSING}}
        return list(map(made.get, answers))

    def has_many(self, oids: bytes, threads: int) -> list[bool]:
        """Return whether each object exists; False for one without a sound copy."""
        return [packed != _MISSING for packed in self._ask_many(lib.gpa_many_has, oids, threads)]

    def _ask_many(self, ask: Any, oids: bytes, threads: int) -> list[int]:
        count = len(oids) // self.hash_size
        answers, failed, err = ffi.new("int64_t[]", count), ffi.new("uint32_t *"), new_error()
        status = ask(answers, failed, self._pointer, oids, count, threads, err)
        self._check(status, err, oids[failed[0] * self.hash_size : (failed[0] + 1) * self.hash_size])
        return ffi.unpack(answers, count) if count else []

    def expand(self, prefix: bytes, digits: int, most: int) -> tuple[list[bytes], bool]:
        """Return the first `most` ids that begin with `digits` hex digits of `prefix`, and whether there are more."""
        oids, count = ffi.new("unsigned char[]", most * self.hash_size), ffi.new("uint32_t *")
        err = new_error()
        self._check(lib.gpa_reader_expand(oids, count, most, self._pointer, prefix, digits, err), err)
        found = cut(bytes(_buffer(oids, min(most, count[0]) * self.hash_size)), self.hash_size)
        return found, count[0] > most

    def list(self) -> bytes:
        """Return all ids, concatenated, ascending."""
        out, err = ffi.new("gpa_buffer *"), new_error()
        self._check(lib.gpa_reader_list(out, self._pointer, err), err)
        try:
            return bytes(_buffer(out.ptr, out.len))
        finally:
            lib.gpa_buffer_free(out)

    def order(self, ids: bytes, threads: int) -> bytes:
        """Return the ids, concatenated, in the order in which the objects are stored; those in no pack come last."""
        err, found = new_error(), bytearray(ids)
        count = len(found) // self.hash_size
        with ffi.from_buffer("unsigned char[]", found, require_writable=True) as pointer:
            self._check(lib.gpa_reader_order(pointer, self._pointer, count, threads, err), err)
        return bytes(found)

    def stream(self, oid: bytes) -> StreamHandle:
        out, err = ffi.new("gpa_stream **"), new_error()
        kind, size = ffi.new("int *"), ffi.new("uint64_t *")
        self._check(lib.gpa_stream_open(out, kind, size, self._pointer, oid, err), err, oid)
        return StreamHandle(self, out[0], TYPES[kind[0]], int(size[0]))

    def refresh(self) -> None:
        """Rescan the directories now."""
        err = new_error()
        self._check(lib.gpa_reader_refresh(self._pointer, err), err)

    def stats(self) -> ReaderStats:
        out = ffi.new("gpa_reader_stats *")
        lib.gpa_reader_count(out, self._pointer)
        return ReaderStats(*(int(getattr(out, name)) for name in ReaderStats._fields))

    def close(self) -> None:
        """Release the C reader. Calls that are inside it complete."""
        self._pointer = None

    def _check(self, status: int, err: Any, oid: bytes = b"") -> None:
        """Raise the error that `status` stands for, about the file that `err` names."""
        if status == _OK:
            return
        if status == _MISSING:
            raise ObjectMissing(f"no object {oid.hex()} in '{self.dirs[0]}'")
        source, file = max(err.source, 0), os.fsdecode(ffi.string(err.file))
        check(status, err, os.path.join(self.dirs[source], file) if file else self.dirs[source])


class StreamHandle:
    """An object read piece by piece, by one thread at a time."""

    def __init__(self, reader: Reader, pointer: Any, kind: str, size: int) -> None:
        self._reader = reader
        self._pointer = ffi.gc(pointer, lib.gpa_stream_free)
        self.type = kind
        self.size = size

    def readinto(self, out: Any) -> int:
        """Fill `out`, a writable buffer, and return the bytes read; fewer than its size only at the end."""
        got, err = ffi.new("size_t *"), new_error()
        room = ffi.from_buffer("unsigned char[]", out, require_writable=True)
        status = lib.gpa_stream_read(got, self._pointer, room, len(room), err)
        self._reader._check(status, err)
        return int(got[0])

    def close(self) -> None:
        self._pointer = None


def _taken(made: Any) -> bytes:
    """Return the content of a gpa_object, and free it."""
    try:
        return bytes(_buffer(made.ptr, made.len))
    finally:
        lib.gpa_object_free(ffi.addressof(made))


def _take_run(answers: list[Any], run: Any) -> None:
    """Store the objects of a gpa_run at their places in `answers`."""
    content, at = _buffer(_cast("char *", run.content.ptr), run.content.len), 0
    for number, kind, size in _ROW.iter_unpack(_buffer(run.rows, run.count * _ROW.size)):
        end = at + size
        answers[number] = TYPES[kind], content[at:end]
        at = end


def cut(ids: bytes, size: int) -> list[bytes]:
    return [ids[at : at + size] for at in range(0, len(ids), size)]


# A fork copies locks as they are. So none is held by another thread at that moment, and readers work in the child too.
_READERS: WeakSet[Reader] = WeakSet()
_FORKING = threading.Lock()
_held: list[Any] = []


def _before_fork() -> None:
    _FORKING.acquire()
    for reader in list(_READERS):
        pointer = reader._pointer
        if pointer is not None:
            lib.gpa_reader_before_fork(pointer)
            _held.append(pointer)


def _after_fork() -> None:
    while _held:
        lib.gpa_reader_after_fork(_held.pop())
    _FORKING.release()


def _in_child() -> None:
    _after_fork()
    for reader in list(_READERS):
        if reader._pointer is not None:
            lib.gpa_reader_in_child(reader._pointer)


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)
