"""The sorted tables through which an archive finds its keys, and which of them a save makes anew.

At most four, whatever the number of pages: that of the pages written last, which each save makes anew; of what was
written before in the same program; of pages that the combined index does not name; and that index.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack

from .._core.v1 import NO_PAGE, IndexedPage, PageFile, Rows, Table, make_index
from ..errors import Corrupt, Unsupported
from .indexing import OBJECTS
from .listing import INDEX_NAME

TAIL_PAGES = 16
"""So many pages are read again by each save; what is more goes into a table that stays."""


class Tables:
    """The tables over the pages `root` + name, newest first. One thread at a time."""

    def __init__(self, root: str, names: Sequence[str]) -> None:
        """DamagedArchive about a page that is none, SystemFailed about one that cannot be read."""
        self._root = root
        self._stay: list[Table] = []
        index = _usable_index(root, names)
        self._indexed = set() if index is None else {page.name for page in index.pages if not page.superseded}
        self._opened = {*names}
        new = [name for name in names if name not in self._indexed]
        if new:
            self._stay.append(self._table_of(new))
        if index is not None:
            self._stay.append(index)
        self._written: Table | None = None
        self._tail: Table | None = None

    @property
    def covers_all(self) -> bool:
        """Return whether every page that the tables name is in the list, so that all their keys are."""
        return self._indexed <= self._opened

    @property
    def indexed_count(self) -> int:
        """How many pages of the list the combined index names: the first ones, see fits_list()."""
        return len(self._indexed & self._opened)

    def follow(self, names: Sequence[str]) -> None:
        """Cover these pages: those that were there when this was made, without some, and others behind them."""
        later = [name for name in names if name not in self._opened]
        known = {page.name for page in self._written.pages} if self._written else set()
        tail = [name for name in later if name not in known]
        if len(tail) > TAIL_PAGES:
            self._written, tail = self._table_of(later[:-1]), later[-1:]
        self._tail = self._table_of(tail) if tail else None

    def lent(self, names: Sequence[str]) -> list[tuple[Table, list[int]]]:
        """Each table, with the places of its pages among `names`."""
        places = {name: place for place, name in enumerate(names)}
        tables = [*filter(None, (self._tail, self._written)), *self._stay]
        return [(table, [_place(places, page) for page in table.pages]) for table in tables]

    def _table_of(self, names: Sequence[str]) -> Table:
        with ExitStack() as stack:
            pages = [stack.enter_context(PageFile(self._root + name)) for name in names]
            rows = Rows(sum(page.item_count for page in pages))
            for number, page in enumerate(pages):
                rows.add_page(page, number, objects=False)
            rows.choose(only_sound=False)
            # Names in a table have 36 bytes; what counts here is the order.
            return _named(Table(make_index(OBJECTS, [IndexedPage("") for _ in names], rows)), names)


def _named(table: Table, names: Sequence[str]) -> Table:
    table.pages = tuple(IndexedPage(name) for name in names)
    return table


def _place(places: dict[str, int], page: IndexedPage) -> int:
    return NO_PAGE if page.superseded else places.get(page.name, NO_PAGE)


def _usable_index(root: str, names: Sequence[str]) -> Table | None:
    """Return the combined index of a folder; of these pages alone if `root` ends with a slash."""
    if os.path.basename(root):
        return None
    try:
        index = Table(os.path.join(root, INDEX_NAME))
    except (FileNotFoundError, Corrupt, Unsupported):
        return None  # a shortcut only: all that it says is in the pages too
    return index if fits_list(index.pages, names) else None


def fits_list(indexed: Sequence[IndexedPage], pages: Sequence[str]) -> bool:
    """Whether the list is some of the pages of an index in its order, and behind them only pages it does not name.

    Otherwise a page that it does not name might be older than one it does, and the wrong copy would be found.
    """
    places = {page.name: place for place, page in enumerate(indexed) if not page.superseded}
    newest = len(indexed)
    found = [places.get(name, newest) for name in pages]
    return found == sorted(found) and min(found, default=newest) < newest
