"""PagedArchive: values under keys of 20 bytes, in v1 pages. New values wait in memory until save()."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from types import TracebackType
from weakref import WeakSet

from .._core.v1 import Values
from ..archive_v1.listing import find_pages
from ..archive_v1.tables import Tables
from .errors import original_errors
from .saving import Pages, place_to_save, remove_replaced, save_values


class PagedArchive:
    """An archive of v1 pages. Any number of threads may use it at once, and a forked process has its own.

    Pages are mapped, and no descriptor is kept. Values that were set are in memory until save(): a program that sets
    many saves now and then. Reading needs no permission to write.
    """

    def __init__(self, root_file_path: str, pages: Sequence[str] | None = None) -> None:
        """`pages`: names, the newest last; a page is the file root_file_path + name, without anything between.

        An empty list begins a new archive. None takes the list that save() keeps in the folder.

        ArchiveLibFileReadError, ArchiveLibUnknownArchiveVersionError or ArchiveLibInvalidArchiveHeaderError about the
        first page that is damaged; OSError for one that is not there.
        """
        root_file_path = root_file_path or "./"
        self._root = os.path.abspath(root_file_path).rstrip("/") + ("/" if root_file_path.endswith("/") else "")
        os.stat(os.path.dirname(self._root))  # a missing folder is reported now, not by the first save
        names = find_pages(os.path.dirname(self._root)).names if pages is None else tuple(pages)
        self._saving = threading.Lock()
        self._values: Values | None = Values(os.path.dirname(self._root))
        self._replaced: tuple[str, ...] = ()
        self._told = names
        self._made: set[str] = set()
        with original_errors():
            self._open(names)
        _ARCHIVES.add(self)

    def _open(self, names: tuple[str, ...]) -> None:
        tables = Tables(self._root, names)
        self.values.show([self._root + name for name in names], tables.lent(names))
        self._names, self._tables = names, tables

    @property
    def values(self) -> Values:
        """The C object, for ArchiveRepository. Raises ValueError after close()."""
        if self._values is None:
            raise ValueError("archive is closed")
        return self._values

    @property
    def pages(self) -> tuple[str, ...]:
        """The names returned by the last save(), or of the opened archive, the newest last."""
        return self._names

    # -- Values

    def has(self, key: bytes) -> bool:
        """Return whether the archive has the key. Raise ValueError unless it has 20 bytes."""
        return self.values.has(key)

    def __contains__(self, key: bytes) -> bool:
        return self.has(key)

    def get(self, key: bytes) -> bytes:
        """Return the value. That of a git object is 4 bytes for its type, and then its content.

        Raises ArchiveLibItemNotFoundError, or ArchiveLibFileReadError if the value is not inside its page.
        """
        with original_errors():
            return self.values.get(key)

    def __getitem__(self, key: bytes) -> bytes:
        return self.get(key)

    def set(self, key: bytes, data: bytes) -> None:
        """Set a value, unless the key exists. Raise KeyError for a key without 20 bytes.

        Raises ArchiveLibIndexMaxSizeOverflowException if the value is larger than a page can be.
        """
        if len(key) != 20:
            raise KeyError("Key must be 20 chars")
        with original_errors():
            self.values.add(key, "", data)

    def __setitem__(self, key: bytes, data: bytes) -> None:
        self.set(key, data)

    def __iter__(self) -> Iterator[bytes]:
        """Yield all current keys, ascending, each once."""
        return iter(self.values.all_keys())

    def __len__(self) -> int:
        return len(self.values.all_keys())

    @property
    def unsaved(self) -> tuple[int, int]:
        """Return the number of values that wait for save(), and their bytes."""
        return self.values.waiting

    # -- Saving

    def save(self) -> OrderedDict[str, bool]:
        """Put what was set into pages, durably, and give all names, the newest last: True for those not given before.

        Where the last page has room, a new one gets its values and those that were set, and takes its place. Nothing
        that was there changes, and the page that was replaced stays until the next save().

        Where the folder is the archive's own, its list names the pages too, and what others saved meanwhile is taken
        over. Locked when another process works in the folder for more than 10 seconds, or has replaced the last page.
        After a failure nothing is lost: what could not be saved still waits.
        """
        with self._saving:
            count, _size = self.values.waiting
            if count or not self._names:
                with original_errors():
                    self._save(count)
            told, self._told = self._told, self._names
            return OrderedDict((name, name not in told) for name in self._names)

    def _save(self, count: int) -> None:
        was = self._names
        with place_to_save(Pages(self._root, was, self._made, self.values)) as place:
            if place.names != was:
                self._open(place.names)
            saved = save_values(place, self.values, count, was=was)
            self._tables.follow(saved.names)
            self.values.show([self._root + name for name in saved.names], self._tables.lent(saved.names), count)
            self._names = saved.names
            self._made.intersection_update(saved.names)
            # What the save before this one replaced was needed until the caller came back with its answer.
            before, self._replaced = self._replaced, saved.replaced
            remove_replaced(place, saved, before)

    def close(self) -> None:
        """Drop unsaved changes. A repository over this archive can still use it."""
        self._values = None

    def __enter__(self) -> PagedArchive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


# -- fork: a save that was under way in another thread is not under way in the child

_ARCHIVES: WeakSet[PagedArchive] = WeakSet()


def _in_child() -> None:
    for archive in list(_ARCHIVES):
        archive._saving = threading.Lock()


os.register_at_fork(after_in_child=_in_child)
