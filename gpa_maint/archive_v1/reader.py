"""Archive: the values of an archive by key, newest page first, as the original finds them.

The C core looks keys up, in the same tables as for an archive that is written. With the combined index a look-up costs
the same however many pages there are, and maps one of them. Pages that it does not name are read once, when the
archive is opened, into one more table of the same form.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from types import TracebackType

from .._core.v1 import Entry, Values
from .listing import find_pages
from .tables import Tables


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
        tables = Tables(f"{self.directory}/", self.pages)
        self._covers_all = tables.covers_all
        self._values = Values(self.directory)
        self._tables = tables.lent(self.pages)
        paths = [os.path.join(self.directory, name) for name in self.pages]
        self._values.show(paths, self._tables, later=tables.indexed_count)

    # -- Look-up

    def __contains__(self, key: bytes) -> bool:
        return self.find(key) is not None

    def find(self, key: bytes) -> Entry | None:
        """Return the entry that is read for this key, or None. Its `page` is an index into `pages`."""
        return self._values.locate(key)

    def get(self, key: bytes) -> bytes:
        """Return the stored value. Raise ObjectMissing, or DamagedArchive if it is not inside its page."""
        return self._values.get(key)

    def read(self, key: bytes) -> tuple[str, bytes]:
        """Return type and content of the git object with that id, checked. A damaged copy is skipped for an older one.

        ObjectMissing; DamagedArchive, about the newest copy, when none is sound.
        """
        return self._values.read(key)

    def check(self, key: bytes, *, objects: bool) -> None:
        """As read(), or where values are not git `objects` as get(), without giving anything."""
        self._values.check(key, objects=objects)

    def beginning(self, prefix: bytes, most: int = 64) -> list[bytes]:
        """Return the keys that begin with these bytes, ascending, at most `most`."""
        found = {key for table, _places in self._tables for key in table.beginning(prefix, most)}
        return [key for key in sorted(found) if self._covers_all or self.find(key) is not None][:most]

    def __iter__(self) -> Iterator[bytes]:
        """All keys, ascending, each once."""
        return iter(self._values.all_keys())

    def __len__(self) -> int:
        """How many keys there are; where a page came after the index they are counted anew each time."""
        if len(self._tables) == 1 and self._covers_all:
            return len(self._tables[0][0])
        return len(self._values.all_keys())

    @property
    def opened(self) -> int:
        """How many pages are mapped now."""
        return self._values.counts[0]

    @property
    def searches(self) -> int:
        """How often all pages were asked one after the other, since no table could tell."""
        return self._values.counts[1]

    @property
    def table_count(self) -> int:
        """How many tables a look-up asks at most: one, and another one where pages came after the combined index."""
        return len(self._tables)

    def close(self) -> None:
        """Nothing may be read any more."""
        self._values.show([], [])
        self._tables, self._covers_all = [], False

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
