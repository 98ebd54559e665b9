"""Packs and loose objects into pages, and the proof that a pack may be deleted (csrc/merge/gpa_merge.h).

Each value serves one thread at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from itertools import compress
from types import TracebackType

from ..base.tuples import NamedTuple
from ..errors import Corrupt, GpaError, ObjectMissing
from ._gpa import ffi, lib
from .base import ALGORITHMS, CODES, Buffer, Map, Progress, c_strings, check, hash_size, new_error, pointer_of
from .format import IdxFiles, Midx, loose_name

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any, Self


# ---- packs into pages ----


class MergeStats(NamedTuple):
    """The content of a planned merge. `entry_count` is the number of stored copies that it chose from."""

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
    """An entry of a source is damaged. The merge will not choose it again. `cause` names the file and the fault."""

    def __init__(self, cause: Corrupt) -> None:
        super().__init__(str(cause))
        self.cause = cause


class PageForm(NamedTuple):
    """Bounds of new pages: objects, bytes, depth of delta chains; and zlib's level for objects that are made whole."""

    page_objects: int
    page_bytes: int
    depth: int
    level: int


class Merge:
    """A verbatim merge. Sources are added oldest first; then plan(); then the pages are written in any order."""

    def __init__(
        self,
        pack_dir: str,
        dir_fd: int,
        idx_files: IdxFiles,
        object_format: str,
        form: PageForm,
    ) -> None:
        self._pack_dir = pack_dir
        self._dir_fd = dir_fd
        self._idx_files = idx_files
        self._object_format = object_format
        self._sources: list[str] = []
        self._progress: Progress | None = None  # threads look at it until prove()
        options = ffi.new("gpa_merge_options *")
        options.algo = ALGORITHMS[object_format]
        options.page_objects, options.page_bytes, options.depth, options.level = form
        options.entry_count = sum(idx_files.object_count(name) for name in idx_files.names)
        out = ffi.new("gpa_merge **")
        err = new_error()
        check(lib.gpa_merge_new(out, options, err), err, pack_dir)
        self._pointer: Any = out[0]

    def _path(self, name: str, suffix: str = ".pack") -> str:
        return os.path.join(self._pack_dir, name + suffix)

    def read_ahead(self, names: Sequence[str]) -> None:
        """Have the system read these files, which are added next. A disk is faster with many requests at a time."""
        lib.gpa_files_ahead(len(names), self._dir_fd, c_strings([f"{name}.pack" for name in names]))

    def add(self, name: str, progress: Progress | None = None) -> None:
        """Add a pack. Corrupt names the pack or its idx; the merge then continues without it."""
        err = new_error()
        idx, path = self._idx_files[name], os.fsencode(name + ".pack")
        status = lib.gpa_merge_add(self._pointer, idx, self._dir_fd, path, pointer_of(progress), err)
        if status:
            text = ffi.string(err.text)
            check(status, err, self._path(name, ".idx" if text.startswith((b"idx", b"oid")) else ".pack"))
        self._sources.append(name)

    @property
    def entries_read(self) -> int:
        """Return the number of entries that were read to make objects of chains of deltas."""
        return int(lib.gpa_merge_entries_read(self._pointer))

    def plan(
        self, midx: Midx | None, not_counted: set[str], *, reverse: bool = False, progress: Progress | None = None
    ) -> MergeStats:
        """Decide what goes where. Copies in the packs `not_counted` of `midx` keep no object out of the pages.

        If `conflict_count` is not 0, nothing is planned: sources disagree about objects. See check_all().
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
        """Return the sources that have a copy of an object of this page, in the order in which they were added."""
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
        """Wait until all ids in the pages are proved. Raises the same errors as write_page()."""
        err = new_error()
        status = lib.gpa_merge_prove(self._pointer, err)
        try:
            check(status, err, self._path(self._sources[err.source]) if err.source >= 0 else self._pack_dir)
        except Corrupt as cause:
            raise DamagedCopy(cause) from cause

    def check_all(self, progress: Progress | None = None) -> int:
        """Check every copy of every source, and return how many are damaged. After a conflict every id is computed."""
        damaged = ffi.new("uint32_t *")
        err = new_error()
        self._progress = progress
        status = lib.gpa_merge_check(damaged, self._pointer, pointer_of(progress), err)
        check(status, err, self._path(self._sources[err.source]) if status and err.source >= 0 else self._pack_dir)
        return int(damaged[0])

    def left_out(self) -> list[tuple[str, str]]:
        """Return (pack, oid in hex) of each object that cannot be read from any source."""
        found: list[tuple[str, str]] = []
        oid = ffi.new("unsigned char[]", lib.GPA_OID_MAX)
        source = ffi.new("uint32_t *")
        while lib.gpa_merge_left_out(oid, source, self._pointer, len(found)) == lib.GPA_OK:
            found.append((self._sources[source[0]], bytes(ffi.buffer(oid, hash_size(self._object_format))).hex()))
        return found

    def lies(self) -> list[tuple[str, str]]:
        """Return (pack, oid in hex) of each copy whose content has another id. Another copy of the object is sound."""
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


# ---- objects into a page ----


class BadLoose(GpaError):
    """A loose object is damaged, missing or cannot be read. `cause` names the file and the fault."""

    def __init__(self, cause: GpaError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class PageWriter:
    """A pack of whole objects, written once from its start to `pack_fd`, which is the file `target`."""

    def __init__(self, pack_fd: int, target: str, object_format: str, *, object_count: int, level: int) -> None:
        """Begin a page for exactly `object_count` objects, deflated at zlib's `level`."""
        self._target = target
        self._object_format = object_format
        out = ffi.new("gpa_page **")
        err = new_error()
        status = lib.gpa_page_new(out, pack_fd, ALGORITHMS[object_format], level, object_count, err)
        check(status, err, target)
        self._pointer: Any = out[0]

    def add(self, oid: bytes, kind: str, content: Buffer, progress: Progress | None = None) -> None:
        """Add an object in memory. Corrupt, with the page unchanged, if the content has another id.

        After SystemFailed about `target`, or Stopped, the page is half-written: begin it again.
        """
        err = new_error()
        held = ffi.from_buffer("unsigned char[]", content)
        borrowed = ffi.new("gpa_bytes *", (held, len(held)))
        status = lib.gpa_page_add(self._pointer, oid, CODES[kind], borrowed[0], pointer_of(progress), err)
        check(status, err, self._target if err.source < 0 else oid.hex())

    def finish(self, idx_fd: int) -> str:
        """End the pack, write its idx, and return the pack's trailer (hex)."""
        trailer = ffi.new("unsigned char[]", lib.GPA_OID_MAX)
        err = new_error()
        check(lib.gpa_page_finish(self._pointer, idx_fd, trailer, err), err, self._target)
        return bytes(ffi.buffer(trailer, hash_size(self._object_format))).hex()

    def close(self) -> None:
        lib.gpa_page_free(self._pointer)
        self._pointer = ffi.NULL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class LoosePageWriter(PageWriter):
    """A page of loose objects."""

    def __init__(
        self,
        pack_fd: int,
        target: str,
        objects: str,
        objects_fd: int,
        object_format: str,
        *,
        object_count: int,
        level: int,
    ) -> None:
        """Begin a page as PageWriter does. Loose objects are below `objects`; `objects_fd` is a descriptor of it."""
        super().__init__(pack_fd, target, object_format, object_count=object_count, level=level)
        self._objects = objects
        self._objects_fd = objects_fd

    def add_loose(self, oid: str, progress: Progress | None = None) -> None:
        """Add a loose object (hex id). After any exception the page is half-written: begin it again.

        BadLoose about the loose file, SystemFailed about `target`, Stopped.
        """
        self._take(lib.gpa_page_add_loose, oid, progress)

    def check_loose(self, oid: str, progress: Progress | None = None) -> None:
        """Raise what add_loose() would raise about the loose file, without writing. The page may be half-written."""
        self._take(lib.gpa_page_check_loose, oid, progress)

    def _take(self, call: Callable[..., int], oid: str, progress: Progress | None) -> None:
        err = new_error()
        name, raw = loose_name(oid), bytes.fromhex(oid)
        if len(raw) != hash_size(self._object_format):
            raise ValueError(oid)
        status = call(self._pointer, raw, self._objects_fd, name.encode(), pointer_of(progress), err)
        if status == lib.GPA_OK or err.source < 0:
            check(status, err, self._target)
            return
        try:
            check(status, err, f"{self._objects}/{name}")
        except GpaError as cause:
            raise BadLoose(cause) from cause


