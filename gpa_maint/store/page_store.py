"""PageStore: read every object of a repository, from any thread, while maintenance runs.

A store is opened once and kept open. It finds new packs by itself, and raises no error because an object has moved.
Arguments may be raw ids (20 or 32 bytes), hexadecimal str or bytes, or pygit2.Oid; returned ids are raw.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._core.lend import Batch, BatchOptions, lend_to_libgit2
from .._core.read import Reader, ReaderStats, StreamHandle
from ..base.arguments import THREADS, check, check_all, hex_prefix, raw_oid
from ..base.safe_open import open_regular
from ..base.tuples import NamedTuple
from ..errors import AmbiguousPrefix, Corrupt, GitFailed, GpaError, ObjectMissing
from ..repo.discover import alternates_here, find_object_dir, object_dir_at, with_alternates
from ..repo.git import run_git
from .memory import default_map_bytes

if TYPE_CHECKING:  # start-up cost: reading does without it
    from ..base.arguments import Oid
    from .writer import Writer

CACHE_BYTES = 96 << 20  # git's core.deltaBaseCacheLimit
MAP_COUNT = 8192  # an eighth of Linux's bound for a process
PREFIX_LEAST = 4  # hex digits, as in git
CANDIDATES = 64
FORMATS = {38: "sha1", 62: "sha256"}  # by the length of a loose object's file name

_new_tuple = tuple.__new__


class ObjectInfo(NamedTuple):
    """Type ("commit", "tree", "blob" or "tag") and size (bytes) of an object."""

    type: str
    size: int


class Location(NamedTuple):
    """Place of an entry in a pack; `base_offset` is that of its delta base in the pack, 0 for none."""

    pack: str
    offset: int
    base_offset: int


class ObjectStream(io.RawIOBase):
    """An object's content as a file, for one thread at a time. Memory is constant if the object is no delta."""

    def __init__(self, handle: StreamHandle) -> None:
        self._handle = handle
        self._at = 0
        self.type = handle.type
        self.size = handle.size

    def readable(self) -> bool:
        return True

    def readinto(self, out: Any) -> int:
        """Fill `out`, and return the number of bytes, less only at the end. Raise Corrupt for a damaged object."""
        if self.closed:
            raise ValueError("read of closed stream")
        got = self._handle.readinto(out)
        self._at += got
        return got

    def readall(self) -> bytes:
        rest = bytearray(self.size - self._at)
        self.readinto(rest)
        return bytes(rest)

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        if not self.closed:
            self._handle.close()
        super().close()


def expect_store(store: object) -> None:
    """Raise TypeError if the argument is not a store; for integrations."""
    if not isinstance(store, PageStore):
        raise TypeError(f"store is a gpa_maint.PageStore, not {type(store).__name__}")


class _Closed:
    """Stand-in for the reader of a closed store."""

    def __getattr__(self, name: str) -> Any:
        raise ValueError("the store is closed")


