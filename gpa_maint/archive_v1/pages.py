"""New pages of an archive, the list that names them and the index over them: what export and repack share.

Names appear in this order, so that a crash leaves an archive that is whole: a page under its own name, synced; the
directory; the index, which knows the page from then on; the list. A temporary file stays as a second name of its page
until the index, or where there is none the directory, is synced: so the next run knows a page that was never listed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .. import fs
from .._core.v1 import PageFileWriter
from ..base.tuples import NamedTuple
from ..fs.archives import archive_space, clear_archive, publish_archive_page
from ..fs.installing import put_file
from ..model.results import PageInfo
from .indexing import known_pages
from .listing import INDEX_NAME, Listing, find_pages, list_content

PAGE_MODE = 0o600
"""Mode of a page, as in the original."""


class NewPage(NamedTuple):
    """A page that has its final name, and still its temporary name."""

    info: PageInfo
    temp: fs.TempFile


@contextmanager
def archive_at_work(directory: str, pages_file: str | None) -> Iterator[tuple[fs.TempFiles, Listing]]:
    """Lock the folder against other commands of ours, remove the files of killed ones, and yield the pages."""
    with archive_space(directory) as space:
        listing = find_pages(directory, pages_file)
        known = {*listing.names, *(page.name for page in known_pages(listing.directory).pages)}
        replaced = [os.path.join(listing.directory, INDEX_NAME), *filter(None, [listing.list_path])]
        clear_archive(listing.directory, known, replaced)
        yield space, find_pages(directory, pages_file)


def write_archive_page(space: fs.TempFiles, write: Callable[[PageFileWriter], None], *, name: str = "") -> NewPage:
    """Let `write` fill a page, and name it, by default after its content. The directory is not synced."""
    temp = space.create(".page", PAGE_MODE)
    try:
        with PageFileWriter(temp.fd, temp.path) as writer:
            write(writer)
            made = writer.finish()
            name = name or made
            count = writer.item_count
        fs.fsync_file(temp.fd, temp.path)
        size = os.fstat(temp.fd).st_size
    finally:
        temp.close()
    publish_archive_page(temp, space.directory, name)
    return NewPage(PageInfo(name=name, object_count=count, size=size), temp)


def drop_temporaries(pages: list[NewPage]) -> None:
    for page in pages:
        fs.unlink(page.temp.path)


def write_list(path: str, names: tuple[str, ...], replaced: Iterable[tuple[str, int]] = ()) -> None:
    """Replace the list as a whole."""
    put_file(path, list_content(names, replaced), like=path)
