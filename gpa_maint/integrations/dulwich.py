"""dulwich over PageStore: open_repository(), or `Repo(path, object_store=PagedObjectStore(objects))`.

Every read goes to the store: from any thread, also during maintenance, and with all objects written by other programs
since. New objects go into pages, through the store's writer, and incoming packs stay packs; no loose object is written.

Every process sees an object when add_object() returns, which costs a page for each; batch() and open_repository() make
fewer and larger pages. A repository opened here seals before an index file names objects of the open page, and for each
commit and tag. Call its seal() before another process must see a blob or a tree that no commit or index names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import closing, contextmanager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

from ..store.page_store import PageStore

try:
    from dulwich import __version__ as version

    if version < (1, 2, 18):
        raise ImportError("this is {}.{}.{}".format(*version))
    from dulwich.objects import ShaFile
    from dulwich.pack import Pack, UnpackedObject
    from dulwich.repo import Repo

    from .dulwich_packs import Housekeeper, Inbox, take_small
    from .dulwich_reads import Path, ReadingStore
    from .dulwich_repo import PagedRepo
except ImportError as error:
    raise ImportError(f"gpa_maint.integrations.dulwich needs dulwich 1.2.18 or newer: {error}") from error

if TYPE_CHECKING:
    from ..store.writer import Writer


def open_repository(path: Path, store: PageStore | None = None) -> PagedRepo:
    """Return the repository at `path`, over `store`, or over a new store. Use it in a `with`, or close it.

    Any number of repositories and threads may share a store; the caller that opened it closes it.
    """
    with Repo(os.fspath(path)) as plain:
        disk = plain.object_store
        config, shared_perm = plain.get_config(), disk.shared_perm
        objects = PagedObjectStore.from_config(disk.path, config, shared_perm=shared_perm, store=store, seal=False)
    return PagedRepo(os.fspath(path), object_store=objects)


class PagedObjectStore(ReadingStore):
    """An object store for dulwich.repo.Repo over one object directory and its alternates.

    A missing object raises KeyError. A damaged object without another copy raises gpa_maint's Corrupt, which names the
    file. If nothing can be written, adding raises SystemFailed, an OSError.
    """

    def add_object(self, obj: ShaFile) -> None:
        """Add an object to a page. Every process sees it when this returns, except in batch() and without `seal`."""
        with self.batch() if self._seals else nullcontext(self._writer()) as writer:
            writer.add(*_content(obj), check=False)

    def add_objects(
        self, objects: Iterable[tuple[ShaFile, str | None]], progress: Callable[..., None] | None = None
    ) -> None:
        """Add (object, path) pairs to pages; every process sees them at the end. There is no one Pack to return."""
        del progress  # it is too fast to be worth it
        with self.batch() as writer:
            writer.add_many((_content(obj) for obj, _path in objects), check=False)

    @contextmanager
    def batch(self) -> Iterator[Writer]:
        """Seal what this thread adds only when a page is full and at the end, commits too; for bulk work."""
        with self._writer().batch() as writer:
            yield writer

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
        """Return a file for a pack, and two functions: one to take the pack in, one to drop it.

        The Pack that comes back is closed; it opens when it is used, and belongs to the caller.
        """
        inbox = Inbox(self)
        file, commit, abort = inbox.add_pack()

        def commit_and_close() -> Any:
            self.seal()  # its deltas may need waiting objects
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
        """Add a pack from a stream, as add_pack() does, and complete it with the bases that it lacks."""
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
        """Forget the cached packs, because some of them are deleted."""
        self._clear_cached_packs()
        self._invalidate_peel_cache()
        self.pages.refresh()


def _content(obj: ShaFile) -> tuple[str, bytes]:
    return obj.type_name.decode(), obj.as_raw_string()
