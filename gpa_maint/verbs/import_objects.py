"""Put objects from elsewhere into pages."""

from __future__ import annotations

from ..base.arguments import checked
from ..repo.discover import find_object_dir
from ..store.import_stream import import_stream

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import IO

    from ..base.arguments import StrPath
    from ..base.progress import ReportProgress
    from ..model.copies import ImportedObjects


@checked
def import_objects(
    stream: IO[bytes],
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    durability: str | None = None,
    report: ReportProgress | None = None,
) -> ImportedObjects:
    """Put the objects of `stream`, the output of `git cat-file --batch`, into pages.

    `durability` is that of PageStore.writer(). It needs no lock: maintenance may run at the same time.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    return import_stream(objdir, stream, durability=durability, report=report)
