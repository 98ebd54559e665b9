"""New objects into the open page of a store, from any thread (csrc/write/gpa_write.h). read.py handles forks."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any
from weakref import finalize

from ..base.tuples import NamedTuple
from ..errors import Malformed, ObjectMissing
from ._gpa import ffi, lib
from .base import ALGORITHMS, CODES, TYPES, check, hash_size, new_error
from .read import Reader, cut


class _Numbers(dict[str, int]):
    def __missing__(self, kind: object) -> int:
        if not isinstance(kind, str):
            raise TypeError(f"the type of an object is a str, not {type(kind).__name__}")
        raise ValueError(f"'{kind}' is not commit, tree, blob or tag")


NUMBERS = _Numbers(CODES)
BLOB = NUMBERS["blob"]
DURABILITIES = {"none": lib.GPA_DURABLE_NONE, "page": lib.GPA_DURABLE_PAGE, "journal": lib.GPA_DURABLE_JOURNAL}

FSYNC_METHODS = {
    "fsync": lib.GPA_FSYNC_FULL,
    "writeout-only": lib.GPA_FSYNC_WRITEOUT_ONLY,
    "batch": lib.GPA_FSYNC_BATCH,
}

Step = Callable[[str, str, int], tuple[int, int]]
"""For tests: (operation, path, bytes) before each operation -> (errno or 0, how many bytes are written first)."""

_OK = lib.GPA_OK
_buffer = ffi.buffer
_c_add = lib.gpa_writer_add
_c_check = lib.gpa_object_check


class WriterStats(NamedTuple):
    """Counters since the writer was opened, and the objects that are not sealed."""

    page_count: int
    object_count: int
    known_count: int
    sync_count: int
    open_count: int
    open_bytes: int


class Recovery(NamedTuple):
    """The content of a dead writer's journal."""

    object_count: int
    known_count: int
    cut_bytes: int


class _Room:
    """The memory for the answer of one call. It is reused."""

    def __init__(self, size: int) -> None:
        self.oid = ffi.new("unsigned char[]", size)
        self.err = new_error()


class WriterOptions(NamedTuple):
    """How a writer makes pages. `step` is called before each operation, for tests."""

    level: int
    durability: str
    fsync_method: str
    shared: int
    page_objects: int
    page_bytes: int
    delta_depth: int
    step: Step | None = None


