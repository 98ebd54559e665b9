"""Archive: the values of an archive by key, newest page first, as the original finds them.

With the combined index a look-up costs the same however many pages there are, and maps one of them. Pages that it
does not name are read once, when the archive is opened, into one more table of the same form.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from types import TracebackType
from typing import TypeVar

from .._core.v1 import KEY_SIZE, ArchiveIndex, Entry, IndexedPage, PageFile, Rows, make_index
from ..errors import Corrupt, DamagedArchive, ObjectMissing, Unsupported
from .listing import find_pages, open_index

Answer = TypeVar("Answer")


class Archive:
    """The pages of an archive, for reading: no write permission is needed, and no descriptor stays open.

    Any number of threads may read at once; closing is one thread's business.
    """

    def __init__(self, directory: str | os.PathLike[str], pages: Sequence[str] | None = None) -> None:
        """`pages`: their names, the newest last; by default those that find_pages() finds.

        DamagedArchive about the first page that is no page, SystemFailed about one that cannot be read.
        """
        self.directory = os.path.abspath(directory)
        self.pages = find_pages(self.directory).names if pages is None else tuple(pages)
        self._numbers = {name: number for number, name in enumerate(self.pages)}
        self._opened: dict[int, PageFile] = {}
        self._lock = threading.Lock()
        self._tables: list[ArchiveIndex] = []
        self.searches = 0
        """How often all pages were asked one after the other, since no table could tell."""
        try:
            self._open_tables()
        except BaseException:
            self.close()
            raise

    # -- Look-up

    def __contains__(self, key: bytes) -> bool:
        return self.find(key) is not None

    def find(self, key: bytes) -> Entry | None:
        """Return the entry that is read for this key, or None. Its `page` is an index into `pages`."""
        for table in self._tables:
            try:
                place = table.find(key)
            except Corrupt:
                return self._search(key)
            if place is None:
                continue
            number, slot = self._numbers.get(table.pages[place[0]].name), place[1]
            entry = self._page(number).entry(slot) if number is not None else None
            if number is None or entry is None or entry.key != key:
                return self._search(key)  # the page went from the list since, or the index is of another one
            return entry._replace(page=number)
        return None

    def get(self, key: bytes) -> bytes:
        """Return the stored value. Raise ObjectMissing, or DamagedArchive if it is not inside its page."""
        entry = self._found(key)
        return bytes(self._page(entry.page).value(entry))

    def read(self, key: bytes) -> tuple[str, bytes]:
        """Type and content of the git object with that id, checked. A damaged copy is passed over for an older one.

        ObjectMissing; DamagedArchive, about the newest copy, when none is sound.
        """

        def content(page: PageFile, entry: Entry) -> tuple[str, bytes]:
            kind, lent = page.object(entry)
            return kind, bytes(lent)

        return self._sound(key, content)

    def check(self, key: bytes, *, objects: bool) -> None:
        """As read(), or where values are not git `objects` as get(), without giving anything."""
        if objects:
            self._sound(key, PageFile.object)
        else:
            entry = self._found(key)
            self._page(entry.page).value(entry)

    def beginning(self, prefix: bytes, most: int = 64) -> list[bytes]:
        """Return the keys that begin with these bytes, ascending, at most `most`."""
        found = {key for table in self._tables for key in table.beginning(prefix, most)}
        return [key for key in sorted(found) if self._is_listed(key)][:most]

    def __iter__(self) -> Iterator[bytes]:
        """All keys, ascending, each once."""
        last = b""
        for key in merge(*self._tables):
            if key != last and self._is_listed(key):
                yield key
            last = key

    def __len__(self) -> int:
        """How many keys there are; where a page came after the index they are counted anew each time."""
        return len(self._tables[0]) if len(self._tables) == 1 and self._covers_all else sum(1 for _ in self)

    @property
    def opened(self) -> int:
        """How many pages are mapped now."""
        return len(self._opened)

    @property
    def table_count(self) -> int:
        """How many tables a look-up asks at most: one, and another one where pages came after the combined index."""
        return len(self._tables)

    # -- How it is done

    def _open_tables(self) -> None:
        """Return the tables in the order of look-up: that of pages outside the combined index, then that index."""
        index = self._open_index()
        if index is not None and not fits_list(index.pages, self.pages):
            index.close()
            index = None
        indexed = {page.name for page in index.pages if not page.superseded} if index is not None else set()
        self._covers_all = indexed <= self._numbers.keys()
        new = [name for name in self.pages if name not in indexed]
        if new:
            self._tables.append(self._table_of(new))
        if index is not None:
            self._tables.append(index)

    def _open_index(self) -> ArchiveIndex | None:
        try:
            return open_index(self.directory)
        except (Corrupt, Unsupported):
            return None  # a shortcut only: all that it says is in the pages too

    def _table_of(self, names: list[str]) -> ArchiveIndex:
        pages = [self._page(self._numbers[name]) for name in names]
        rows = Rows(sum(page.item_count for page in pages))
        for number, page in enumerate(pages):
            rows.add_page(page, number, objects=False)
        rows.choose(only_sound=False)
        return ArchiveIndex(make_index(0, [IndexedPage(name) for name in names], rows))

    def _page(self, number: int) -> PageFile:
        page = self._opened.get(number)
        if page is None:
            with self._lock:
                page = self._opened.get(number)
                if page is None:
                    page = PageFile(os.path.join(self.directory, self.pages[number]))
                    self._opened[number] = page
        return page

    def _is_listed(self, key: bytes) -> bool:
        return self._covers_all or self.find(key) is not None

    def _found(self, key: bytes) -> Entry:
        if len(key) != KEY_SIZE:
            raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
        entry = self.find(key)
        if entry is None:
            raise ObjectMissing(f"no object {key.hex()} in '{self.directory}'")
        return entry

    def _search(self, key: bytes) -> Entry | None:
        self.searches += 1
        return next(self._copies(key), None)

    def _copies(self, key: bytes) -> Iterator[Entry]:
        """Yield the entry of a key in each page that has one, newest first."""
        for number in reversed(range(len(self.pages))):
            try:
                entry = self._page(number).find(key)
            except DamagedArchive:
                continue  # the index was made without it
            if entry is not None:
                yield entry._replace(page=number)

    def _sound(self, key: bytes, read: Callable[[PageFile, Entry], Answer]) -> Answer:
        entry = self._found(key)
        try:
            return read(self._page(entry.page), entry)
        except DamagedArchive as error:
            for copy in self._copies(key):
                try:
                    return read(self._page(copy.page), copy)
                except DamagedArchive:
                    continue
            raise error

    def close(self) -> None:
        """Nothing may be read any more."""
        for table in self._tables:
            table.close()
        for page in self._opened.values():
            page.close()
        self._tables, self._opened = [], {}

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def fits_list(indexed: Sequence[IndexedPage], pages: Sequence[str]) -> bool:
    """Whether the list is some of the pages of an index in its order, and behind them only pages it does not name.

    Otherwise a page that it does not name might be older than one it does, and the wrong copy would be found.
    """
    places = {page.name: place for place, page in enumerate(indexed) if not page.superseded}
    newest = len(indexed)
    found = [places.get(name, newest) for name in pages]
    return found == sorted(found) and min(found, default=newest) < newest
