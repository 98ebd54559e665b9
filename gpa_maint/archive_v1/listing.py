"""Find the pages of an archive, and their order: by the caller's list, because the original keeps none.

A list is a text file, one name a line, the newest page last. Where there is none, the order is that of the combined
index, and of what that does not name, the order in which the files were last written. Behind the names it remembers
pages that others have replaced since: `# replaced <name> <second>`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable

from .._core.v1 import ArchiveIndex
from ..base import safe_open
from ..base.tuples import NamedTuple
from ..errors import Corrupt, GpaError, Unsupported

PAGE_NAME = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
REPLACED = re.compile(rf"# replaced ({PAGE_NAME.pattern}) (\d{{1,18}})")
LIST_NAME = "pages"
INDEX_NAME = "combined-index-v1"


class Listing(NamedTuple):
    """The pages of an archive, oldest first. `list_path` is "" where no list says so.

    `strays`: pages in the folder that the list does not name, and that we did not replace by others. `replaced`: names,
    and seconds since when, that the list remembers to have been replaced by pages it names.
    """

    directory: str
    names: tuple[str, ...]
    strays: tuple[str, ...] = ()
    list_path: str = ""
    replaced: tuple[tuple[str, int], ...] = ()

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)


class BadList(GpaError):
    """A list of pages is malformed."""


def find_pages(directory: str, pages_file: str | None = None) -> Listing:
    """Return the pages in the list, by default the file `pages` in the folder; without a list all existing pages.

    Raises GpaError if the folder or the named list is missing, BadList if a line is not the name of a page.
    """
    directory = os.path.abspath(directory)
    if not os.path.isdir(directory):
        raise GpaError(f"archive '{directory}' is not a directory")
    there, replaced = _pages_in(directory)
    # A list that is named may be a link; the one in the folder is as untrusted as that.
    path = os.path.realpath(pages_file) if pages_file else os.path.join(directory, LIST_NAME)
    if not os.path.lexists(path):
        if pages_file:
            raise GpaError(f"list of pages '{pages_file}' does not exist")
        return Listing(directory, tuple(name for name in there if name not in replaced))
    content = safe_open.read_whole(path)[0]
    names = parse_list(content, path)
    remembered = tuple(one for one in parse_replaced(content) if one[0] not in names)
    replaced.update(name for name, _since in remembered)
    strays = tuple(name for name in there if name not in names and name not in replaced)
    return Listing(directory, names, strays, path, remembered)


def parse_list(content: bytes, path: str) -> tuple[str, ...]:
    """Return the names in the list `path`, without empty lines and lines that begin with #."""
    lines = (line.strip() for line in content.decode("utf-8", "replace").splitlines())
    names = [line for line in lines if line and not line.startswith("#")]
    for number, name in enumerate(names):
        if not PAGE_NAME.fullmatch(name):
            raise BadList(f"'{path}' names '{name}', which is not the name of a page")
        if name in names[:number]:
            raise BadList(f"'{path}' names '{name}' twice")
    return tuple(names)


def parse_replaced(content: bytes) -> tuple[tuple[str, int], ...]:
    """Return the pages that a list calls replaced, and since when."""
    lines = content.decode("utf-8", "replace").splitlines()
    found = (REPLACED.fullmatch(line.strip()) for line in lines)
    return tuple((match[1], int(match[2])) for match in found if match)


def list_content(names: Iterable[str], replaced: Iterable[tuple[str, int]] = ()) -> bytes:
    lines = (*names, *(f"# replaced {name} {since}" for name, since in replaced))
    return "".join(f"{line}\n" for line in lines).encode()


def open_index(directory: str) -> ArchiveIndex | None:
    """Return the combined index of a folder, or None. Raise Corrupt or Unsupported if it does not parse."""
    try:
        return ArchiveIndex(os.path.join(directory, INDEX_NAME))
    except FileNotFoundError:
        return None


def _pages_in(directory: str) -> tuple[list[str], set[str]]:
    """Return all pages of a folder, oldest first as far as known, and those that others have replaced."""
    rank: dict[str, int] = {}
    replaced: set[str] = set()
    try:
        index = open_index(directory)
    except (Corrupt, Unsupported):
        index = None  # it is only a shortcut; verify reports its faults
    if index is not None:
        replaced = {page.name for page in index.pages if page.superseded}
        rank = {page.name: number for number, page in enumerate(index.pages) if not page.superseded}
        index.close()
    names = [entry for entry in os.scandir(directory) if PAGE_NAME.fullmatch(entry.name) and entry.is_file()]
    newest = len(rank)
    order = sorted((rank.get(entry.name, newest), entry.stat().st_mtime_ns, entry.name) for entry in names)
    return [name for _rank, _time, name in order], replaced
