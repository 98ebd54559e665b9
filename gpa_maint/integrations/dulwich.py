"""dulwich over PageStore: open_repository(), or `Repo(path, object_store=PagedObjectStore(objects))`.

Every read goes to the store: from any thread, whatever maintenance does meanwhile, and with what anybody has written
since. Objects that are added go into pages, through the store's writer, and packs that come in stay packs; no loose
object is written.

Every process sees an object when add_object() returns, which takes a page for each; batch() and open_repository() make
fewer and larger ones. The repository that this opens seals before an index file names what is in the open page, and for
each commit and tag; call its seal() before another process is to see a blob or a tree in another way.
"""

from __future__ import annotations

import os
import threading
from binascii import hexlify, unhexlify
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import closing, contextmanager, nullcontext, suppress
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import AmbiguousPrefix, ObjectMissing
from ..store import CANDIDATES, PREFIX_LEAST, PageStore

try:
    from dulwich import __version__ as version

    if version < (1, 2, 18):
        raise ImportError("this is {}.{}.{}".format(*version))
    from dulwich.object_format import get_object_format
    from dulwich.object_store import BaseObjectStore, DiskObjectStore, GraphTraversalReachability
    from dulwich.objects import ObjectID, RawObjectID, ShaFile
    from dulwich.pack import Pack, UnpackedObject
    from dulwich.repo import Repo

    from .dulwich_packs import Housekeeper, Inbox, stored_deltas, take_small
    from .dulwich_repo import PagedRepo
except ImportError as error:
    raise ImportError(f"gpa_maint.integrations.dulwich needs dulwich 1.2.18 or newer: {error}") from error

if TYPE_CHECKING:
    from dulwich.config import Config
    from dulwich.file import SharedPerm
    from dulwich.object_format import ObjectFormat

    from ..journal import Writer

Path = str | os.PathLike[str]

LOOKS = 16
_NUMBERS = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}


def open_repository(path: Path, store: PageStore | None = None) -> PagedRepo:
    """The repository at `path`, over `store`, or over a store of its own. Use it in a `with`, or close it.

    Any number of repositories and threads may share a store; only whoever opened it closes it.
    """
    with Repo(os.fspath(path)) as plain:
        disk = plain.object_store
        config, shared_perm = plain.get_config(), disk.shared_perm
        objects = PagedObjectStore.from_config(disk.path, config, shared_perm=shared_perm, store=store, seal=False)
    return PagedRepo(os.fspath(path), object_store=objects)


