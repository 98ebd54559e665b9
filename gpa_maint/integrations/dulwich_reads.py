"""The reading half of dulwich.py, which also opens and closes the store. Only dulwich.py imports it."""

from __future__ import annotations

import os
import threading
from binascii import hexlify, unhexlify
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from dulwich.object_format import get_object_format
from dulwich.object_store import BaseObjectStore, DiskObjectStore, GraphTraversalReachability
from dulwich.objects import ObjectID, RawObjectID, ShaFile
from dulwich.pack import UnpackedObject

from ..errors import AmbiguousPrefix, ObjectMissing
from ..store.page_store import CANDIDATES, PREFIX_LEAST, PageStore, expect_store
from .dulwich_packs import stored_deltas

if TYPE_CHECKING:
    from dulwich.config import Config
    from dulwich.file import SharedPerm
    from dulwich.object_format import ObjectFormat

Path = str | os.PathLike[str]

LOOKS = 16
_NUMBERS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


class ReadingStore(DiskObjectStore):
    """A PageStore as dulwich asks for it; see PagedObjectStore."""

    def __init__(
        self,
        path: Path,
        *,
        store: PageStore | None = None,
        object_format: ObjectFormat | None = None,
        alternates: Iterable[Path] | None = None,
        seal: bool = True,
        **options: Any,
    ) -> None:
        """`store`: what to read from and write to, else one is opened here, with `alternates`.

        Without `seal` other processes see blobs and trees that are added one by one when seal() is called, the page is
        full, or a commit or a tag is added.
        `options` are DiskObjectStore's; those on fsync and compression are for packs, the writer has the repository's.
        """
        if store is not None and object_format is None:
            expect_store(store)
            object_format = get_object_format(store.object_format)
        more = [os.fspath(one) for one in alternates or ()]
        super().__init__(path, object_format=object_format, alternates=more, **options)
        self._more = more
        self._given: PageStore | None = None
        self._own: PageStore | None = None
        self._opening = threading.Lock()
        self._seals = seal
        self._has_added = False
        self._peeling = threading.Lock()
        if store is not None:
            self._read_from(store)

    @classmethod
    def from_config(
        cls,
        path: Path,
        config: Config,
        *,
        shared_perm: SharedPerm | None = None,
        alternates: Iterable[Path] | None = None,
        store: PageStore | None = None,
        seal: bool = True,
    ) -> Self:
        """As DiskObjectStore's, with the repository's settings."""
        made = super().from_config(path, config, shared_perm=shared_perm, alternates=alternates)
        assert isinstance(made, cls)
        made._seals = seal
        if store is not None:
            made._read_from(store)
        return made

    @property
    def pages(self) -> PageStore:
        """What is read from and written to."""
        store = self._own if self._given is None else self._given
        # dulwich sets another object format on the store of a repository that it clones into.
        if store is not None and store.object_format == self.object_format.name:
            return store
        with self._opening:
            store = self._own
            if store is None or store.object_format != self.object_format.name:
                if store is not None:
                    store.close()
                store = PageStore.open(self.path, object_format=self.object_format.name, alternates=self._more)
                self._own = store
            return store

    def seal(self) -> None:
        """Let every process see what was added through the store so far."""
        store = self._own if self._given is None else self._given
        if store is not None:
            store.seal()

    def close(self) -> None:
        """Close what is open; the store may be used again afterwards.

        What was added is seen by every process then: a store that was opened here is closed, and one that was given is
        sealed if anything was added through this object store.
        """
        super().close()
        has_added, self._has_added = self._has_added, False
        if has_added and self._given is not None:
            self._given.seal()
        own, self._own = self._own, None
        if own is not None:
            own.close()

    # -- Reading

    def __contains__(self, sha1: bytes) -> bool:
        return self._raw(sha1) in self.pages

    def contains_packed(self, sha: bytes) -> bool:
        """Return whether the object is in a pack here; alternates do not count."""
        return self._own_pack(sha) is not None

    def contains_loose(self, sha: bytes) -> bool:
        """Return whether it is a loose object here; alternates do not count."""
        return os.path.exists(self._own_loose(sha))

    def get_raw(self, name: bytes) -> tuple[int, bytes]:
        """Return the number of the type, and the content."""
        raw = self._raw(name)
        try:
            kind, content = self.pages.read(raw)
        except ObjectMissing:
            raise KeyError(_hex(raw)) from None
        return _NUMBERS[kind], content

    def __iter__(self) -> Iterator[ObjectID]:
        """Yield all ids, those of alternates too, each once, ascending."""
        return map(_hex, self.pages)

    def iter_prefix(self, prefix: bytes) -> Iterator[ObjectID]:
        """Yield the ids that begin with these hex digits."""
        digits = prefix.decode("ascii")
        if len(digits) < PREFIX_LEAST:
            yield from (one for one in self if one.startswith(prefix))
            return
        try:
            yield _hex(self.pages.expand_prefix(digits))
        except (ObjectMissing, ValueError):
            return
        except AmbiguousPrefix as several:
            if len(several.candidates) < CANDIDATES:
                yield from map(_hex, several.candidates)
            else:
                yield from (one for one in self if one.startswith(prefix))

    def iterobjects_subset(self, shas: Iterable[ObjectID], *, allow_missing: bool = False) -> Iterator[ShaFile]:
        """Yield these objects, each once. Raise KeyError for a missing one, unless that is allowed."""
        return BaseObjectStore.iterobjects_subset(self, dict.fromkeys(shas), allow_missing=allow_missing)

    def get_unpacked_object(self, sha1: bytes, *, include_comp: bool = False) -> UnpackedObject:
        """Return the whole object, also if it is stored as a delta."""
        kind, content = self.get_raw(sha1)
        return UnpackedObject(kind, sha=self._raw(sha1), decomp_chunks=[content])

    def iter_unpacked_subset(
        self,
        shas: Iterable[bytes],
        *,
        include_comp: bool = False,
        allow_missing: bool = False,
        convert_ofs_delta: bool = True,
    ) -> Iterator[UnpackedObject]:
        """Yield these objects, each once: as a delta if it is stored as one and its base is among them, else whole.

        A delta and its base come from the same pack, so no two can be deltas on each other. Bases are named by id.
        Raises KeyError for a missing object, unless that is allowed.
        """
        whole: list[bytes] = []
        yield from stored_deltas(self.pages, {self._raw(sha) for sha in shas}, whole)
        for oid in whole:
            try:
                yield self.get_unpacked_object(RawObjectID(oid))
            except KeyError:
                if not allow_missing:
                    raise

    def get_object_mtime(self, sha: bytes) -> float:
        """Return when the object, or its pack, was written here, in seconds since 1970."""
        with suppress(FileNotFoundError):
            return os.path.getmtime(self._own_loose(sha))
        self.seal()  # waiting objects are in no file
        for _ in range(LOOKS):
            pack = self._own_pack(sha)
            if pack is None:
                break
            with suppress(FileNotFoundError):
                return os.path.getmtime(pack)
            self.pages.refresh()  # its pack was deleted, and the object is in another one
        raise KeyError(sha)

    def peel(self, sha: bytes) -> tuple[ShaFile, ShaFile]:
        """Return the object, and the object that its chain of tags ends at. dulwich's own cache is for one thread."""
        with self._peeling:
            return super().peel(ObjectID(sha))

    def get_reachability_provider(self, prefer_bitmaps: bool = True) -> GraphTraversalReachability:
        """Return a walker of the graph. dulwich's own opens every pack to look for bitmaps."""
        return GraphTraversalReachability(self)

    # -- Inside

    def _read_from(self, store: PageStore) -> None:
        expect_store(store)
        if store.path != os.path.realpath(self.path) or store.object_format != self.object_format.name:
            kind = self.object_format.name
            raise ValueError(f"{store!r} ({store.object_format}) is not the store of '{self.path}' ({kind})")
        if self._more:
            raise ValueError("alternates are a matter of the store that was given")
        self._given = store

    def _raw(self, name: bytes) -> bytes:
        return name if len(name) == self.object_format.oid_length else unhexlify(name)

    def _own_loose(self, sha: bytes) -> str:
        return self._get_shafile_path(_hex(self._raw(sha)))

    def _own_pack(self, sha: bytes) -> str | None:
        try:
            place = self.pages.locate(self._raw(sha))
        except ObjectMissing:
            return None
        is_own = place is not None and os.path.dirname(place.pack) == os.path.join(self.pages.path, "pack")
        return place.pack if place is not None and is_own else None


def _hex(oid: bytes) -> ObjectID:
    return ObjectID(hexlify(oid))
