"""Archives of the old format: pages read, indexed and written; values by key (csrc/v1/gpa_v1.h).

The caller closes what it opens. What PageFile lends as a memoryview lies in its map: it must not be used after close().
Several threads may read from one value at once, but a PageFileWriter serves one thread.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Container, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any
from uuid import UUID
from weakref import WeakSet

from ..base.tuples import NamedTuple
from ..errors import DamagedArchive, ObjectMissing
from ._gpa import ffi, lib
from .base import CODES, TYPES, Buffer, Map, Progress, c_strings, check, new_error, pointer_of

CAPACITY = int(lib.GPA_ARCHIVE_CAPACITY)
KEY_SIZE = int(lib.GPA_ARCHIVE_KEY)
DATA_START = int(lib.GPA_ARCHIVE_DATA_START)
DATA_MOST = (1 << 32) - 1 - DATA_START
"""Bytes of data in a page, so that its file ends below 4 GiB."""
TYPE_SIZE = 4
BEHIND = 0xFFFFFFFF
"""The slot of a value that no entry names."""

FAULTS = {
    lib.GPA_FAULT_SHORT: "short",
    lib.GPA_FAULT_UNSAVED: "unsaved",
    lib.GPA_FAULT_VERSION: "version",
    lib.GPA_FAULT_CAPACITY: "capacity",
    lib.GPA_FAULT_INDEX_START: "index-start",
    lib.GPA_FAULT_DATA_START: "data-start",
    lib.GPA_FAULT_ITEMS: "items",
    lib.GPA_FAULT_CUT: "cut",
    lib.GPA_FAULT_BEYOND_DATA: "beyond-data",
    lib.GPA_FAULT_BEYOND_FILE: "beyond-file",
    lib.GPA_FAULT_NO_TYPE: "no-type",
    lib.GPA_FAULT_BAD_TYPE: "bad-type",
    lib.GPA_FAULT_WRONG_ID: "wrong-id",
    lib.GPA_FAULT_DUPLICATE: "duplicate",
    lib.GPA_FAULT_EMPTY: "empty",
}

_ROW = struct.Struct("=20s4I3i")  # gpa_archive_row
assert _ROW.size == ffi.sizeof("gpa_archive_row")
_HEADER = struct.Struct(">4sIIII")
_PAGE_ROW = struct.Struct(">36sIQ")
assert _PAGE_ROW.size == lib.GPA_ARCHIVE_PAGE_ROW


class Entry(NamedTuple):
    """An entry of a page's index. `page` is the number given to the page; `type` is "" if it was not checked.

    `offset` counts from where the page's data begins. `wins`: of all entries of this key it is the one to be read.
    """

    key: bytes
    page: int
    slot: int
    offset: int
    size: int
    type: str = ""
    fault: str = ""
    wins: bool = False


def _entry(row: tuple[bytes, int, int, int, int, int, int, int]) -> Entry:
    key, page, slot, offset, size, kind, fault, wins = row
    return Entry(key, page, slot, offset, size, TYPES.get(kind, ""), FAULTS.get(fault, ""), bool(wins))


def _row_of(entry: Entry) -> Any:
    row = ffi.new("gpa_archive_row *")
    row.key = entry.key
    row.slot, row.offset, row.size = entry.slot, entry.offset, entry.size
    return row


def check_page(status: int, err: Any, path: str) -> None:
    """Raise the error that `status` stands for, with the fault of a page or an entry."""
    if status == lib.GPA_ECORRUPT and err.fault:
        text = ffi.string(err.text).decode("utf-8", "replace")
        raise DamagedArchive(path, text, fault=FAULTS[err.fault], offset=int(err.offset))
    check(status, err, path)


class PageFile:
    """One page, mapped read-only and parsed."""

    def __init__(self, path: str, *, rescue: bool = False) -> None:
        """Open a page. DamagedArchive if header and file do not agree; with `rescue` the header is not read.

        SystemFailed when the file cannot be opened.
        """
        self.path = path
        self._map = Map(path)
        self._page = ffi.new("gpa_archive_page *")
        err = new_error()
        try:
            if rescue:
                lib.gpa_archive_rescue(self._page, self._map.bytes_)
            else:
                check_page(lib.gpa_archive_parse(self._page, self._map.bytes_, err), err, path)
        except BaseException:
            self._map.close()
            raise

    @property
    def item_count(self) -> int:
        return int(self._page.item_count)

    @property
    def data_size(self) -> int:
        return int(self._page.data_size)

    @property
    def size(self) -> int:
        """Return the bytes of the file."""
        return self._map.size

    @property
    def is_torn(self) -> bool:
        """Return whether the index has bytes after the last entry that the header counts."""
        return bool(lib.gpa_archive_is_torn(self._page))

    def find(self, prefix: bytes) -> Entry | None:
        """Return the first entry in index order whose key has this prefix, as the original program does."""
        row = ffi.new("gpa_archive_row *")
        if lib.gpa_archive_find(row, self._page, prefix[:KEY_SIZE], min(len(prefix), KEY_SIZE)):
            return None
        return _entry(_ROW.unpack(ffi.buffer(row)))

    def entry(self, slot: int) -> Entry | None:
        """Return the entry in this place of the index; None beyond the last."""
        row = ffi.new("gpa_archive_row *")
        if lib.gpa_archive_entry(row, self._page, slot):
            return None
        return _entry(_ROW.unpack(ffi.buffer(row)))

    def value(self, entry: Entry) -> memoryview:
        """Return the stored value, valid until close(). Raise DamagedArchive if it is not inside the page."""
        out, err = ffi.new("gpa_bytes *"), new_error()
        check_page(lib.gpa_archive_value(out, self._page, _row_of(entry), err), err, self.path)
        return memoryview(ffi.buffer(out.ptr, out.len))

    def object(self, entry: Entry) -> tuple[str, memoryview]:
        """Return type and content, valid until close(), of the object whose id is the key, or raise DamagedArchive."""
        kind, out, err = ffi.new("int *"), ffi.new("gpa_bytes *"), new_error()
        check_page(lib.gpa_archive_object(kind, out, self._page, _row_of(entry), err), err, self.path)
        return TYPES[kind[0]], memoryview(ffi.buffer(out.ptr, out.len))

    @property
    def behind_size(self) -> int:
        """Return the bytes of the file from the beginning of its data to its end."""
        return max(0, self.size - DATA_START)

    def behind(self, offset: int) -> memoryview:
        """Return all bytes of the file from `offset` of the data on, valid until close()."""
        size = self.behind_size - offset
        if size <= 0:
            return memoryview(b"")
        return memoryview(ffi.buffer(self._map.bytes_.ptr + DATA_START + offset, size))

    def close(self) -> None:
        self._map.close()
        self._page.item_count = self._page.data_size = 0
        self._page.file = self._map.bytes_

    def __enter__(self) -> PageFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class Rows:
    """Entries of many pages in one block, 48 bytes each."""

    def __init__(self, room: int) -> None:
        self._rows = ffi.new("gpa_archive_row[]", max(1, room))
        self._room = room
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        buffer = ffi.buffer(self._rows, self._count * _ROW.size)
        return map(_entry, _ROW.iter_unpack(buffer))

    def __getitem__(self, place: int) -> Entry:
        return _entry(_ROW.unpack_from(ffi.buffer(self._rows, self._count * _ROW.size), place * _ROW.size))

    def add_page(self, page: PageFile, number: int, *, objects: bool, progress: Progress | None = None) -> None:
        """Add all entries of a page, each with its fault; with `objects`, check types and ids too. Raises Stopped."""
        if page.item_count > self._room - self._count:
            raise ValueError(f"no room for '{page.path}'")
        err = new_error()
        place = self._rows + self._count
        status = lib.gpa_archive_rows(place, page._page, number, objects, pointer_of(progress), err)
        check_page(status, err, page.path)
        self._count += page.item_count

    def choose(self, *, only_sound: bool) -> int:
        """Sort by key, then by age, and return the number of winners.

        The newest entry of each key wins, or with `only_sound` the newest sound entry, which then comes first.
        """
        return int(lib.gpa_archive_choose(self._rows, self._count, only_sound))

    def let_win(self, place: int, wins: bool) -> None:
        """Set whether the entry at `place` is the one to be read."""
        self._rows[place].wins = wins

    def sort_stored(self) -> None:
        """Sort by page, then in the order in which the values were set."""
        lib.gpa_archive_sort_stored(self._rows, self._count)


# ---- the index over many pages ----

SUPERSEDED = 1
MADE = 2


class IndexedPage(NamedTuple):
    """A page that an index names. `since`: when it was superseded, or 0; `made`: not by the original library."""

    name: str
    superseded: bool = False
    made: bool = False
    since: int = 0


def pages_of(index: Any) -> tuple[IndexedPage, ...]:
    """Return the pages that a parsed gpa_archive_index names."""
    rows = ffi.buffer(index.pages, index.page_count * _PAGE_ROW.size)
    return tuple(
        IndexedPage(name.decode("ascii", "replace"), bool(flags & SUPERSEDED), bool(flags & MADE), since)
        for name, flags, since in _PAGE_ROW.iter_unpack(rows)
    )


def keys_beginning(index: Any, prefix: bytes, most: int) -> list[bytes]:
    """Return the first keys of a parsed gpa_archive_index with this prefix, at most `most`."""
    first, count = ffi.new("uint32_t *"), ffi.new("uint32_t *")
    lib.gpa_archive_index_range(first, count, index, prefix, min(len(prefix), KEY_SIZE))
    places = range(first[0], first[0] + min(count[0], most))
    return [bytes(ffi.buffer(lib.gpa_archive_index_key(index, place), KEY_SIZE)) for place in places]


class ArchiveIndex:
    """A combined index of pages: on disk, or made in memory."""

    def __init__(self, source: str | bytes) -> None:
        """Open the file of that path, or an image. Raises Corrupt, Unsupported or FileNotFoundError."""
        self._map = Map(source) if isinstance(source, str) else None
        self.path = source if isinstance(source, str) else "index in memory"
        self._image = ffi.from_buffer(source) if isinstance(source, bytes) else None
        self._index = ffi.new("gpa_archive_index *")
        err = new_error()
        if self._map is not None:
            file = self._map.bytes_
        else:
            file = ffi.new("gpa_bytes *", (ffi.cast("unsigned char *", self._image), len(source)))[0]
        try:
            check(lib.gpa_archive_index_parse(self._index, file, err), err, self.path)
            self.pages = pages_of(self._index)
        except BaseException:
            self.close()
            raise

    @property
    def kind(self) -> int:
        return int(self._index.kind)

    @property
    def size(self) -> int:
        return int(self._index.file.len)

    def __len__(self) -> int:
        return int(self._index.object_count)

    def __iter__(self) -> Iterator[bytes]:
        keys = bytes(ffi.buffer(self._index.keys, len(self) * KEY_SIZE))
        return (keys[at : at + KEY_SIZE] for at in range(0, len(keys), KEY_SIZE))

    def find(self, key: bytes) -> tuple[int, int] | None:
        """Return page number and slot, or None. Raise Corrupt if the index points to no page."""
        page, slot, err = ffi.new("uint32_t *"), ffi.new("uint32_t *"), new_error()
        status = lib.gpa_archive_index_find(page, slot, self._index, key, err)
        if status == lib.GPA_ENOTFOUND:
            return None
        check(status, err, self.path)
        return int(page[0]), int(slot[0])

    def beginning(self, prefix: bytes, most: int) -> list[bytes]:
        """Return the first keys with this prefix, at most `most`."""
        return keys_beginning(self._index, prefix, most)

    def forgetting(self, names: Container[str]) -> bytes:
        """Return the index without these pages; none of its entries may point to them."""
        kept = [page for page in self.pages if page.name not in names]
        if kept[: self._live_count] != list(self.pages[: self._live_count]):
            raise ValueError("the index leads to one of these pages")
        image = bytes(ffi.buffer(self._index.file.ptr, self.size))
        tables = image[_HEADER.size + _PAGE_ROW.size * len(self.pages) : -KEY_SIZE]
        body = _HEADER.pack(*_HEADER.unpack_from(image)[:3], len(kept), len(self)) + _page_table(kept) + tables
        return body + hashlib.sha1(body, usedforsecurity=False).digest()

    @property
    def _live_count(self) -> int:
        return max((place + 1 for place, page in enumerate(self.pages) if not page.superseded), default=0)

    def check(self) -> None:
        """Raise Corrupt unless the checksum is right, keys ascend, and each leads to an existing page."""
        err = new_error()
        check(lib.gpa_archive_index_check(self._index, err), err, self.path)

    def close(self) -> None:
        self._index.object_count = self._index.page_count = 0
        if self._map is not None:
            self._map.close()

    def __enter__(self) -> ArchiveIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def make_index(kind: int, pages: Sequence[IndexedPage], rows: Rows) -> bytes:
    """Return an index of the rows that win. They are sorted as choose() leaves them, and number pages as here."""
    table = _page_table(pages)
    out, err = ffi.new("gpa_buffer *"), new_error()
    status = lib.gpa_archive_index_make(out, kind, table, len(pages), rows._rows, len(rows), err)
    check(status, err, "index")
    try:
        return bytes(ffi.buffer(out.ptr, out.len))
    finally:
        lib.gpa_buffer_free(out)


def _page_table(pages: Iterable[IndexedPage]) -> bytes:
    return b"".join(
        _PAGE_ROW.pack(page.name.encode(), SUPERSEDED * page.superseded | MADE * page.made, page.since)
        for page in pages
    )


# ---- writing ----


class PageFileWriter:
    """A page written to `fd`, an empty file that is `target`. After any error it cannot be continued."""

    def __init__(self, fd: int, target: str) -> None:
        self._target = target
        self.item_count = 0
        out, err = ffi.new("gpa_archive_writer **"), new_error()
        check(lib.gpa_archive_writer_new(out, fd, err), err, target)
        self._pointer: Any = out[0]

    def has_room(self, kind: str, size: int) -> bool:
        """Return whether an object of that type and size has room, or with "" a plain value."""
        return bool(lib.gpa_archive_writer_has_room(self._pointer, CODES.get(kind, 0), size))

    def add(self, key: bytes, kind: str, content: Buffer) -> None:
        """Add an object, or with the type "" a plain value. Its content is not compared with the key."""
        self.begin(key, kind, len(content))
        self.piece(content)

    def begin(self, key: bytes, kind: str, size: int) -> None:
        """Begin a value whose `size` bytes follow in pieces."""
        if len(key) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
        err = new_error()
        check(lib.gpa_archive_writer_begin(self._pointer, key, CODES.get(kind, 0), size, err), err, self._target)
        self.item_count += 1

    def piece(self, content: Buffer) -> None:
        held, err = ffi.from_buffer("unsigned char[]", content), new_error()
        borrowed = ffi.new("gpa_bytes *", (held, len(held)))
        check(lib.gpa_archive_writer_piece(self._pointer, borrowed[0], err), err, self._target)

    def finish(self) -> str:
        """Write header and index, and return the page's name: a UUID made from its content."""
        digest, err = ffi.new("unsigned char[]", KEY_SIZE), new_error()
        check(lib.gpa_archive_writer_finish(self._pointer, digest, err), err, self._target)
        return str(UUID(bytes=bytes(ffi.buffer(digest, 16)), version=4))

    def close(self) -> None:
        lib.gpa_archive_writer_free(self._pointer)
        self._pointer = ffi.NULL

    def __enter__(self) -> PageFileWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