class PagedObjectStore(DiskObjectStore):
    """An object store for dulwich.repo.Repo over one object directory and its alternates.

    A miss is a KeyError; a damaged object without another copy is gpa_maint's Corrupt, which names the file. Where
    nothing can be written, adding is SystemFailed, an OSError.
    """

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
    ) -> PagedObjectStore:
        """As DiskObjectStore's, with the repository's settings."""
        made = super().from_config(path, config, shared_perm=shared_perm, alternates=alternates)
        assert isinstance(made, PagedObjectStore)
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

    def close(self) -> None:
        """Let go of what is open; the store may be used again afterwards.

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
        """Whether it is in a pack here; alternates do not count."""
        return self._own_pack(sha) is not None

    def contains_loose(self, sha: bytes) -> bool:
        """Whether it is a loose object here; alternates do not count."""
        return os.path.exists(self._own_loose(sha))

    def get_raw(self, name: bytes) -> tuple[int, bytes]:
        """Number of the type, and content."""
        raw = self._raw(name)
        try:
            kind, content = self.pages.read(raw)
        except ObjectMissing:
            raise KeyError(_hex(raw)) from None
        return _NUMBERS[kind], content

    def __iter__(self) -> Iterator[ObjectID]:
        """All ids, those of alternates too, each once, ascending."""
        return map(_hex, self.pages)

    def iter_prefix(self, prefix: bytes) -> Iterator[ObjectID]:
        """The ids that begin with these hex digits."""
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
        """These objects, each once. KeyError for one that is not here, unless that is allowed."""
        return BaseObjectStore.iterobjects_subset(self, dict.fromkeys(shas), allow_missing=allow_missing)

    def get_unpacked_object(self, sha1: bytes, *, include_comp: bool = False) -> UnpackedObject:
        """The object as a whole, whatever it is stored as."""
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
        """These objects, each once: as a delta where it is stored as one and its base is among them, else whole.

        Both come from the same pack, so no two can be deltas on each other. Bases are named by id. KeyError for one
        that is not here, unless that is allowed.
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
        """When the object, or the pack it is in, was written here, in seconds since 1970."""
        with suppress(FileNotFoundError):
            return os.path.getmtime(self._own_loose(sha))
        self.seal()  # what waits is in no file
        for _ in range(LOOKS):
            pack = self._own_pack(sha)
            if pack is None:
                break
            with suppress(FileNotFoundError):
                return os.path.getmtime(pack)
            self.pages.refresh()  # it was deleted, and the object is in another one
        raise KeyError(sha)

    def peel(self, sha: bytes) -> tuple[ShaFile, ShaFile]:
        """The object, and what it is a tag of, by way of other tags. dulwich's cache of them is for one thread."""
        with self._peeling:
            return super().peel(ObjectID(sha))

    def get_reachability_provider(self, prefer_bitmaps: bool = True) -> GraphTraversalReachability:
        """By walking. To look for bitmaps dulwich opens every pack."""
        return GraphTraversalReachability(self)

    # -- Writing

    def add_object(self, obj: ShaFile) -> None:
        """Add it to a page, which every process sees when this returns, but for batch() and without `seal`."""
        with self.batch() if self._seals else nullcontext(self._writer()) as writer:
            writer.add(*_content(obj))

    def add_objects(
        self, objects: Iterable[tuple[ShaFile, str | None]], progress: Callable[..., None] | None = None
    ) -> None:
        """Add (object, path) pairs to pages; every process sees them at the end. There is no one Pack to give back."""
        del progress  # it takes no time that would be worth it
        with self.batch() as writer:
            writer.add_many(_content(obj) for obj, _path in objects)

    @contextmanager
    def batch(self) -> Iterator[Writer]:
        """For bulk work: what this thread adds meanwhile is sealed when pages are full and at the end, commits too."""
        with self._writer().batch() as writer:
            yield writer

    def seal(self) -> None:
        """Let every process see what was added through the store so far."""
        store = self._own if self._given is None else self._given
        if store is not None:
            store.seal()

    def add_pack_data(
        self,
        count: int,
        unpacked_objects: Iterable[UnpackedObject],
        progress: Callable[..., None] | None = None,
    ) -> Pack | None:
        """Add `count` objects: all of them, or none when they are not as announced.

        Up to a page of them, all whole, become one: None. More, or deltas, become a pack as they are.
        """
        coming = iter(unpacked_objects)
        taken, small = take_small(coming, count, self.object_format)
        if small is None:
            return super().add_pack_data(count, chain(taken, coming), progress)
        self.add_objects([(obj, None) for obj in small])
        return None

    def add_pack(self) -> tuple[BinaryIO, Callable[[], None], Callable[[], None]]:
        """A file to write a pack to, and what to call at its end: to take it in, or to drop it.

        The Pack that comes back is closed; it opens when it is used, and belongs to the caller.
        """
        inbox = Inbox(self)
        file, commit, abort = inbox.add_pack()

        def commit_and_close() -> Any:
            self.seal()  # it may stand on what waits
            with closing(inbox):
                return commit()

        return file, commit_and_close, abort

    def add_thin_pack(
        self,
        read_all: Callable[[int], bytes],
        read_some: Callable[[int], bytes] | None,
        progress: Callable[..., None] | None = None,
        **options: Any,
    ) -> Pack:
        """As add_pack(), from a stream; the bases that it lacks are added."""
        self.seal()
        with closing(Inbox(self)) as inbox:
            return inbox.add_thin_pack(read_all, read_some, progress, **options)

    # -- Maintenance as dulwich does it, not beside other maintenance

    def repack(self, exclude: Set[bytes] | None = None, progress: Callable[[str], None] | None = None) -> int:
        """dulwich's: all into one pack, in memory."""
        self.seal()
        with closing(Housekeeper(self)) as own:
            count = own.repack(exclude, progress)
        self._forget_packs()
        return count

    def pack_loose_objects(self, progress: Callable[[str], None] | None = None) -> int:
        """dulwich's: all loose objects into one pack, in memory; then they go."""
        with closing(Housekeeper(self)) as own:
            return own.pack_loose_objects(progress)

    def add_alternate_path(self, path: Path) -> None:
        """Add a line to objects/info/alternates."""
        super().add_alternate_path(path)
        self.pages.refresh()

    # -- Inside

    def _writer(self) -> Writer:
        self._has_added = True
        return self.pages.writer()

    def _forget_packs(self) -> None:
        """Some of them are gone."""
        self._clear_cached_packs()
        self._invalidate_peel_cache()
        self.pages.refresh()

    def _read_from(self, store: PageStore) -> None:
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


def _content(obj: ShaFile) -> tuple[str, bytes]:
    return obj.type_name.decode(), obj.as_raw_string()


def _hex(oid: bytes) -> ObjectID:
    return ObjectID(hexlify(oid))
