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
        """Open the pages of these names, the newest last; by default those of find_pages().

        Raises DamagedArchive for the first file that is no page, SystemFailed for one that cannot be read.
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

        Raises ObjectMissing, or DamagedArchive about the newest copy if none is sound.
        """
        return self._values.read(key)

    def check(self, key: bytes, *, objects: bool) -> None:
        """Check a value as read() does, or, if values are not git `objects`, as get() does."""
        self._values.check(key, objects=objects)

    def beginning(self, prefix: bytes, most: int = 64) -> list[bytes]:
        """Return the keys that begin with these bytes, ascending, at most `most`."""
        found = {key for table, _places in self._tables for key in table.beginning(prefix, most)}
        return [key for key in sorted(found) if self._covers_all or self.find(key) is not None][:most]

    def __iter__(self) -> Iterator[bytes]:
        """Yield all keys, ascending, each once."""
        return iter(self._values.all_keys())

    def __len__(self) -> int:
        """Return the number of keys; if a page is newer than the index, each call counts again."""
        if len(self._tables) == 1 and self._covers_all:
            return len(self._tables[0][0])
        return len(self._values.all_keys())

    @property
    def opened(self) -> int:
        """Return the number of mapped pages."""
        return self._values.counts[0]

    @property
    def searches(self) -> int:
        """Return how often all pages were searched one after the other, without a table."""
        return self._values.counts[1]

    @property
    def table_count(self) -> int:
        """Return the largest number of tables in a look-up: one, and another one if pages are newer than the index."""
        return len(self._tables)

    def close(self) -> None:
        """Close all pages. Later reads fail."""
        self._values.show([], [])
        self._tables, self._covers_all = [], False

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
