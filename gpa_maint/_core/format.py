"""Packs, idx files, the combined index and loose objects, read and checked by the C core (csrc/format/gpa_format.h).

The caller closes what it opens: all classes are context managers. Several threads may read from one value at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from ..errors import Corrupt, GpaError, Unsupported
from ._gpa import ffi, lib
from .base import ALGORITHMS, TYPES, Map, Progress, c_strings, check, directory, hash_size, new_error, pointer_of

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any


class IdxFiles:
    """Many idx files of one directory, mapped and parsed: `idx[name]` is a `gpa_idx *`."""

    def __init__(self, pack_dir: str, names: Sequence[str], object_format: str) -> None:
        """Open the idx files of `names`, without suffix. Corrupt names the first bad file; then none stays open."""
        self.names = tuple(names)
        self._array = ffi.new("gpa_idx[]", max(1, len(self.names)))
        self._place = {name: place for place, name in enumerate(self.names)}
        files = [f"{name}.idx" for name in self.names]
        err = new_error()
        with directory(pack_dir) as fd:
            c_names = c_strings(files)
            algorithm = ALGORITHMS[object_format]
            status = lib.gpa_idx_open_many(self._array, len(files), fd, c_names, algorithm, err)
        check(status, err, os.path.join(pack_dir, files[err.source]) if status else pack_dir)

    def __getitem__(self, name: str) -> Any:
        return self._array + self._place[name]

    def __contains__(self, name: str) -> bool:
        return name in self._place

    def object_count(self, name: str) -> int:
        return int(self[name].object_count)

    def close(self) -> None:
        lib.gpa_idx_close_many(self._array, len(self.names))
        self.names = ()

    def __enter__(self) -> IdxFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def idx_fault(pack_dir: str, name: str, object_format: str) -> str:
    """Return why the idx of a pack cannot be used; "" if it can, or does not exist."""
    path = os.path.join(pack_dir, f"{name}.idx")
    try:
        with IdxFiles(pack_dir, [name], object_format) as files:
            check_idx(files[name], path)
    except FileNotFoundError:
        return f"'{path}' is a link that leads nowhere" if os.path.islink(path) else ""
    except (GpaError, OSError) as error:
        return str(error)
    return ""


def idx_object_counts(pack_dir: str, names: Sequence[str], object_format: str) -> list[int | None]:
    """Return the object count of each pack, from its idx; None for an idx that cannot be read."""
    if not names:
        return []
    counts = ffi.new("uint32_t[]", len(names))
    c_names = c_strings([f"{name}.idx" for name in names])
    with directory(pack_dir) as fd:
        lib.gpa_idx_counts(counts, len(names), fd, c_names, ALGORITHMS[object_format])
    return [None if count == lib.GPA_UNREADABLE else count for count in ffi.unpack(counts, len(names))]


class Midx:
    """A combined index, mapped and parsed. Its trailer is not checked until check_trailer()."""

    def __init__(self, path: str, object_format: str) -> None:
        """Open an index. Raises FileNotFoundError, or Corrupt or Unsupported if it does not parse."""
        self.path = path
        self._map = Map(path)
        self.pointer = ffi.new("gpa_midx *")
        err = new_error()
        status = lib.gpa_midx_parse(self.pointer, self._map.bytes_, ALGORITHMS[object_format], err)
        try:
            check(status, err, path)
        except (Corrupt, Unsupported) as error:
            self._map.close()
            error.hint = "no object is lost: remove this file, and 'git gpa write' makes it again from the packs"
            raise
        except BaseException:
            self._map.close()
            raise

    @property
    def size(self) -> int:
        return self._map.size

    @property
    def object_count(self) -> int:
        return int(self.pointer.object_count)

    @property
    def has_bitmap_chunks(self) -> bool:
        return bool(self.pointer.has_bitmap_chunks)

    @property
    def trailer(self) -> str:
        """Return the hash that the file ends with, in hex. It names this index."""
        return self._map.tail(self.pointer.hash_size).hex()

    def pack_names(self) -> tuple[str, ...]:
        """Return the pack names without suffix, in the index's order: a pack's place is its pack_int_id."""
        names, count = self.pointer.names, self.pointer.pack_count
        if not count:
            return ()
        last = names[count - 1]  # in the file they lie one after the other
        texts = ffi.buffer(names[0], last - names[0] + len(ffi.string(last)))
        return tuple(name[:-4] for name in os.fsdecode(bytes(texts)).split("\0"))

    def referenced(self) -> tuple[int, ...]:
        """Return, for each pack, the number of objects whose winner it has."""
        counts = ffi.new("uint32_t[]", max(1, self.pointer.pack_count))
        err = new_error()
        check(lib.gpa_midx_count(counts, self.pointer, err), err, self.path)
        return tuple(ffi.unpack(counts, self.pointer.pack_count))

    def check_trailer(self) -> None:
        """Raise Corrupt if the file's hash is not the one at its end."""
        err = new_error()
        check(lib.gpa_midx_check_trailer(self.pointer, err), err, self.path)

    def is_sound(self) -> bool:
        try:
            self.check_trailer()
        except Corrupt:
            return False
        return True

    def close(self) -> None:
        lib.gpa_midx_free(self.pointer)
        self._map.close()

    def __enter__(self) -> Midx:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def open_midx(path: str, object_format: str) -> Midx | None:
    """Return the combined index, or None when there is no such file."""
    try:
        return Midx(path, object_format)
    except FileNotFoundError:
        return None