# ---- the values of an archive, from any thread, and after a fork too ----

NO_PAGE = 0xFFFFFFFF
"""The place of a page that a table names and the archive has no more."""


class Table:
    """A sorted index over pages: a file, or an image. Raises Corrupt, Unsupported or FileNotFoundError."""

    def __init__(self, source: str | bytes) -> None:
        out, err = ffi.new("gpa_archive_table **"), new_error()
        if isinstance(source, str):
            check(lib.gpa_archive_table_open(out, os.fsencode(source), err), err, source)
        else:
            held = ffi.from_buffer("unsigned char[]", source)
            image = ffi.new("gpa_bytes *", (held, len(held)))
            check(lib.gpa_archive_table_make(out, image[0], err), err, "index in memory")
        self._pointer = ffi.gc(out[0], lib.gpa_archive_table_free)
        self._index = lib.gpa_archive_table_index(self._pointer)
        self.pages: tuple[IndexedPage, ...] = pages_of(self._index)

    def __len__(self) -> int:
        return int(self._index.object_count)

    def beginning(self, prefix: bytes, most: int) -> list[bytes]:
        """Return the first keys with this prefix, at most `most`."""
        return keys_beginning(self._index, prefix, most)


class Values:
    """The values of an archive. Any number of threads may call. Each result belongs to the caller."""

    def __init__(self, directory: str) -> None:
        """Make an archive without pages. Messages name `directory`."""
        self._directory = directory
        out, err = ffi.new("gpa_archive **"), new_error()
        check(lib.gpa_archive_new(out, err), err, directory)
        self._pointer = ffi.gc(out[0], lib.gpa_archive_free)
        with _FORKING:
            _ARCHIVES.add(self)

    def show(
        self, paths: Sequence[str], tables: Sequence[tuple[Table, Sequence[int]]], saved: int = 0, *, later: int = 0
    ) -> None:
        """Replace the pages of the archive by these, and forget the first `saved` of the waiting values.

        Each table comes with the index in `paths` of each page that it names, or NO_PAGE. The first `later` pages are
        mapped when they are first needed. After DamagedArchive or SystemFailed nothing has changed.
        """
        names = c_strings(paths)
        handles = ffi.new("gpa_archive_table *[]", [table._pointer for table, _ in tables])
        places = [ffi.new("uint32_t[]", list(numbers)) for _, numbers in tables]
        numbers = ffi.new("uint32_t *[]", places)
        shown = ffi.new("gpa_archive_shown *")
        shown.paths = ffi.cast("char const * const *", names)
        shown.count, shown.later, shown.saved = len(paths), later, saved
        shown.tables, shown.table_count = handles, len(tables)
        shown.numbers = ffi.cast("uint32_t const * const *", numbers)
        err = new_error()
        status = lib.gpa_archive_show(self._pointer, shown, err)
        check_page(status, err, paths[err.source] if status and err.source >= 0 else self._directory)

    def has(self, key: bytes) -> bool:
        return bool(lib.gpa_archive_has(self._pointer, _checked(key)) == lib.GPA_OK)

    def locate(self, key: bytes) -> Entry | None:
        """Return the entry of a key, or None. Its `page` is an index into the paths shown.

        Raise DamagedArchive about the page of the entry.
        """
        row, err = ffi.new("gpa_archive_row *"), new_error()
        status = lib.gpa_archive_locate(row, self._pointer, _checked(key), err)
        if status == lib.GPA_ENOTFOUND:
            return None
        self._check(status, err)
        return _entry(_ROW.unpack(ffi.buffer(row)))

    @property
    def counts(self) -> tuple[int, int]:
        """Number of pages mapped, and of searches through all pages for want of a table."""
        mapped, searches = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        lib.gpa_archive_counts(mapped, searches, self._pointer)
        return int(mapped[0]), int(searches[0])

    def read(self, key: bytes) -> tuple[str, bytes]:
        """Return type and content of the git object with that id, checked. An older copy replaces a damaged one.

        Raise ObjectMissing, or DamagedArchive about the newest copy when none is sound.
        """
        lease = self._lent(key, lib.GPA_ARCHIVE_OBJECT)
        kind = TYPES[lease.type]
        return kind, _taken(lease)

    def get(self, key: bytes) -> bytes:
        """Return the stored value. Raise ObjectMissing, or DamagedArchive if it is not inside its page."""
        return _taken(self._lent(key, lib.GPA_ARCHIVE_STORED))

    def check(self, key: bytes, *, objects: bool) -> None:
        """Look the value up as read() does, or where values are not git `objects` as get() does, and copy nothing."""
        lib.gpa_archive_return(self._lent(key, lib.GPA_ARCHIVE_OBJECT if objects else lib.GPA_ARCHIVE_STORED))

    def _lent(self, key: bytes, how: int) -> Any:
        """Return a lease, which the caller has to return to the core."""
        lease, err = ffi.new("gpa_archive_lease *"), new_error()
        status = lib.gpa_archive_lend(lease, self._pointer, _checked(key), how, err)
        if status == lib.GPA_ENOTFOUND:
            raise ObjectMissing(f"no object {key.hex()} in '{self._directory}'")
        self._check(status, err)
        return lease

    def _check(self, status: int, err: Any) -> None:
        """Raise an error about the page that it names."""
        if status:
            check_page(status, err, os.path.join(self._directory, ffi.string(err.file).decode("utf-8", "replace")))

    def add(self, key: bytes, kind: str, content: Buffer) -> None:
        """Add an object, or with "" a plain value, unless the key exists. Unsupported if it is too large."""
        held, err = ffi.from_buffer("unsigned char[]", content), new_error()
        borrowed = ffi.new("gpa_bytes *", (held, len(held)))
        status = lib.gpa_archive_add(self._pointer, _checked(key), CODES.get(kind, 0), borrowed[0], err)
        check(status, err, self._directory)

    @property
    def waiting(self) -> tuple[int, int]:
        """Return how many values wait to be saved, and their bytes."""
        count, size = ffi.new("uint32_t *"), ffi.new("uint64_t *")
        lib.gpa_archive_waiting(count, size, self._pointer)
        return int(count[0]), int(size[0])

    def waiting_value(self, place: int) -> tuple[bytes, bytes]:
        """Return key and value of the waiting value number `place`, counted as they were set."""
        lease = ffi.new("gpa_archive_lease *")
        if lib.gpa_archive_lend_waiting(lease, self._pointer, place):
            raise IndexError(place)
        key = bytes(ffi.buffer(lease.key, KEY_SIZE))
        return key, _taken(lease)

    def all_keys(self) -> list[bytes]:
        """Return all keys, ascending."""
        out, err = ffi.new("gpa_buffer *"), new_error()
        check(lib.gpa_archive_list(out, self._pointer, err), err, self._directory)
        try:
            keys = bytes(ffi.buffer(out.ptr, out.len))
        finally:
            lib.gpa_buffer_free(out)
        return [keys[at : at + KEY_SIZE] for at in range(0, len(keys), KEY_SIZE)]

    def lend_to_libgit2(self, library: str, repository: int) -> None:
        """Let the git_repository at that address read and write here, even after this object is gone.

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
