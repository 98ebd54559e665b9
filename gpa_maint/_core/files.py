"""Packs, idx files and the combined index, read through the C core. Whoever opens, closes: all are context managers.

Values of these classes may be read from several threads at once; closing is one thread's business.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from ..errors import Corrupt, GpaError, ObjectMissing, Unsupported
from ._gpa import ffi, lib
from .progress import Progress, pointer_of
from .status import check, new_error

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any

AT_FDCWD = -100
ALGORITHMS = {"sha1": lib.GPA_SHA1, "sha256": lib.GPA_SHA256}


def hash_size(object_format: str) -> int:
    """Bytes of an object id: 20 or 32."""
    return int(lib.gpa_hash_size(ALGORITHMS[object_format]))


def build_info() -> str:
    """The libraries the C core was built with."""
    return bytes(ffi.string(lib.gpa_build_info())).decode()


@contextmanager
def directory(path: str) -> Iterator[int]:
    """A descriptor of a directory, for opening files in it by name."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def close_all(fds: list[int]) -> None:
    """Close descriptors, while other threads run Python."""
    lib.gpa_close_all(fds, len(fds))


class Map:
    """A file mapped read-only; `bytes_` is what the C functions take. SystemFailed or Corrupt when it cannot be."""

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
        """The last `count` bytes."""
        return bytes(ffi.buffer(self.pointer.ptr + (self.size - count), count))

    def close(self) -> None:
        lib.gpa_map_close(self.pointer)

    def __enter__(self) -> Map:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def c_strings(names: Sequence[str]) -> Any:
    """A char *[] of file names, which lie behind it in the same memory: it is all that has to be kept alive.

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


class IdxFiles:
    """Many idx files of one directory, mapped and parsed: `idx[name]` is a `gpa_idx *`."""

    def __init__(self, pack_dir: str, names: Sequence[str], object_format: str) -> None:
        """`names` are pack names without suffix. Corrupt names the first bad file; then none stays open."""
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
    """Why the idx of a pack cannot be used; "" when it can, or is gone."""
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
    """Objects in each pack by its idx; None for an idx that cannot be read."""
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
        """FileNotFoundError when there is none; Corrupt or Unsupported when it does not parse."""
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
        """Hex of the hash the file ends with: the name of this very index."""
        return self._map.tail(self.pointer.hash_size).hex()

    def pack_names(self) -> tuple[str, ...]:
        """Names without suffix, in the index's order: a pack's place is its pack_int_id."""
        names, count = self.pointer.names, self.pointer.pack_count
        if not count:
            return ()
        last = names[count - 1]  # in the file they lie one after the other
        texts = ffi.buffer(names[0], last - names[0] + len(ffi.string(last)))
        return tuple(name[:-4] for name in os.fsdecode(bytes(texts)).split("\0"))

    def referenced(self) -> tuple[int, ...]:
        """For each pack, how many objects it is the winner of."""
        counts = ffi.new("uint32_t[]", max(1, self.pointer.pack_count))
        err = new_error()
        check(lib.gpa_midx_count(counts, self.pointer, err), err, self.path)
        return tuple(ffi.unpack(counts, self.pointer.pack_count))

    def check_trailer(self) -> None:
        """Corrupt when the file's hash is not what it ends with."""
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
    """The combined index, or None when there is no such file."""
    try:
        return Midx(path, object_format)
    except FileNotFoundError:
        return None


def idx_oids(idx: Any, path: str) -> tuple[str, ...]:
    """All ids of a pack, in hex, ascending. Corrupt unless the idx, which is the file `path`, is sound."""
    check_idx(idx, path)
    size = int(idx.hash_size)
    raw = bytes(ffi.buffer(lib.gpa_idx_oid(idx, 0), size * int(idx.object_count))) if idx.object_count else b""
    return tuple(raw[at : at + size].hex() for at in range(0, len(raw), size))


def idx_has(idx: Any, oid: str) -> bool:
    """Does this idx name the object (hex id)?"""
    return bool(lib.gpa_idx_find(ffi.new("uint32_t *"), idx, bytes.fromhex(oid)) == lib.GPA_OK)


