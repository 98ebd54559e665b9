"""The keys and values of a data branch at one commit. A snapshot never changes, and any thread may read it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from ..errors import ObjectMissing
from .layout import SETTINGS, Layout, record_in, records_of
from .trees import Trees

BLOBS_AT_ONCE = 4096
SETTINGS_PATH = SETTINGS.encode()


class Snapshot:
    """All keys and values at one commit. `commit` is its id in hex, "" for a branch without one."""

    def __init__(self, trees: Trees, layout: Layout, root: bytes | None, commit: str) -> None:
        self.commit = commit
        self.layout = layout
        self.root = root
        self._trees = trees

    def get(self, key: str, default: bytes | None = None) -> bytes | None:
        """Return the value of a key, or `default` if there is none."""
        layout = self.layout
        oid = self._trees.blob_at(self.root, layout.path(key))
        if oid is None:
            return default
        value = self._trees.objects.read(oid)
        if layout.is_table:
            record = record_in(value, key)
            return default if record is None else record
        return value

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the values of those keys that there are. Faster than get() for each."""
        oids = {}
        for key in keys:
            oid = self._trees.blob_at(self.root, self.layout.path(key))
            if oid is not None:
                oids[key] = oid
        wanted = list(dict.fromkeys(oids.values()))
        blobs = dict(zip(wanted, self._trees.objects.read_many(wanted) if wanted else (), strict=True))
        if not self.layout.is_table:
            return {key: blobs[oid] for key, oid in oids.items()}
        found = {key: record_in(blobs[oid], key) for key, oid in oids.items()}
        return {key: value for key, value in found.items() if value is not None}

    def __getitem__(self, key: str) -> bytes:
        value = self.get(key)
        if value is None:
            raise ObjectMissing(f"no key '{key}'")
        return value

    def __contains__(self, key: str) -> bool:
        if self.layout.is_table:
            return self.get(key) is not None
        return self._trees.blob_at(self.root, self.layout.path(key)) is not None

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that begin with `prefix`, in the order of the layout."""
        if self.layout.is_table:
            yield from (key for key, _ in self.items(prefix))
            return
        for path, _ in self._trees.walk(self.root, self.layout.folder(prefix)):
            key = self._key(path)
            if key is not None and key.startswith(prefix):
                yield key

    def items(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Yield keys that begin with `prefix`, with their values; many blobs are read at a time."""
        blobs = self._trees.walk(self.root, self.layout.folder(prefix))
        is_table = self.layout.is_table
        named = ((key, oid) for path, oid in blobs if (key := self._key(path)) is not None)
        wanted = named if is_table or not prefix else ((key, oid) for key, oid in named if key.startswith(prefix))
        while group := list(islice(wanted, BLOBS_AT_ONCE)):
            contents = self._trees.objects.read_many([oid for _, oid in group])
            for (key, _), content in zip(group, contents, strict=True):
                if not is_table:
                    yield key, content
                elif not prefix:
                    yield from records_of(content).items()
                else:
                    yield from (item for item in records_of(content).items() if item[0].startswith(prefix))

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __len__(self) -> int:
        """How many keys there are; they are counted anew each time."""
        return sum(1 for _ in self.keys())

    def state(self, key: str) -> bytes | None:
        """Return what tells versions of a value apart: the blob's id, or in a table the value; None for no value."""
        if self.layout.is_table:
            return self.get(key)
        return self._trees.blob_at(self.root, self.layout.path(key))

    def _key(self, path: bytes) -> str | None:
        return None if path == SETTINGS_PATH else self.layout.key(path)
