"""The combined index of an archive: the pages that it covers, the replaced pages, and when it is rebuilt."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import ExitStack

from .._core.v1 import ArchiveIndex, IndexedPage, PageFile, Rows, make_index
from ..base.tuples import NamedTuple
from ..errors import Corrupt, DamagedArchive, GpaError, Unsupported
from .listing import INDEX_NAME, Listing, open_index

OBJECTS, RAW = 0, 1
"""Kinds of values of an archive, by its index: git objects, or anything."""


class KnownPages(NamedTuple):
    """Content of the index on disk; empty if it is missing or unreadable. `kind` is OBJECTS or RAW."""

    pages: tuple[IndexedPage, ...] = ()
    kind: int | None = None

    @property
    def listed(self) -> tuple[str, ...]:
        return tuple(page.name for page in self.pages if not page.superseded)


class NewIndex(NamedTuple):
    image: bytes
    object_count: int


def known_pages(directory: str) -> KnownPages:
    """Return the index; None if it is damaged, because it is then rebuilt from the pages."""
    try:
        index = open_index(directory)
        if index is None:
            return KnownPages()
        with index:
            index.check()
            return KnownPages(index.pages, index.kind)
    except (Corrupt, Unsupported):
        return KnownPages()


def refuse_other_list(listing: Listing, known: KnownPages) -> None:
    """Raise GpaError if the index belongs to another list, whose other pages would count as superfluous."""
    names = {page.name for page in known.pages}
    own = {*listing.names, *(name for name, _since in listing.replaced)}
    if names.isdisjoint(own) and any(os.path.exists(listing.path(name)) for name in known.listed):
        raise GpaError(
            f"the index in '{listing.directory}' is not that of '{listing.list_path}'",
            hint=f"an archive needs a folder of its own; if this is the only one there, remove '{INDEX_NAME}'",
        )


def index_over(
    directory: str,
    names: Sequence[str],
    known: KnownPages,
    *,
    kind: int,
    made: Collection[str] = (),
    merged: Collection[str] = (),
    now: int,
) -> NewIndex | None:
    """Return an index of the pages `names`, or None if the index on disk has the same content.

    `made` are new pages: they are read back, and DamagedArchive is raised when anything is wrong. `merged` pages count
    as superseded from `now` on, as do pages that we made and that a killed repack's list never came to name.
    """
    if known.listed == tuple(names) and known.kind == kind and not merged:
        return None
    was_made = {page.name for page in known.pages if page.made} | set(made)
    live = [IndexedPage(name, made=name in was_made) for name in names]
    rows = _rows(directory, names, made, kind)
    rows.choose(only_sound=False)
    table = (*live, *_superseded(directory, set(names), known, merged, now))
    image = make_index(kind, table, rows)
    with ArchiveIndex(image) as made_index:
        return NewIndex(image, len(made_index))


def _rows(directory: str, names: Sequence[str], made: Collection[str], kind: int) -> Rows:
    with ExitStack() as stack:
        pages = [_open(os.path.join(directory, name), name in made, stack) for name in names]
        rows = Rows(sum(page.item_count for page in pages if page is not None))
        for number, page in enumerate(pages):
            if page is None:
                continue
            before = len(rows)
            fresh = names[number] in made
            rows.add_page(page, number, objects=fresh and kind == OBJECTS)
            for place in range(before, len(rows)) if fresh else ():
                if rows[place].fault:
                    raise DamagedArchive(page.path, "it is not what was written", fault=rows[place].fault)
        return rows


def _open(path: str, fresh: bool, stack: ExitStack) -> PageFile | None:
    """Return the entries of a page; None for a damaged page, which gets no entries in the index."""
    try:
        return stack.enter_context(PageFile(path))
    except DamagedArchive:
        if fresh:
            raise
        return None


def _superseded(
    directory: str, listed: Collection[str], known: KnownPages, merged: Collection[str], now: int
) -> list[IndexedPage]:
    """Return the existing pages that wait for expire, each with the second since when."""
    replaced_in_vain = any(page.superseded and page.name in {*listed, *merged} for page in known.pages)
    since = {page.name: page.since for page in known.pages if page.superseded}
    # If the list names pages that the index calls superseded, its new version was not written.
    unlisted = [page.name for page in known.pages if page.made and not page.superseded]
    since = {**dict.fromkeys((*(unlisted if replaced_in_vain else ()), *merged), now), **since}
    was_made = {page.name for page in known.pages if page.made}
    return [
        IndexedPage(name, superseded=True, made=name in was_made, since=min(now, at))
        for name, at in since.items()
        if name not in listed and os.path.exists(os.path.join(directory, name))
    ]