def midx_oids(midx: Midx, name: str) -> tuple[str, ...]:
    """Ids (hex) of the objects that the combined index says are in the pack `name`, which it must name."""
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
    """Corrupt unless the idx, which is the file `path`, has the checksum it ends with, and its ids ascend."""
    err = new_error()
    check(lib.gpa_idx_check(idx, err), err, path)


def pack_trailer(idx: Any, object_format: str) -> str:
    """The checksum (hex) of the pack that an idx belongs to."""
    return bytes(ffi.buffer(idx.pack_trailer, hash_size(object_format))).hex()


def match_pack(pack_path: str, idx: Any) -> None:
    """Corrupt unless the pack has a sound header, and the object count and trailer that its idx names."""
    err = new_error()
    with Map(pack_path) as pack:
        check(lib.gpa_pack_match(pack.bytes_, idx, err), err, pack_path)


# ---- writing and proving ----


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


class Proof:
    """I7: that every object of a doomed pack is in a pack that stays; these are told to it as they are opened.

    `outside`: (idx) of packs that stay and that the index, which may be missing, does not name. Packs have numbers:
    those of the index, and after them the outside packs.
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
        """Of the objects that check_copies() made one by one; where that is dear, it checks the whole pack instead."""
        return int(self._proof.bytes_made)

    def add_live(self, number: int, idx: Any) -> None:
        """Pack `number` of the index stays, and this is its idx."""
        self._live[number] = idx

    def is_live(self, number: int) -> bool:
        return bool(self._live[number] != ffi.NULL)

    def begin(self, doomed: Any, trusted: Iterable[int]) -> int:
        """Take the next doomed pack and return its number. What `trusted` packs have is proved already."""
        ffi.memmove(self._trusted, bytes(len(self._trusted)), len(self._trusted))
        for number in trusted:
            self._trusted[number] = 1
        self._doomed.append(doomed)
        return len(self._doomed) - 1

    def holders(self, doomed: int, path: str) -> tuple[list[int], list[int], ObjectMissing | None]:
        """The packs of the index that win an object of `doomed`, the outside packs that hold one of the others, and,
        while some of the winners are not live, what is not proved yet.

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
        """The packs with copies that are relied on and that nobody has compared: (number, first copy, end)."""
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
        """The doomed packs that rely on these copies."""
        return {int(self._proof.holders[at].doomed) for at in range(first, end)}

    def check_copies(self, pack_path: str, span: tuple[int, int, int], progress: Progress | None) -> dict[int, str]:
        """Make these copies and compute their ids: for each doomed pack that relies on a wrong one, an object's id."""
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


# ---- verifying ----


@contextmanager
def _report() -> Iterator[tuple[Any, list[str]]]:
    """A gpa_report, and the list its lines are in when the block has ended."""
    report = ffi.new("gpa_report *")
    lines: list[str] = []
    try:
        yield report, lines
        lines += [os.fsdecode(ffi.string(report.lines[number])) for number in range(report.count)]
    finally:
        lib.gpa_report_free(report)


def verify_midx(midx: Midx, idx: Sequence[Any], progress: Progress) -> list[str]:
    """What `git multi-pack-index verify` finds, in its words; idx[i] is None where pack i could not be loaded."""
    array = ffi.new("gpa_idx *[]", [ffi.NULL if one is None else one for one in idx] or 1)
    err = new_error()
    with _report() as (report, lines):
        check(lib.gpa_midx_verify(report, midx.pointer, array, progress.pointer, err), err, midx.path)
    return lines


def check_pack(pack_path: str, idx: Any, threads: int, progress: Progress) -> list[str]:
    """Everything wrong with a pack and its idx: trailer, CRC32 of each entry, id of each object."""
    err = new_error()
    with Map(pack_path) as pack, _report() as (report, lines):
        check(lib.gpa_pack_check(report, pack.bytes_, idx, threads, progress.pointer, err), err, pack_path)
    return lines
