"""How values that wait get into pages, and what an archive's list says then.

1. pages: write, fsync, name; fsync the folder    a crash leaves pages that no list names, and their temporary
                                                  names: the next save clears them away
2. list, where the folder is the archive's own    a crash leaves the new list
3. temporary names go                             done

Nothing that was there changes, so the old list is that of a whole archive all the time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from uuid import uuid4

from .. import fs
from .._core.base import Buffer
from .._core.v1 import CAPACITY, PageFile, PageFileWriter, Rows, Values
from ..archive_v1.expire import why_not_same
from ..archive_v1.listing import INDEX_NAME, LIST_NAME, PAGE_NAME, BadList, Listing, find_pages, open_index
from ..archive_v1.pages import NewPage, drop_temporaries, write_archive_page, write_list
from ..archive_v1.reader import Archive
from ..base.tuples import NamedTuple
from ..errors import Corrupt, DamagedArchive, GpaError, Locked, SystemFailed, Unsupported
from ..fs.archives import archive_space, clear_archive, unlink_archive_page

ATTEMPTS = 200
PAUSE_SECONDS = 0.05
"""A save waits 10 seconds for another one: that takes as long as a few syncs."""

COPIED_BYTES = 64 << 20
"""A last page with more data than this is not written again for the sake of a few values: a new one is begun."""


GRACE_SECONDS = 3600
"""As expire-v1 has it by default."""

MOST_PROVED = 8
"""A save deletes no more of them at once: it should not take long."""


class Pages(NamedTuple):
    """Which pages an archive consists of: `root` + each of `names`, the newest last. `made`: names it gave itself."""

    root: str
    names: tuple[str, ...]
    made: set[str]
    values: Values


class Place(NamedTuple):
    """Where a save happens: `names` are the archive's pages now.

    `listing` is that of the folder where it is the archive's own, else None: then no list is kept.
    """

    space: fs.TempFiles
    root: str
    names: tuple[str, ...]
    listing: Listing | None
    made: set[str]

    def path(self, name: str) -> str:
        return self.root + name


class Saved(NamedTuple):
    """The names now, and the page that another took the place of, if any."""

    names: tuple[str, ...]
    replaced: tuple[str, ...] = ()


# -- The folder


@contextmanager
def place_to_save(pages: Pages) -> Iterator[Place]:
    """Lock the folder against other programs, and remove files of killed ones. Raise Locked after 10 seconds."""
    root = pages.root
    directory = os.path.dirname(root)
    with _alone_in(directory) as space:
        listing = _listing(root)
        indexed = _indexed(directory)
        # Without a list all pages count as named: then the pages that were reported to a caller are known.
        listed = listing.names if listing and listing.list_path else ()
        replaced = [os.path.join(directory, name) for name in (INDEX_NAME, LIST_NAME)]
        clear_archive(directory, {*pages.names, *listed, *indexed}, replaced)
        yield Place(space, root, *_agreed(pages, _listing(root), indexed), pages.made)


@contextmanager
def _alone_in(directory: str) -> Iterator[fs.TempFiles]:
    with ExitStack() as stack:
        for left in reversed(range(ATTEMPTS)):
            try:
                space = stack.enter_context(archive_space(directory))
                break
            except Locked:
                if not left:
                    raise
                time.sleep(PAUSE_SECONDS)
        yield space


def _listing(root: str) -> Listing | None:
    """None where pages begin with a name of their own, or where `pages` is no list."""
    with suppress(BadList):
        return find_pages(os.path.dirname(root)) if root.endswith("/") else None
    return None


def _indexed(directory: str) -> set[str]:
    """All pages that the combined index knows of."""
    with suppress(Corrupt, Unsupported):
        index = open_index(directory)
        if index is not None:
            with index:
                return {page.name for page in index.pages}
    return set()


def _replaced(listing: Listing) -> set[str]:
    return {name for name, _since in listing.replaced}


def _agreed(pages: Pages, listing: Listing | None, indexed: set[str]) -> tuple[tuple[str, ...], Listing | None]:
    """Return the archive's pages, and its list.

    The list in the folder counts if it names a page that we made; or if it or the index knows all our pages that still
    exist, and at least one; or if none of ours exists any more, and all their keys are in pages of the list. If all
    pages of the list are ours, the list is out of date, and will be updated. A folder without a list gets one if it has
    no other pages.
    """
    names = pages.names
    if listing is None or not all(PAGE_NAME.fullmatch(name) for name in names):
        return names, None
    if not listing.list_path:
        return names, listing if {*listing.names} <= {*names} else None
    known = {*listing.names, *_replaced(listing), *indexed}
    unknown = [name for name in names if name not in known]
    moved_on = names and not _there(listing, unknown)
    if not pages.made.isdisjoint(listing.names) or (
        moved_on and (len(unknown) < len(names) or _has_all(listing, pages.values))
    ):
        return listing.names, listing
    return names, listing if _there(listing, listing.names) <= {*names} else None


def _has_all(listing: Listing, values: Values) -> bool:
    waiting = {key for key, _value in _waiting(values, values.waiting[0])}
    saved = [key for key in values.all_keys() if key not in waiting]
    with Archive(listing.directory, listing.names) as archive:
        return saved != [] and all(key in archive for key in saved)


def _there(listing: Listing, names: Iterable[str]) -> set[str]:
    return {name for name in names if os.path.lexists(listing.path(name))}


# -- The pages


def save_values(place: Place, values: Values, count: int, *, was: tuple[str, ...]) -> Saved:
    """Put the first `count` values that wait into pages. `was`: the names of the archive in which they were set."""
    there = _taken_over(place, values, count) if place.names != was else set()
    if place.names and len(there) == count:
        return Saved(place.names)
    pages: list[NewPage] = []
    try:
        with ExitStack() as stack:
            last = _last_page(place, {key for key, _value in _waiting(values, count)} - there, stack)
            new = (item for item in _waiting(values, count) if item[0] not in there)
            _write_pages(place, chain(_stored(last) if last else (), new), pages)
        replaced = place.names[-1:] if last else ()
        kept = place.names[: len(place.names) - len(replaced)]
        names = (*kept, *(page.info.name.removeprefix(os.path.basename(place.root)) for page in pages))
        _publish(place, names, replaced, pages)
    except BaseException:
        _undo(place, pages)
        raise
    return Saved(names, replaced)


def _waiting(values: Values, count: int) -> Iterator[tuple[bytes, bytes]]:
    return (values.waiting_value(number) for number in range(count))


def _taken_over(place: Place, values: Values, count: int) -> set[bytes]:
    """Of the keys that wait those that somebody else has saved meanwhile."""
    with Archive(os.path.dirname(place.root), place.names) as archive:
        return {key for key, _value in _waiting(values, count) if key in archive}


def _last_page(place: Place, keys: set[bytes], stack: ExitStack) -> PageFile | None:
    """Return the last page, open until `stack` ends, if it has room, and none of its entries is damaged or replaced."""
    if not place.names:
        return None
    path = place.path(place.names[-1])
    if not os.path.lexists(path):
        hint = "the values still wait; open the archive with its new list"
        raise Locked(f"cannot save: '{path}' was replaced by another writer", path=path, hint=hint)
    try:
        page = stack.enter_context(PageFile(path))
    except DamagedArchive:
        return None
    if page.item_count == CAPACITY or page.data_size > COPIED_BYTES or page.is_torn:
        return None
    is_sound = all(not entry.fault and entry.key not in keys for entry in _entries(page))
    return page if is_sound else None


def _entries(page: PageFile) -> Rows:
    rows = Rows(page.item_count)
    rows.add_page(page, 0, objects=False)
    rows.sort_stored()
    return rows


def _stored(page: PageFile) -> Iterator[tuple[bytes, Buffer]]:
    """Keys and values in the order in which they were set."""
    return ((entry.key, page.value(entry)) for entry in _entries(page))


def _write_pages(place: Place, items: Iterator[tuple[bytes, Buffer]], pages: list[NewPage]) -> None:
    """As many pages as the values need, at least one, each behind the others in `pages` as soon as it has its name."""
    item = next(items, None)

    def fill(writer: PageFileWriter) -> None:
        nonlocal item
        while item is not None and writer.has_room("", len(item[1])):
            writer.add(item[0], "", item[1])
            item = next(items, None)

    while item is not None or not pages:
        name = str(uuid4())
        place.made.add(name)
        pages.append(write_archive_page(place.space, fill, name=os.path.basename(place.root) + name))


def _publish(place: Place, names: tuple[str, ...], replaced: tuple[str, ...], pages: list[NewPage]) -> None:
    directory = os.path.dirname(place.root)
    fs.fsync_dir(directory)
    if place.listing:
        path = place.listing.list_path or os.path.join(directory, LIST_NAME)
        remembered = (one for one in place.listing.replaced if os.path.lexists(place.path(one[0])))
        write_list(path, names, (*remembered, *((name, int(time.time())) for name in replaced)))
    drop_temporaries(pages)


def _undo(place: Place, pages: list[NewPage]) -> None:
    """Remove pages that were reported to no caller, unless the list names them already."""
    directory = os.path.dirname(place.root)
    with suppress(GpaError):
        listing = find_pages(directory)
        listed = listing.names if place.listing and listing.list_path else ()
        for page in pages:
            if page.info.name not in listed:
                fs.unlink(os.path.join(directory, page.info.name))


def remove_replaced(place: Place, saved: Saved, before: Iterable[str]) -> None:
    """Delete pages that were replaced `before` by the same program, and an hour ago or more by others.

    What cannot be deleted stays, and does no harm.
    """
    due = [name for name in before if name not in saved.names]
    if place.listing:
        due += _proved(place.listing, saved.names, now=int(time.time()))
    for name in due:
        with suppress(SystemFailed, Locked):
            unlink_archive_page(place.path(name))


def _proved(listing: Listing, names: tuple[str, ...], *, now: int) -> list[str]:
    """Return the pages that were replaced so long ago, and all of whose entries other pages have."""
    due = [name for name, since in listing.replaced if since + GRACE_SECONDS <= now and name not in names]
    due = sorted(_there(listing, due))[:MOST_PROVED]
    if not due:
        return []
    with Archive(listing.directory, names) as archive:
        return [name for name in due if not why_not_same(archive, listing.path(name))]