class PageStore:
    """The objects of one object directory and of its alternates.

    Any number of threads may use a store at once, and a forked process may continue to use it. A missing object raises
    ObjectMissing. A damaged copy is skipped if there is another one; otherwise Corrupt names the file. The store keeps
    no file descriptor open.
    """

    def __init__(
        self,
        objects_dir: str | os.PathLike[str],
        *,
        object_format: str | None = None,
        alternates: Iterable[str | os.PathLike[str]] = (),
        verify: bool = False,
        cache_bytes: int = CACHE_BYTES,
        map_bytes: int | None = None,
        map_count: int = MAP_COUNT,
    ) -> None:
        """Open the store of an object directory; see open() for the options."""
        alternates = tuple(alternates) if isinstance(alternates, Iterator) else alternates
        check_all(objects_dir=objects_dir, object_format=object_format, alternates=alternates, verify=verify)
        check_all(cache_bytes=cache_bytes, map_bytes=map_bytes, map_count=map_count)
        self.path = os.path.realpath(os.fspath(objects_dir))
        if not os.path.isdir(self.path):
            raise GpaError(f"object directory '{self.path}' does not exist")
        self.object_format = object_format or _object_format(self.path)
        self._alternates = tuple(os.path.realpath(path) for path in alternates)
        self._options: dict[str, Any] = {
            "verify": verify,
            "cache_bytes": cache_bytes,
            "map_bytes": default_map_bytes() if map_bytes is None else map_bytes,
            "map_count": map_count,
        }
        self._reader: Reader | _Closed = self._open_reader()
        self._oid_size = self._reader.hash_size
        self._writer: Writer | None = None
        self._opening = threading.Lock()

    @classmethod
    def open(cls, objects_dir: str | os.PathLike[str], **options: Any) -> PageStore:
        """Return the store of an object directory, as `.git/objects`.

        With `verify`, each object that is read is hashed. Memory is limited by `cache_bytes` for delta bases, 1 MiB for
        each thread, and about `map_bytes` for mapped packs, of at most `map_count` files. Mapped memory belongs to the
        page cache, and the kernel reclaims it when needed. The default of `map_bytes` (None) is half of the memory of
        the machine or of this process's control group, 256 MiB to 8 GiB, and at most a quarter of RLIMIT_AS. The store
        detects `object_format` if it is not given. `alternates` are searched in addition to objects/info/alternates.
        """
        return cls(objects_dir, **options)

    @classmethod
    def for_repository(cls, path: str | os.PathLike[str] | None = None, **options: Any) -> PageStore:
        """Return the store of the repository at `path` (default: the current directory), worktrees included."""
        check("path", path)
        found = find_object_dir(path)
        if path is None:
            options["alternates"] = (*alternates_here(), *options.get("alternates", ()))
        return cls(found.objects, object_format=found.object_format, **options)

    # -- Single objects. A Python call costs as much as a look-up, so the most frequent methods make few calls.

    def __contains__(self, oid: Oid) -> bool:
        """Return whether the object exists, without reading its content. False if no copy of it is sound."""
        if type(oid) is not bytes or len(oid) != self._oid_size:
            oid = self._raw(oid)
        try:
            return self._reader.has(oid)
        except Corrupt:
            return False

    def info(self, oid: Oid) -> ObjectInfo:
        """Return type and size, from headers alone."""
        if type(oid) is not bytes or len(oid) != self._oid_size:
            oid = self._raw(oid)
        return _new_tuple(ObjectInfo, self._reader.info(oid))

    def read(self, oid: Oid) -> tuple[str, bytes]:
        """Return type and content."""
        if type(oid) is not bytes or len(oid) != self._oid_size:
            oid = self._raw(oid)
        return self._reader.read(oid)

    def stream(self, oid: Oid) -> ObjectStream:
        """Return the object as a readable file with `type` and `size`: close it, or use it in a `with`."""
        return ObjectStream(self._open().stream(self._raw(oid)))

    def locate(self, oid: Oid) -> Location | None:
        """Return the place of the copy that is read; None for a loose object. Maintenance may move it later."""
        found = self._open().locate(self._raw(oid))
        return None if found is None else Location(*found)

    # -- Many objects

    def read_many(self, oids: Iterable[Oid], *, threads: int | None = None) -> list[tuple[str, bytes]]:
        """Return type and content of each object, in the given order. `threads` is one for each processor by default.

        This is faster than reading one by one, because objects are read in the order in which they are stored. Raises
        ObjectMissing if one is missing.
        """
        return self._open().read_many(b"".join(self._raws(oids)), _count(threads))

    def info_many(self, oids: Iterable[Oid], *, threads: int | None = None) -> list[ObjectInfo | None]:
        """Return type and size of each object, in order; None for a missing one. `threads` as in read_many()."""
        reader, raw = self._open(), b"".join(self._raws(oids))
        return reader.info_many(raw, _count(threads), ObjectInfo._make)

    def missing(self, oids: Iterable[Oid], *, threads: int | None = None) -> list[bytes]:
        """Return the raw ids of the missing objects, in order. One call looks all of them up: use it to sync."""
        raw = self._raws(oids)
        here = self._open().has_many(b"".join(raw), _count(threads))
        return [oid for oid, is_here in zip(raw, here, strict=True) if not is_here]

    def expand_prefix(self, prefix: str | bytes) -> bytes:
        """Return the one id that begins with these hex digits, at least four.

        Raises ObjectMissing if there is none, or AmbiguousPrefix with the first candidates if there are several.
        """
        prefix = hex_prefix(prefix, PREFIX_LEAST, self._oid_size)
        digits = len(prefix)
        raw = bytes.fromhex(prefix.ljust(2 * self._oid_size, "0"))
        found, _more = self._open().expand(raw, digits, CANDIDATES)
        if not found:
            raise ObjectMissing(f"no object {prefix} in '{self.path}'")
        if len(found) > 1:
            raise AmbiguousPrefix(prefix, tuple(found))
        return found[0]

    def __iter__(self) -> Iterator[bytes]:
        """Yield all current ids, ascending, each once."""
        return self.oid_blocks(1)

    def oid_blocks(self, count: int) -> Iterator[bytes]:
        """Yield all current ids, ascending, in concatenated blocks of `count`."""
        check("count", count)
        ids, size = self._open().list(), self._oid_size * count
        return (ids[at : at + size] for at in range(0, len(ids), size))

    def _stored_blocks(self, count: int, threads: int) -> Iterator[bytes]:
        """Yield all current ids in blocks of `count`, in the order in which the objects are stored; for cat_file.py."""
        reader, size = self._open(), self._oid_size * count
        ids = reader.order(reader.list(), threads)
        return (ids[at : at + size] for at in range(0, len(ids), size))

    def __len__(self) -> int:
        """Count the objects; each call counts again."""
        return len(self._open().list()) // self._oid_size

    def _cat_file(self, **options: Any) -> Batch:
        """Return an object that answers as `git cat-file --batch` does; for cat_file.py."""
        return Batch(self._open(), BatchOptions(**options))

    # -- Writing

    def writer(
        self,
        *,
        durability: str | None = None,
        level: int | None = None,
        page_objects: int | None = None,
        page_bytes: int | None = None,
        deltas: bool | None = None,
    ) -> Writer:
        """Return the store's writer, shared by all threads. The first call opens it, and the first after it was closed.

        `durability` says which objects survive a power cut: "journal" all added objects, "page" the sealed ones (so
        every commit), "none" no object for sure. The default follows core.fsync, and is "page" without that setting.
        `level` is zlib's (pack.compression); `page_objects` and `page_bytes` are gpa.pageObjects and gpa.pageBytes.
        With `deltas`, trees and blobs may be stored as deltas on others of the same page (gpa.sealDeltas).
        Raises ValueError if a writer is open and options are given.
        """
        options = {
            "durability": durability,
            "level": level,
            "page_objects": page_objects,
            "page_bytes": page_bytes,
            "deltas": deltas,
        }
        given = {name: value for name, value in options.items() if value is not None}
        check_all(**{name: value for name, value in given.items() if name != "durability"})
        with self._opening:
            writer = self._writer
            if writer is None or writer.is_closed:
                writer = self._writer = self._open_writer(given)
            elif given:
                raise ValueError(f"the store has a writer already; it cannot take another {next(iter(given))}")
            return writer

    def _open_writer(self, given: dict[str, Any]) -> Writer:
        from .writer import Writer

        objdir = object_dir_at(self.path, self.object_format)
        settings = objdir.settings
        options: dict[str, Any] = {
            "durability": settings.durability,
            "level": settings.compression,
            "page_objects": settings.page_objects,
            "page_bytes": settings.page_bytes,
            "deltas": settings.seal_deltas,
            **given,
        }
        if options["durability"] not in ("none", "page", "journal"):
            raise ValueError(f"'{options['durability']}' is not none, page or journal")
        return Writer(self._open(), objdir, **options)

    @contextmanager
    def batch(self) -> Iterator[Writer]:
        """Run Writer.batch() of this store's writer."""
        with self.writer().batch() as writer:
            yield writer

    def seal(self) -> None:
        """Call Writer.seal() if there is a writer, so that every process sees the objects added through this store."""
        writer = self._writer
        if writer is not None and not writer.is_closed:
            writer.seal()

    # -- The store itself

    def refresh(self) -> None:
        """Scan the directories now, and read the list of alternates, which no other call reads again."""
        reader = self._open()
        if reader.dirs == tuple(with_alternates(self.path, *self._alternates)):
            reader.refresh()
            return
        with self._opening:
            self._reader = self._open_reader()
            if self._writer is not None and not self._writer.is_closed:
                self._writer.move(self._reader)

    def stats(self) -> ReaderStats:
        """Return counters, for tests and for tuning."""
        return self._open().stats()

    def _lend_to_libgit2(self, library: str, repository: int, *, replace: bool, write: bool, fsync: bool) -> object:
        """Let a libgit2 repository read through this store, also after close(); for integrations/libgit2.py.

        With `write` it writes through the store's writer, until close(). The returned object must live as long as the
        repository: it makes forks safe, and seals waiting objects when it is freed.
        """
        reader, writer = self._open(), self.writer().lend() if write else None
        lend_to_libgit2(library, repository, reader, writer, replace=replace, fsync=fsync)
        return reader, writer

    def close(self) -> None:
        """Close the store. Calls of other threads and open streams can finish; then maps and cache are freed.

        The writer is closed first. If that fails, the store stays open.
        """
        with self._opening:
            if self._writer is not None:
                self._writer.end()
        reader, self._reader = self._reader, _Closed()
        if isinstance(reader, Reader):
            reader.close()

    def __enter__(self) -> PageStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        found = {"object_format": self.object_format, "alternates": self._alternates}
        return _reopen, (type(self), self.path, found | self._options)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r})"

    def _open(self) -> Reader:
        reader = self._reader
        if not isinstance(reader, Reader):
            raise ValueError("the store is closed")
        return reader

    def _open_reader(self) -> Reader:
        return Reader(with_alternates(self.path, *self._alternates), self.object_format, **self._options)

    def _raws(self, oids: Iterable[Oid]) -> list[bytes]:
        if isinstance(oids, str | bytes) or not isinstance(oids, Iterable):
            raise TypeError(f"oids is a list of ids of objects, not {type(oids).__name__}")
        given: list[Any] = list(oids)
        if {*map(type, given)} == {bytes} and {*map(len, given)} == {self._oid_size}:
            return given
        return [self._raw(oid) for oid in given]

    def _raw(self, oid: Oid) -> bytes:
        return raw_oid(oid, self._oid_size)


