"""Sending and receiving packs, for dulwich.py, which alone imports it."""

from __future__ import annotations

import os
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import ExitStack, suppress
from typing import BinaryIO

from dulwich.object_format import ObjectFormat, get_object_format
from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, RawObjectID, ShaFile
from dulwich.pack import REF_DELTA, Pack, PackData, PackFileDisappeared, UnpackedObject

from .. import fs
from ..errors import ObjectMissing
from ..store.page_store import PageStore

IDX_NAMES_AT = 8 + 4 * 256
"""where the ids begin in an idx of version 2"""

SMALL_OBJECTS = 2000
SMALL_BYTES = 16 << 20
"""Number of whole objects that become a page; all of them are in memory first."""

Entries = dict[int, tuple[bytes, int]]
"""of one pack: offset -> id, and the offset of the delta base"""


def stored_deltas(pages: PageStore, oids: Set[bytes], rest: list[bytes]) -> Iterator[UnpackedObject]:
    """Yield the objects that are stored as a delta on another of them in the same pack; add the others to `rest`."""
    packs: dict[str, Entries] = defaultdict(dict)
    for oid in oids:
        try:
            place = pages.locate(oid)
        except ObjectMissing:
            place = None
        if place is None:
            rest.append(oid)
        else:
            packs[place.pack][place.offset] = oid, place.base_offset
    for pack, entries in packs.items():
        yield from _deltas_in(pack, pages.object_format, entries, rest)


def _deltas_in(pack: str, object_format: str, entries: Entries, rest: list[bytes]) -> Iterator[UnpackedObject]:
    """Yield deltas of one pack; add all its objects to `rest` if the pack is gone or damaged."""
    deltas = {at: entries[base][0] for at, (_, base) in entries.items() if base in entries}
    rest += [oid for at, (oid, _) in entries.items() if at not in deltas]
    left = sorted(deltas, reverse=True)  # from its end, so that bases come first
    try:
        with PackData(pack, get_object_format(object_format)) as data:
            while left:
                program = data.get_unpacked_object_at(left[-1]).decomp_chunks
                at = left.pop()
                yield UnpackedObject(REF_DELTA, delta_base=deltas[at], sha=entries[at][0], decomp_chunks=program)
    except (FileNotFoundError, zlib.error):
        rest += [entries[at][0] for at in left]


def take_small(
    coming: Iterator[UnpackedObject], count: int, object_format: ObjectFormat
) -> tuple[list[UnpackedObject], list[ShaFile] | None]:
    """Return the entries read from `coming`, and their objects if these are all of `count`, few, and whole; else None.

    Raises dulwich's ObjectFormatException for an object that does not parse, as dulwich does for a pack.
    """
    taken: list[UnpackedObject] = []
    size = 0
    is_small = 0 < count <= SMALL_OBJECTS
    while is_small and (one := next(coming, None)) is not None:
        taken.append(one)
        size += sum(map(len, one.decomp_chunks))
        is_small = _is_whole(one) and size <= SMALL_BYTES and len(taken) <= count
    if not is_small or len(taken) != count:
        return taken, None
    parse = ShaFile.from_raw_chunks
    return taken, [parse(one.pack_type_num, one.decomp_chunks, object_format=object_format) for one in taken]


def _is_whole(one: UnpackedObject) -> bool:
    return (
        one.delta_base is None and 1 <= one.pack_type_num <= 4 and (one.comp_chunks is None or bool(one.decomp_chunks))
    )


class Housekeeper(DiskObjectStore):
    """Return dulwich's own store beside `home`, for rewriting existing objects, which a writer would skip."""

    def __init__(self, home: DiskObjectStore) -> None:
        vars(self).update(vars(home), _pack_cache={}, _pack_access_order=[], _alternates=None, _midx=None)
        self._home = home

    def get_raw(self, name: ObjectID | RawObjectID) -> tuple[int, bytes]:
        return self._home.get_raw(name)

    def add_pack(self) -> tuple[BinaryIO, Callable[[], None], Callable[[], None]]:
        return self._home.add_pack()


class Inbox(Housekeeper):
    """Receives one pack, with the settings of its store.

    DiskObjectStore opens every pack to find one with the same objects, and leaves the new one open. With thousands of
    packs it runs out of descriptors, and a pack that vanishes meanwhile is an error.
    """

    def __init__(self, home: DiskObjectStore) -> None:
        super().__init__(home)
        self._base = ""
        self._names = b""
        self._held = ExitStack()

    def close(self) -> None:
        super().close()
        self._held.close()

    def add_pack(self) -> tuple[BinaryIO, Callable[[], None], Callable[[], None]]:
        return DiskObjectStore.add_pack(self)

    def _get_pack_basepath(self, entries: Iterable[tuple[bytes, int, int | None]]) -> str:
        sorted_entries = list(entries)
        self._names = b"".join(entry[0] for entry in sorted_entries)
        self._base = super()._get_pack_basepath(sorted_entries)
        self._held.enter_context(fs.held_as_new(self._base))
        return self._base

    @property
    def packs(self) -> list[Pack]:
        """Packs that hold the same objects as the new one."""
        with os.scandir(self.pack_dir) as files:
            bases = [file.path[:-4] for file in files if file.name.endswith(".idx") and self._seems_the_same(file)]
        for base in bases:
            pack = Pack(base, object_format=self.object_format)
            with suppress(PackFileDisappeared):
                if len(pack.index):  # which is open from now on
                    self._add_cached_pack(os.path.basename(base), pack)
        return list(self._iter_cached_packs())

    def _seems_the_same(self, idx: os.DirEntry[str]) -> bool:
        """By its name, which dulwich makes of the ids, or by the ids that an idx of version 2 has at its beginning."""
        if idx.path == f"{self._base}.idx":
            return True
        size = self.object_format.oid_length
        with suppress(OSError):
            if idx.stat().st_size == IDX_NAMES_AT + len(self._names) // size * (size + 8) + 2 * size:
                with open(idx.path, "rb") as file:
                    file.seek(IDX_NAMES_AT)
                    return file.read(len(self._names)) == self._names
        return False