class CoreWriter:
    """A writer of objects for a reader's own object directory. Any number of threads may call.

    SystemFailed and Corrupt name the file. It is closed when nobody refers to it any more, and when the program ends.
    """

    def __init__(
        self,
        reader: Reader,
        object_format: str,
        journal_dir: str,
        gc_pid: str,
        wanted: WriterOptions,
    ) -> None:
        self._directory = journal_dir
        self._size = hash_size(object_format)
        self._algo = ALGORITHMS[object_format]
        paths = [ffi.new("char[]", os.fsencode(path)) for path in (journal_dir, gc_pid)]
        options = ffi.new("gpa_writer_options *")
        options.journal_dir, options.gc_pid = paths
        options.level, options.durability = wanted.level, DURABILITIES[wanted.durability]
        options.fsync_method, options.shared = FSYNC_METHODS[wanted.fsync_method], wanted.shared
        options.page_objects, options.page_bytes = wanted.page_objects, wanted.page_bytes
        options.delta_depth = wanted.delta_depth
        if wanted.step is not None:
            options.step = _callback(wanted.step)
        out, err = ffi.new("gpa_writer **"), new_error()
        self._check(lib.gpa_writer_open(out, reader.pointer, options, err), err)
        self._pointer = ffi.gc(out[0], lib.gpa_writer_free)
        self._reader = reader  # by which forks find this one
        self._end = finalize(self, _close, self._pointer, journal_dir)
        self._rooms: list[_Room] = []

    @property
    def pointer(self) -> Any:
        """Return the gpa_writer *, for a libgit2 backend."""
        return self._pointer

    def add(self, kind: int, data: bytes) -> bytes:
        """Add an object of the type with that number, and return its raw id."""
        room = self._rooms.pop() if self._rooms else _Room(self._size)
        status = _c_add(room.oid, self._pointer, kind, data, len(data), room.err)
        if status != _OK:
            self._check(status, room.err)
        oid: bytes = _buffer(room.oid)[:]
        self._rooms.append(room)
        return oid

    def pack_loose(self, kind: int, data: bytes) -> None:
        """Put an object into a page, also if it exists as a loose file. That file stays."""
        room = _Room(self._size)
        self._check(lib.gpa_writer_pack_loose(room.oid, self._pointer, kind, data, len(data), room.err), room.err)

    def check(self, kind: int, data: bytes) -> None:
        """Raise Malformed if `git hash-object` would refuse this content for an object of that type."""
        room = self._rooms.pop() if self._rooms else _Room(self._size)
        status = _c_check(self._algo, kind, data, len(data), room.err)
        if status != _OK:
            self._check_format(status, room.err, kind, "")
        self._rooms.append(room)

    def check_many(self, kinds: bytes, sizes: Sequence[int], data: bytes) -> None:
        """Raise Malformed about the first object that check() would refuse."""
        bad, err = ffi.new("uint32_t *"), new_error()
        numbers = ffi.new("uint64_t[]", sizes or 1)
        status = lib.gpa_objects_check(bad, self._algo, kinds, numbers, data, len(kinds), err)
        self._check_format(status, err, kinds[bad[0]] if kinds else BLOB, f", number {bad[0] + 1} of {len(kinds)}")

    def _check_format(self, status: int, err: Any, kind: int, where: str) -> None:
        if status == lib.GPA_ECORRUPT:
            raise Malformed(TYPES[kind], ffi.string(err.text).decode("utf-8", "replace"), where=where)
        self._check(status, err)

    def add_many(self, kinds: bytes, sizes: Sequence[int], data: bytes) -> list[bytes]:
        """Add objects whose contents are concatenated in `data`, and return their ids."""
        count = len(kinds)
        oids, err = ffi.new("unsigned char[]", max(1, count * self._size)), new_error()
        numbers = ffi.new("uint64_t[]", sizes or 1)
        self._check(lib.gpa_writer_add_many(oids, self._pointer, kinds, numbers, data, count, err), err)
        return cut(bytes(_buffer(oids, count * self._size)), self._size)

    def freshen(self, oid: bytes) -> bool:
        """Return whether the object exists, and is as safe as if it were added now."""
        err = new_error()
        status = lib.gpa_writer_freshen(self._pointer, oid, err)
        if status == lib.GPA_ENOTFOUND:
            return False
        self._check(status, err)
        return True

    def new_object(self, kind: int, size: int) -> NewObject:
        out, err = ffi.new("gpa_new_object **"), new_error()
        self._check(lib.gpa_new_object_open(out, self._pointer, kind, size, err), err)
        return NewObject(self, out[0])

    def seal(self) -> None:
        self._call(lib.gpa_writer_seal)

    def begin_batch(self) -> None:
        self._call(lib.gpa_writer_begin_batch)

    def end_batch(self) -> None:
        self._call(lib.gpa_writer_end_batch)

    def close(self) -> None:
        """Seal, and remove the journals. After a failure it may be called again."""
        _close(self._pointer, self._directory)
        self._end.detach()

    def recover(self, name: str) -> Recovery | None:
        """Recover the journal of that name; None if its writer lives, or it does not exist."""
        out, err = ffi.new("gpa_recovery *"), new_error()
        status = lib.gpa_writer_recover(out, self._pointer, os.fsencode(name), err)
        if status == lib.GPA_ENOTFOUND:
            return None
        check(status, err, os.path.join(self._directory, name))
        return Recovery(*(int(getattr(out, field)) for field in Recovery._fields))

    def move(self, reader: Reader) -> None:
        """Change to another reader of the same directory."""
        lib.gpa_writer_move(self._pointer, reader.pointer)
        self._reader = reader

    def stats(self) -> WriterStats:
        out = ffi.new("gpa_writer_stats *")
        lib.gpa_writer_count(out, self._pointer)
        return WriterStats(*(int(getattr(out, field)) for field in WriterStats._fields))

    def _call(self, function: Callable[[Any, Any], int]) -> None:
        err = new_error()
        self._check(function(self._pointer, err), err)

    def _check(self, status: int, err: Any) -> None:
        _check(status, err, self._directory)


def _close(pointer: Any, directory: str) -> None:
    err = new_error()
    _check(lib.gpa_writer_close(pointer, err), err, directory)


def _check(status: int, err: Any, directory: str) -> None:
    if status == lib.GPA_ENOTFOUND:
        raise ObjectMissing(f"'{directory}': an object is not there")
    if status != _OK:
        check(status, err, os.fsdecode(ffi.string(err.file)) or directory)


class NewObject:
    """An object that comes in pieces, from one thread at a time."""

    def __init__(self, writer: CoreWriter, pointer: Any) -> None:
        self._writer = writer
        self._pointer = ffi.gc(pointer, lib.gpa_new_object_free)

    def write(self, data: Any) -> None:
        """Add `data`, any buffer, to the content."""
        err = new_error()
        with ffi.from_buffer("unsigned char[]", data) as piece:
            self._writer._check(lib.gpa_new_object_write(self._pointer, piece, len(piece), err), err)

    def finish(self) -> bytes:
        """Return the raw id, after all data was added."""
        oid, err = ffi.new("unsigned char[]", lib.GPA_OID_MAX), new_error()
        self._writer._check(lib.gpa_new_object_finish(oid, self._pointer, err), err)
        return bytes(_buffer(oid, self._writer._size))

    def close(self) -> None:
        """Drop an object that is not finished."""
        ffi.release(self._pointer)


_CALLBACKS: list[Any] = []
"""Never freed: a writer may ask its step while it is."""


def _callback(step: Step) -> Any:
    @ffi.callback("int(void *, const char *, const char *, uint64_t *)")  # type: ignore[untyped-decorator]
    def call(_context: Any, operation: Any, path: Any, size: Any) -> int:
        error, size[0] = step(ffi.string(operation).decode(), os.fsdecode(ffi.string(path)), int(size[0]))
        return error

    _CALLBACKS.append(call)
    return call