def idx_oids(idx: Any, path: str) -> tuple[str, ...]:
    """Return all ids of a pack, in hex, ascending. Raise Corrupt unless the idx, which is the file `path`, is sound."""
    check_idx(idx, path)
    size = int(idx.hash_size)
    raw = bytes(ffi.buffer(lib.gpa_idx_oid(idx, 0), size * int(idx.object_count))) if idx.object_count else b""
    return tuple(raw[at : at + size].hex() for at in range(0, len(raw), size))


def idx_has(idx: Any, oid: str) -> bool:
    """Return whether this idx names the object (hex id)."""
    return bool(lib.gpa_idx_find(ffi.new("uint32_t *"), idx, bytes.fromhex(oid)) == lib.GPA_OK)


def midx_oids(midx: Midx, name: str) -> tuple[str, ...]:
    """Return the ids (hex) of the objects that the combined index has in the pack `name`, which it must name."""
    number = midx.pack_names().index(name)
    pack, offset, err = ffi.new("uint32_t *"), ffi.new("uint64_t *"), new_error()
    found = []
    for place in range(midx.object_count):
        check(lib.gpa_midx_entry(pack, offset, midx.pointer, place, err), err, midx.path)
        if pack[0] == number:
            oid = lib.gpa_midx_oid(midx.pointer, place)
            found.append(bytes(ffi.buffer(oid, midx.pointer.hash_size)).hex())
    return tuple(found)


def check_idx(idx: Any, path: str) -> None:
    """Raise Corrupt unless the idx, which is the file `path`, has the right checksum and its ids ascend."""
    err = new_error()
    check(lib.gpa_idx_check(idx, err), err, path)


def pack_trailer(idx: Any, object_format: str) -> str:
    """Return the checksum (hex) of the pack that an idx belongs to."""
    return bytes(ffi.buffer(idx.pack_trailer, hash_size(object_format))).hex()


def match_pack(pack_path: str, idx: Any) -> None:
    """Raise Corrupt unless the pack's header is sound, and its object count and trailer are those of its idx."""
    err = new_error()
    with Map(pack_path) as pack:
        check(lib.gpa_pack_match(pack.bytes_, idx, err), err, pack_path)


# ---- loose objects ----


