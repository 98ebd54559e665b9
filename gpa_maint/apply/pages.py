"""Turn temporary files into packs, for all verbs that write pages.

I3, I4, I14: Each page is synced and held before it gets a name, the .pack is renamed before the .idx, and the directory
is synced once for all pages. I9: A page gets the mtime of its youngest source.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from .. import fs
from ..base.progress import ReportProgress
from ..base.tuples import NamedTuple
from ..model.results import PageInfo
from ..repo.objdir import ObjectDir


class Page(NamedTuple):
    """A page that is written and synced, but has no name yet.

    `sources`: the packs that have a copy of one of its objects; None if all replaced packs do.
    """

    name: str
    object_count: int
    size: int
    pack: fs.TempFile
    idx: fs.TempFile
    sources: tuple[str, ...] | None = None


def write_page(space: fs.Workspace, object_count: int, write: Callable[[fs.TempFile, fs.TempFile], str]) -> Page:
    """Let `write` fill a pack and its idx, and sync both. `write` returns the pack's trailer (hex).

    If it fails, no temporary file remains.
    """
    pack, idx = space.create(".pack", 0o444), space.create(".idx", 0o444)
    try:
        trailer = write(pack, idx)
        fs.fsync_file(pack.fd, pack.path)
        fs.fsync_file(idx.fd, idx.path)
        page = Page(f"pack-{trailer}", object_count, os.fstat(pack.fd).st_size, pack, idx)
    except BaseException:
        fs.unlink(pack.path)
        fs.unlink(idx.path)
        raise
    finally:
        pack.close()
        idx.close()
    return page


def drop_pages(pages: Iterable[Page]) -> None:
    """Remove the temporary files of pages. Files that have their final name stay."""
    for page in pages:
        fs.unlink(page.pack.path)
        fs.unlink(page.idx.path)


def publish_pages(
    objdir: ObjectDir,
    pages: list[Page],
    *,
    newest_ns: int,
    hold: fs.Hold,
    again: bool = False,
    report: ReportProgress | None = None,
) -> tuple[PageInfo, ...]:
    """Name the pages and make the names durable. Return them with the names that they got, in the same order.

    `newest_ns`: the mtime of their youngest source, which each page gets. `again`: see fs.publish_pack(). The hold of
    each page names only those packs of `hold` that share objects with it. Otherwise each of 1,000 pages made of 10,000
    packs would name all of them, in half a megabyte.
    """
    published = []
    replaced = frozenset(hold.sources)
    for number, page in enumerate(pages, start=1):
        fs.make_as_young(page.pack.path, newest_ns)
        own = hold
        if page.sources is not None:
            own = hold._replace(sources=tuple(name for name in page.sources if name in replaced))
        name = fs.publish_pack(objdir, page.pack, page.idx, page.name, own, again=again)
        published.append(PageInfo(name=name, object_count=page.object_count, size=page.size))
        if report:
            report("Publishing pages", number, len(pages))
    drop_pages(pages)
    if published:
        fs.fsync_dir(objdir.pack_dir)
    return tuple(published)
