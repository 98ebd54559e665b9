"""Raw trees: one name looked up, some names changed, all ids patched in place. Objects may be kept in memory.

Trees never change, so they are shared by all threads. A version of a tree that changes ids only shares the table of
offsets of the version before.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from ..errors import Corrupt
from ..store.page_store import PageStore

TREE_MODE = b"40000"
BLOB_MODE = b"100644"
GITLINK_MODE = b"160000"
"""The commit of a submodule, which is no key: the commit need not be here."""
CACHE_BYTES = 192 << 20
"""Room for the trees of a million keys."""
ENTRY_COST = 100
"""Bytes that an entry of a parsed tree takes beside its own, about."""


class TreeId(bytes):
    """The id of a whole tree, as the value of a change."""


class Tree:
    """A parsed tree. `places`: name -> offset of the id; negative for a tree."""

    __slots__ = ("places", "raw")

    def __init__(self, raw: bytes, places: dict[bytes, int]) -> None:
        self.raw = raw
        self.places = places


EMPTY = Tree(b"", {})


class Objects:
    """The objects of a store, and with `in_memory` those that could not be written to it."""

    def __init__(self, store: PageStore, *, in_memory: bool = False) -> None:
        self.store = store
        self.hash_size = 32 if store.object_format == "sha256" else 20
        self.in_memory = in_memory
        self._memory: dict[bytes, tuple[str, bytes]] = {}

    def read(self, oid: bytes) -> bytes:
        """Return the content of an object. Raises ObjectMissing."""
        if self._memory and oid in self._memory:
            return self._memory[oid][1]
        return self.store.read(oid)[1]

    def read_many(self, oids: list[bytes]) -> list[bytes]:
        if not self._memory:
            return [content for _, content in self.store.read_many(oids)]
        stored = [oid for oid in oids if oid not in self._memory]
        found = dict(zip(stored, self.store.read_many(stored), strict=True)) if stored else {}
        return [(self._memory.get(oid) or found[oid])[1] for oid in oids]

    def add_many(self, kind: str, contents: Iterable[bytes]) -> list[bytes]:
        """Add objects and return their ids: to the store's writer, or to memory."""
        pairs = [(kind, content) for content in contents]
        if not self.in_memory:
            # Not checked again: names are checked by the layout, and trees are sorted as they are made.
            return self.store.writer().add_many(pairs, check=False)
        oids = [hash_of(kind, content, self.store.object_format) for _, content in pairs]
        self._memory.update(zip(oids, pairs, strict=True))
        return oids

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Add objects that are in a page when the block ends, unless objects are kept in memory."""
        if self.in_memory:
            yield
        else:
            with self.store.batch():
                yield

    def has(self, oid: bytes) -> bool:
        return oid in self._memory or oid in self.store


def hash_of(kind: str, content: bytes, object_format: str) -> bytes:
    return hashlib.new(object_format, f"{kind} {len(content)}\0".encode() + content, usedforsecurity=False).digest()


class Trees:
    """Parsed trees by id, as many as fit into CACHE_BYTES.

    `read_count`: how many were read from the store. `most_written`: entries of the largest one that was written.
    """

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.read_count = 0
        self.most_written = 0
        self._size = objects.hash_size
        self._entry = re.compile(rb"([0-7]+) ([^\0]+)\0(.{%d})" % self._size, re.DOTALL)
        self._kept: dict[bytes, Tree] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, oid: bytes | None) -> Tree:
        """Return a tree; None is the empty one. Raises ObjectMissing, or Corrupt if it is no tree."""
        if oid is None:
            return EMPTY
        found = self._kept.get(oid)
        if found is None:
            self.read_count += 1
            found = self.put(oid, self._parse(oid, self.objects.read(oid)))
        return found

    def load(self, oids: Iterable[bytes]) -> None:
        """Read many trees at once, so that get() finds them."""
        wanted = [oid for oid in dict.fromkeys(oids) if oid not in self._kept]
        self.read_count += len(wanted)
        for oid, raw in zip(wanted, self.objects.read_many(wanted) if wanted else (), strict=True):
            self.put(oid, self._parse(oid, raw))

    def put(self, oid: bytes, tree: Tree) -> Tree:
        cost = len(tree.raw) + ENTRY_COST * len(tree.places)
        with self._lock:
            if oid not in self._kept:
                self._bytes += cost
            self._kept[oid] = tree
            while self._bytes > CACHE_BYTES and len(self._kept) > 1:
                old = self._kept.pop(next(iter(self._kept)))
                self._bytes -= len(old.raw) + ENTRY_COST * len(old.places)
        return tree

    def _parse(self, oid: bytes, raw: bytes) -> Tree:
        places: dict[bytes, int] = {}
        at = 0
        for found in self._entry.finditer(raw):
            if found.start() != at:
                break
            at = found.end()
            place = found.start(3)
            if found[1] != GITLINK_MODE:
                places[found[2]] = -place if found[1] == TREE_MODE else place
        if at != len(raw):
            raise Corrupt(oid.hex(), "not a tree", offset=at)
        return Tree(raw, places)

    def find(self, oid: bytes | None, name: bytes) -> tuple[bytes, bool] | None:
        """Return the id under a name, and whether it is a tree's; None if the tree has no such name."""
        tree = self.get(oid)
        place = tree.places.get(name)
        if place is None:
            return None
        at = abs(place)
        return tree.raw[at : at + self._size], place < 0

    def blob_at(self, root: bytes | None, path: list[bytes]) -> bytes | None:
        """Return the id of the blob at a path, or None."""
        if root is None:
            return None
        oid, kept, size = root, self._kept, self._size
        last = len(path) - 1
        for depth, name in enumerate(path):
            tree = kept.get(oid) or self.get(oid)
            place = tree.places.get(name)
            if place is None or (place < 0) == (depth == last):
                return None
            at = -place if place < 0 else place
            oid = tree.raw[at : at + size]
        return oid

    def entries(self, oid: bytes | None) -> Iterator[tuple[bytes, bytes, bool]]:
        """Yield name, id, and whether it is a tree, in git's order."""
        tree = self.get(oid)
        for name, place in tree.places.items():
            at = abs(place)
            yield name, tree.raw[at : at + self._size], place < 0

    def walk(self, root: bytes | None, below: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield path and id of each blob below a folder, whose name ends in a slash."""
        for name in below.split(b"/")[:-1]:
            found = self.find(root, name)
            if found is None or not found[1]:
                return
            root = found[0]
        todo = [(below, root)]
        while todo:
            folder, oid = todo.pop()
            folders = []
            for name, inner, is_tree in self.entries(oid):
                if is_tree:
                    folders.append((folder + name + b"/", inner))
                else:
                    yield folder + name, inner
            self.load(inner for _, inner in folders)
            todo += reversed(folders)

    # -- Changing

    def edited(self, old: Tree, changes: dict[bytes, bytes | None]) -> Tree:
        """Return a tree with some names changed: a blob's id, a TreeId, or None to remove the name."""
        places, size = old.places, self._size
        for name, oid in changes.items():
            if oid is None or name not in places or (places[name] < 0) != (type(oid) is TreeId):
                return self._rebuilt(old, changes)
        raw = bytearray(old.raw)
        for name, oid in changes.items():
            at = abs(places[name])
            raw[at : at + size] = oid  # type: ignore[assignment]
        return Tree(bytes(raw), places)

    def _rebuilt(self, old: Tree, changes: dict[bytes, bytes | None]) -> Tree:
        entries = {}
        for mode, name, oid in self._entry.findall(old.raw):
            entries[name] = (name + b"/" if mode == TREE_MODE else name, mode, oid)
        for name, change in changes.items():
            if change is None:
                entries.pop(name, None)
            elif type(change) is TreeId:
                entries[name] = (name + b"/", TREE_MODE, change)
            else:
                entries[name] = (name, BLOB_MODE, change)
        pieces: list[bytes] = []
        places: dict[bytes, int] = {}
        at = 0
        for name, (_, mode, oid) in sorted(entries.items(), key=lambda entry: entry[1][0]):
            at += len(mode) + len(name) + 2
            if mode != GITLINK_MODE:
                places[name] = -at if mode == TREE_MODE else at
            pieces += (mode, b" ", name, b"\0", oid)
            at += self._size
        return Tree(b"".join(pieces), places)


class Edit:
    """Changes of one tree: `changes` by name are a blob's id, a TreeId, None to remove, or the Edit of a subtree."""

    __slots__ = ("changes", "old")

    def __init__(self, old: bytes | None) -> None:
        self.old = old
        self.changes: dict[bytes, bytes | Edit | None] = {}


def write_edit(trees: Trees, root: Edit) -> bytes | None:
    """Write the trees of an edit, the deepest first, and return the root's id; None if nothing is left."""
    top = Edit(None)
    top.changes[b""] = root
    levels: list[list[tuple[Edit, Edit, bytes]]] = [[(root, top, b"")]]
    while levels[-1]:
        levels.append(
            [
                (inner, edit, name)
                for edit, _, _ in levels[-1]
                for name, inner in edit.changes.items()
                if type(inner) is Edit
            ]
        )
    for level in reversed(levels):
        trees.load(edit.old for edit, _, _ in level if edit.old is not None)
        _write_level(trees, level)
    return top.changes[b""]  # type: ignore[return-value]


def _write_level(trees: Trees, level: list[tuple[Edit, Edit, bytes]]) -> None:
    made = []
    for edit, above, name in level:
        old = trees.get(edit.old)
        tree = trees.edited(old, edit.changes)  # type: ignore[arg-type]
        if tree.raw == old.raw and edit.old is not None:
            above.changes[name] = TreeId(edit.old)
        elif not tree.places:
            above.changes[name] = None
        else:
            made.append((tree, above, name))
            trees.most_written = max(trees.most_written, len(tree.places))
    oids = trees.objects.add_many("tree", [tree.raw for tree, _, _ in made]) if made else []
    for oid, (tree, above, name) in zip(oids, made, strict=True):
        trees.put(oid, tree)
        above.changes[name] = TreeId(oid)