# ---- the proof that a pack may be deleted ----


class Proof:
    """I7: the proof that every object of a doomed pack is in a pack that stays.

    `outside` are the idx files of packs that stay and that the index, which may be missing, does not name. Packs of the
    index have its numbers, and outside packs the numbers after those.
    """

    def __init__(self, midx: Midx | None, outside: Sequence[Any] = ()) -> None:
        self._pack_count = 0 if midx is None else int(midx.pointer.pack_count)
        self._live = ffi.new("gpa_idx *[]", max(1, self._pack_count))
        self._outside = ffi.new("gpa_idx *[]", list(outside) or 1)
        self._outside_count = len(outside)
        self._trusted = ffi.new("unsigned char[]", max(1, self._pack_count + len(outside)))
        self._doomed: list[Any] = []
        self._proof = ffi.new("gpa_proof *")
        self._proof.midx = ffi.NULL if midx is None else midx.pointer
        self._proof.live, self._proof.outside, self._proof.trusted = self._live, self._outside, self._trusted
        self._proof.outside_count = len(outside)

    def close(self) -> None:
        lib.gpa_proof_free(self._proof)

    def __enter__(self) -> Proof:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @property
    def bytes_made(self) -> int:
        """Return the bytes of objects that check_copies() made one by one. If too many, it checks the whole pack."""
        return int(self._proof.bytes_made)

    def add_live(self, number: int, idx: Any) -> None:
        """Add the idx of pack `number` of the index, which stays."""
        self._live[number] = idx

    def is_live(self, number: int) -> bool:
        return bool(self._live[number] != ffi.NULL)

    def begin(self, doomed: Any, trusted: Iterable[int]) -> int:
        """Take the next doomed pack and return its number. Copies in `trusted` packs need no further proof."""
        ffi.memmove(self._trusted, bytes(len(self._trusted)), len(self._trusted))
        for number in trusted:
            self._trusted[number] = 1
        self._doomed.append(doomed)
        return len(self._doomed) - 1

    def holders(self, doomed: int, path: str) -> tuple[list[int], list[int], ObjectMissing | None]:
        """Return the packs that hold the objects of `doomed`, and the objects that are not proved yet.

        The first are packs of the index that win an object, the second packs outside it that hold one of the others.
        Objects are not proved while some of the winners are not live.

        Raises ObjectMissing when an object is in no pack that stays.
        """
        flags = ffi.new("unsigned char[]", max(1, self._pack_count))
        used = ffi.new("unsigned char[]", max(1, self._outside_count))
        err = new_error()
        status = lib.gpa_midx_prove(flags, used, self._proof, self._doomed[doomed], doomed, err)
        winners, outside = _places_of_ones(bytes(ffi.buffer(flags))), _places_of_ones(bytes(ffi.buffer(used)))
        try:
            check(status, err, path)
        except ObjectMissing as missing:
            if all(self.is_live(number) for number in winners):
                raise
            return winners, outside, missing
        return winners, outside, None

    def unchecked(self) -> list[tuple[int, int, int]]:
        """Return the packs with copies that the proof needs and that were never compared: (number, first copy, end)."""
        lib.gpa_proof_sort(self._proof)
        spans: list[tuple[int, int, int]] = []
        at, count = 0, int(self._proof.holder_count)
        while at < count:
            pack = int(self._proof.holders[at].pack)
            end = int(lib.gpa_proof_span(self._proof, at))
            spans.append((pack, at, end))
            at = end
        return spans

    def doomed_among(self, first: int, end: int) -> set[int]:
        """Return the doomed packs that rely on these copies."""
        return {int(self._proof.holders[at].doomed) for at in range(first, end)}

    def check_copies(self, pack_path: str, span: tuple[int, int, int], progress: Progress | None) -> dict[int, str]:
        """Make these copies and compute their ids. Return {doomed pack: id of an object whose copy is wrong}."""
        number, first, end = span
        in_index = number < self._pack_count
        idx = self._live[number] if in_index else self._outside[number - self._pack_count]
        doomed = ffi.new("gpa_idx *[]", self._doomed)
        err = new_error()
        with Map(pack_path) as pack:
            status = lib.gpa_proof_check(self._proof, first, end, pack.bytes_, idx, doomed, pointer_of(progress), err)
        check(status, err, pack_path)
        wrong: dict[int, str] = {}
        at = int(lib.gpa_proof_next_other(self._proof, first, end))
        while at < end:
            holder = self._proof.holders[at]
            oid = lib.gpa_idx_oid(self._doomed[holder.doomed], holder.pos)
            wrong.setdefault(int(holder.doomed), bytes(ffi.buffer(oid, idx.hash_size)).hex())
            at = int(lib.gpa_proof_next_other(self._proof, at + 1, end))
        return wrong


def _places_of_ones(flags: bytes) -> list[int]:
    places = []
    at = flags.find(1)
    while at >= 0:
        places.append(at)
        at = flags.find(1, at + 1)
    return places
