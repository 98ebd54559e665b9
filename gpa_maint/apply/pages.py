"""New pages on their way from temporary files to packs, for all that writes them.

I3, I4: each is synced before it gets a name, .pack before .idx, and the directory is synced once for all of them.
I9: a page is younger than its sources.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable

from .. import fs
from .._core.progress import Progress as Progress  # commands.py has it from here
from ..git import ObjectDir
from ..model import PageInfo
from ..tuples import NamedTuple

Report = Callable[[str, int, int], None]


class Page(NamedTuple):
    """A page that is written and synced, but has no name yet."""

    name: str
    object_count: int
    size: int
    pack: fs.TempFile
    idx: fs.TempFile


def write_page(space: fs.Workspace, object_count: int, write: Callable[[fs.TempFile, fs.TempFile], str]) -> Page:
    """Let `write` fill a pack and its idx, which gives the pack's trailer (hex), and sync both.

    When it fails, no temporary file of it stays.
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
    """Remove their temporary files; what has a name already keeps it."""
    for page in pages:
        fs.unlink(page.pack.path)
        fs.unlink(page.idx.path)


def publish_pages(
    objdir: ObjectDir, pages: list[Page], *, newest_ns: int, without: Container[str] = ()
) -> tuple[PageInfo, ...]:
    """Name the pages, but for those in `without`, and make the names durable. Gives those that were named.

    `newest_ns`: the mtime of their youngest source. A page is younger even when its clock was ahead of ours.
    """
    published = []
    for page in pages:
        if page.name in without:
            continue
        fs.make_younger(page.pack.path, newest_ns)
        fs.publish_pack(objdir, page.pack, page.idx, page.name)
        published.append(PageInfo(name=page.name, object_count=page.object_count, size=page.size))
    drop_pages(pages)
    if published:
        fs.fsync_dir(objdir.pack_dir)
    return tuple(published)