def _count(threads: int | None) -> int:
    check("threads", threads, THREADS)
    return threads or len(os.sched_getaffinity(0))


def _reopen(cls: type[PageStore], path: str, options: dict[str, Any]) -> PageStore:
    return cls(path, **options)


def _object_format(objects: str) -> str:
    """Return the object format by the first idx, else by the first loose object; ask git about an empty directory."""
    for name in _names(os.path.join(objects, "pack")):
        with suppress(OSError):
            if name.startswith("pack-") and name.endswith(".idx"):
                return _format_of_idx(objects, name)
    for first in range(256):
        for name in _names(os.path.join(objects, f"{first:02x}")):
            if len(name) in FORMATS:
                return FORMATS[len(name)]
    try:
        return run_git(["rev-parse", "--show-object-format"], cwd=objects).strip()
    except GitFailed:
        return "sha1"


def _format_of_idx(objects: str, name: str) -> str:
    """Return the format by an idx's name. A name of 40 digits may be dulwich's; then the file size decides."""
    if len(name) == len("pack-.idx") + 64:
        return "sha256"
    with open(open_regular(os.path.join(objects, "pack", name)), "rb") as file:
        head, size = file.read(8 + 1024), os.fstat(file.fileno()).st_size
    at, others = (8, 8) if head.startswith(b"\377tOc") else (0, 4)  # version 2, with CRC32s, or 1
    count = int.from_bytes(head[at + 1020 : at + 1024], "big")
    return "sha256" if size == at + 1024 + count * (32 + others) + 2 * 32 else "sha1"


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
