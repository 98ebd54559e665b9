"""The verbatim merge of the C core, as one value that holds its sources open. One thread at a time."""

from __future__ import annotations

import os
from itertools import compress
from types import TracebackType

from ..base.tuples import NamedTuple
from ..errors import Corrupt, GpaError
from ._gpa import ffi, lib
from .files import ALGORITHMS, IdxFiles, Midx, c_strings, hash_size
from .progress import Progress, pointer_of
from .status import check, new_error

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class MergeStats(NamedTuple):
    """What a planned merge will write. `entry_count` are the stored copies it chose from."""

    entry_count: int
    object_count: int
    page_count: int
    rebuilt_count: int
    cut_count: int
    made_count: int
    left_out_count: int
    conflict_count: int
    expected_bytes: int


class DamagedCopy(GpaError):
    """A source's entry is damaged; the merge will not choose it again. `cause` says what is wrong with which file."""

    def __init__(self, cause: Corrupt) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Merge:
    """Sources are added oldest first, then plan(), then the pages are written in any order."""

    def __init__(
        self,
        pack_dir: str,
        dir_fd: int,
        idx_files: IdxFiles,
        object_format: str,
        *,
        page_objects: int,
        page_bytes: int,
        depth: int,
        level: int,
    ) -> None:
        self._pack_dir = pack_dir
        self._dir_fd = dir_fd
        self._idx_files = idx_files
        self._object_format = object_format
        self._sources: list[str] = []
        self._progress: Progress | None = None  # threads look at it until prove()
        options = ffi.new("gpa_merge_options *")
        options.algo = ALGORITHMS[object_format]
        options.page_objects = page_objects
        options.page_bytes = page_bytes
        options.depth = depth
        options.level = level
        options.entry_count = sum(idx_files.object_count(name) for name in idx_files.names)
        out = ffi.new("gpa_merge **")
        err = new_error()
        check(lib.gpa_merge_new(out, options, err), err, pack_dir)
        self._pointer: Any = out[0]

    def _path(self, name: str, suffix: str = ".pack") -> str:
        return os.path.join(self._pack_dir, name + suffix)

    def read_ahead(self, names: Sequence[str]) -> None:
        """These are added next: a disk that is read in many places at once is several times faster."""
        lib.gpa_files_ahead(len(names), self._dir_fd, c_strings([f"{name}.pack" for name in names]))

    def add(self, name: str, progress: Progress | None = None) -> None:
        """Add a pack. Corrupt names the pack or its idx; the merge then goes on without it."""
        err = new_error()
        idx, path = self._idx_files[name], os.fsencode(name + ".pack")
        status = lib.gpa_merge_add(self._pointer, idx, self._dir_fd, path, pointer_of(progress), err)
        if status:
            text = ffi.string(err.text)
            check(status, err, self._path(name, ".idx" if text.startswith((b"idx", b"oid")) else ".pack"))
        self._sources.append(name)

    @property
    def entries_read(self) -> int:
        """How many entries were read to make objects of chains of deltas."""
        return int(lib.gpa_merge_entries_read(self._pointer))

    def plan(
        self, midx: Midx | None, not_counted: set[str], *, reverse: bool = False, progress: Progress | None = None
    ) -> MergeStats:
        """Decide what goes where. `not_counted`: the packs of `midx` whose copies keep no object out of the pages.

        A `conflict_count` says that nothing is planned: sources lie about objects, and check_all() finds out which.
        """
        stats = ffi.new("gpa_merge_stats *")
        err = new_error()
        sources: Any = ffi.NULL
        pointer: Any = ffi.NULL
        if midx is not None:
            numbers = dict.fromkeys(not_counted, lib.GPA_NOT_COUNTED)
            numbers |= {name: number for number, name in enumerate(self._sources)}
            sources = ffi.new("uint32_t[]", [numbers.get(name, lib.GPA_NO_SOURCE) for name in midx.pack_names()] or 1)
            pointer = midx.pointer
        self._progress = progress
        status = lib.gpa_merge_plan(stats, self._pointer, pointer, sources, int(reverse), pointer_of(progress), err)
        check(status, err, midx.path if midx is not None else self._pack_dir)
        return MergeStats(
            entry_count=stats.entry_count,
            object_count=stats.object_count,
            page_count=stats.page_count,
            rebuilt_count=stats.rebuilt_count,
            cut_count=stats.cut_count,
            made_count=stats.made_count,
            left_out_count=stats.left_out_count,
            conflict_count=stats.conflict_count,
            expected_bytes=stats.bytes,
        )

    def page_objects(self, page: int) -> int:
        info = ffi.new("gpa_page_info *")
        lib.gpa_merge_page(info, self._pointer, page)
        return int(info.object_count)

    def page_sources(self, page: int) -> tuple[str, ...]:
        """The sources that have a copy of an object of this page, in the order in which they were added."""
        flags = ffi.new("unsigned char[]", len(self._sources) or 1)
        lib.gpa_merge_page_sources(flags, self._pointer, page)
        return tuple(compress(self._sources, bytes(ffi.buffer(flags))))

    def write_page(self, page: int, pack_fd: int, idx_fd: int, target: str, progress: Progress | None = None) -> str:
        """Write a page and its idx; return the pack's trailer (hex).

        DamagedCopy when a source entry fails its check: plan again. SystemFailed about `target` when writing fails,
        or about the source when it cannot be read (errno ENOENT: it is gone). Stopped leaves an unfinished page.
        """
        trailer = ffi.new("unsigned char[]", lib.GPA_OID_MAX)
        err = new_error()
        self._progress = progress
        status = lib.gpa_merge_write(self._pointer, page, pack_fd, idx_fd, trailer, pointer_of(progress), err)
        path = self._path(self._sources[err.source]) if status and err.source >= 0 else target
        try:
            check(status, err, path)
        except Corrupt as cause:
            raise DamagedCopy(cause) from cause
        return bytes(ffi.buffer(trailer, hash_size(self._object_format))).hex()

    def prove(self) -> None:
        """Wait for the proofs of the pages: what they call an object is that object. Raises what write_page() does."""
        err = new_error()
        status = lib.gpa_merge_prove(self._pointer, err)
        try:
            check(status, err, self._path(self._sources[err.source]) if err.source >= 0 else self._pack_dir)
        except Corrupt as cause:
            raise DamagedCopy(cause) from cause

    def check_all(self, progress: Progress | None = None) -> int:
        """Check every copy of every source; how many are damaged. In doubt about ids, every id is computed."""
        damaged = ffi.new("uint32_t *")
        err = new_error()
        self._progress = progress
        status = lib.gpa_merge_check(damaged, self._pointer, pointer_of(progress), err)
        check(status, err, self._path(self._sources[err.source]) if status and err.source >= 0 else self._pack_dir)
        return int(damaged[0])

    def left_out(self) -> list[tuple[str, str]]:
        """(pack, oid in hex) of each object that no source can give."""
        found: list[tuple[str, str]] = []
        oid = ffi.new("unsigned char[]", lib.GPA_OID_MAX)
        source = ffi.new("uint32_t *")
        while lib.gpa_merge_left_out(oid, source, self._pointer, len(found)) == lib.GPA_OK:
            found.append((self._sources[source[0]], bytes(ffi.buffer(oid, hash_size(self._object_format))).hex()))
        return found

    def lies(self) -> list[tuple[str, str]]:
        """(pack, oid in hex) of each copy that is another object than its idx says; the object is sound elsewhere."""
        found: list[tuple[str, str]] = []
        oid = ffi.new("unsigned char[]", lib.GPA_OID_MAX)
        source, at = ffi.new("uint32_t *"), ffi.new("uint32_t *")
        while lib.gpa_merge_lie(oid, source, at, self._pointer) == lib.GPA_OK:
            found.append((self._sources[source[0]], bytes(ffi.buffer(oid, hash_size(self._object_format))).hex()))
        return found

    def close(self) -> None:
        lib.gpa_merge_free(self._pointer)
        self._pointer = ffi.NULL

    def __enter__(self) -> Merge:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
