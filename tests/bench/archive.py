"""What does an archive of v1 pages cost: a look-up with 1 to 500 pages, and the import of 20,000 objects?

Stock git reads no such pages. The original library looks through the pages one by one, newest first; and a script that
reads them would give the same blobs to `git fast-import`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import archives
from oracle import git

from gpa_maint._core.v1 import PageFile
from gpa_maint.archive_v1 import Archive, import_archive
from gpa_maint.archive_v1.indexing import OBJECTS, KnownPages, index_over
from gpa_maint.archive_v1.listing import INDEX_NAME
from gpa_maint.paged_archive import PagedArchive
from tests.bench.measure import Table, call, pack_bytes, run

PAGES = (1, 10, 100, 500)
PAGE_VALUES = 40
LOOKUPS = 2000
OBJECTS_IMPORTED = 20_000


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    """Made archives of blobs; the page cache is warm."""
    del source, title
    table = Table(f"archive, {LOOKUPS} look-ups, {PAGE_VALUES} objects a page", ours="combined index, 1 page")
    for pages in PAGES:
        _look_up(table, work.with_name(f"archive-{pages}"), pages, pairs)
    table.show()
    _import(work.with_name("archive"), pairs)


def _look_up(table: Table, folder: Path, pages: int, pairs: int) -> None:
    values = dict(archives.blobs(pages * PAGE_VALUES))
    names = archives.make_archive(folder, values.items(), page_values=PAGE_VALUES)
    index = index_over(str(folder), names, KnownPages(), kind=OBJECTS, now=0)
    assert index is not None
    (folder / INDEX_NAME).write_bytes(index.image)
    keys = random.Random(pages).choices(list(values), k=LOOKUPS)
    opened = [PageFile(str(folder / name)) for name in reversed(names)]
    with Archive(folder) as archive, PagedArchive(f"{folder}/", names) as paged:
        for key in keys:
            assert archive.get(key) == paged.get(key)
        for _ in range(pairs):
            table.add(f"combined index, {_pages(pages)}", call(_each(keys, archive.get)))
            table.add(f"PagedArchive, {_pages(pages)}", call(_each(keys, paged.get)))
            table.add(f"page by page, {_pages(pages)}", call(_each(keys, lambda key: _first(opened, key))))
    for page in opened:
        page.close()


def _pages(count: int) -> str:
    return "1 page" if count == 1 else f"{count} pages"


def _each(keys: list[bytes], look: Callable[[bytes], object]) -> Callable[[], None]:
    def all_of_them() -> None:
        for key in keys:
            look(key)

    return all_of_them


def _first(pages: list[PageFile], key: bytes) -> bytes:
    for page in pages:
        entry = page.find(key)
        if entry is not None:
            return bytes(page.value(entry))
    raise KeyError(key)


def _import(folder: Path, pairs: int) -> None:
    values = list(archives.blobs(OBJECTS_IMPORTED, size=600))
    archives.make_archive(folder, values)
    stream = folder.with_name("stream")
    stream.write_bytes(b"".join(b"blob\ndata %d\n%b\n" % (len(value) - 4, value[4:]) for _, value in values))
    size = sum(path.stat().st_size for path in folder.iterdir())
    table = Table(f"archive, import of {OBJECTS_IMPORTED} objects, {size >> 20} MiB of pages")
    for number in range(pairs):
        for name, delta in (("git-gpa", False), ("git-gpa --delta", True)):
            repo = _new_repo(folder, f"{name}-{number}")
            cost = call(lambda repo=repo, delta=delta: import_archive(str(folder), path=str(repo), delta=delta))
            table.add(name, cost, f"{pack_bytes(repo) >> 10} KiB")
        repo = _new_repo(folder, f"fast-import-{number}")
        cost = run([["sh", "-c", f"git fast-import --quiet <'{stream}'"]], repo)
        table.add("git fast-import", cost, f"{pack_bytes(repo) >> 10} KiB")
    table.show()


def _new_repo(folder: Path, name: str) -> Path:
    repo = folder.with_name(f"{name}.git")
    git(folder, "init", "--quiet", "--bare", repo)
    return repo