def loose_name(oid: str) -> str:
    """Return the path of the loose object `oid` (hex) below the object directory."""
    return f"{oid[:2]}/{oid[2:]}"


def loose_heads(
    objects: str, objects_fd: int, oids: Sequence[str], progress: Progress | None = None
) -> list[tuple[str, int]]:
    """Return type and size of each loose object (hex id) from its header; the type is "" if that cannot be read."""
    heads = ffi.new("gpa_loose_head[]", max(1, len(oids)))
    err = new_error()
    paths = c_strings([loose_name(oid) for oid in oids])
    status = lib.gpa_loose_heads(heads, len(oids), objects_fd, paths, pointer_of(progress), err)
    check(status, err, objects)
    return [(TYPES.get(heads[place].type, ""), heads[place].size) for place in range(len(oids))]


# ---- writing ----


def write_midx(
    fd: int,
    object_format: str,
    *,
    old: Midx | None,
    old_rank: int,
    sources: Sequence[tuple[str, Any, int, int]],
    pack_dir: str,
    progress: Progress | None = None,
) -> tuple[str, int]:
    """Write a combined index to `fd` and return its trailer (hex) and object count.

    `sources`: (name without suffix, gpa_idx * or None, number in `old` or -1, rank), in ascending order of file name.
    """
    c_names = [ffi.new("char[]", os.fsencode(f"{source[0]}.idx")) for source in sources]
    array = ffi.new("gpa_midx_source[]", max(1, len(sources)))
    for slot, name, (_name, idx, old_id, rank) in zip(array, c_names, sources, strict=False):
        slot.name = name
        slot.idx = ffi.NULL if idx is None else idx
        slot.old_id = old_id
        slot.rank = rank
    trailer = ffi.new("unsigned char[]", lib.GPA_OID_MAX)
    count = ffi.new("uint32_t *")
    err = new_error()
    old_pointer = ffi.NULL if old is None else old.pointer
    algorithm = ALGORITHMS[object_format]
    stop = pointer_of(progress)
    status = lib.gpa_midx_write(fd, algorithm, old_pointer, old_rank, array, len(sources), trailer, count, stop, err)
    if status == lib.GPA_ECORRUPT and err.source >= 0:
        path = os.path.join(pack_dir, f"{sources[err.source][0]}.idx")
    else:
        path = (
            old.path if status == lib.GPA_ECORRUPT and old is not None else os.path.join(pack_dir, "multi-pack-index")
        )
    check(status, err, path)
    return bytes(ffi.buffer(trailer, hash_size(object_format))).hex(), int(count[0])


# ---- verifying ----


@contextmanager
def _report() -> Iterator[tuple[Any, list[str]]]:
    """Yield a gpa_report, and the list its lines are in when the block has ended."""
    report = ffi.new("gpa_report *")
    lines: list[str] = []
    try:
        yield report, lines
        lines += [os.fsdecode(ffi.string(report.lines[number])) for number in range(report.count)]
    finally:
        lib.gpa_report_free(report)


def verify_midx(midx: Midx, idx: Sequence[Any], progress: Progress) -> list[str]:
    """Return the findings of `git multi-pack-index verify`, in its words; idx[i] is None if pack i was not loaded."""
    array = ffi.new("gpa_idx *[]", [ffi.NULL if one is None else one for one in idx] or 1)
    err = new_error()
    with _report() as (report, lines):
        check(lib.gpa_midx_verify(report, midx.pointer, array, progress.pointer, err), err, midx.path)
    return lines


def check_pack(pack_path: str, idx: Any, threads: int, progress: Progress) -> list[str]:
    """Return every fault of a pack and its idx: trailer, CRC32 of each entry, id of each object."""
    err = new_error()
    with Map(pack_path) as pack, _report() as (report, lines):
        check(lib.gpa_pack_check(report, pack.bytes_, idx, threads, progress.pointer, err), err, pack_path)
    return lines
