"""Three-way merging of trees without a checkout and without an index.

Only subtrees that differ are read, level by level. A subtree that one side alone changed is taken by its id. The result
depends on the heads alone, so every clone that merges the same heads makes the same commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..base.tuples import NamedTuple
from .drivers import driver_named
from .layout import SETTINGS, Layout, records_of, table_of
from .settings import Rules
from .trees import Edit, TreeId, Trees, write_edit

SETTINGS_NAME = SETTINGS.encode()

Entry = tuple[bytes, bool]  # an id, and whether it is a tree's


Pair = tuple[Edit, bytes, "bytes | None", tuple["bytes | None", ...]]
"""The edit of one side's tree, its path, the other side's tree, and the bases'."""


class MergeReport(NamedTuple):
    """What a merge did. `commit`: the head afterwards (hex). `merged`: the heads (hex) that it now contains.

    `made` says whether a merge commit was needed. `changed` keys were merged by a driver, `trees_read` were read.
    """

    commit: str
    merged: tuple[str, ...] = ()
    made: bool = False
    changed: int = 0
    trees_read: int = 0


class _Conflict(NamedTuple):
    """A blob that both sides changed: where the result goes, and the ids."""

    edit: Edit
    name: bytes
    path: bytes
    base: bytes | None
    sides: tuple[bytes, bytes]


class TreeMerge:
    """One merge of two trees of the same layout. `older` and `newer` are ordered by their newest commits."""

    def __init__(self, trees: Trees, layout: Layout, rules: Rules) -> None:
        self._trees = trees
        self._layout = layout
        self._rules = rules
        self._conflicts: list[_Conflict] = []
        self.merged_keys = 0

    def merge(self, bases: Iterable[bytes | None], older: bytes | None, newer: bytes | None) -> bytes | None:
        """Return the id of the merged tree; None if it is empty. With several bases, only what they agree on counts."""
        bases = tuple(dict.fromkeys(bases))
        if older == newer or older is None or newer is None:
            return older or newer
        if len(bases) == 1 and bases[0] in (older, newer):
            return newer if bases[0] == older else older
        root = Edit(older)
        level: list[Pair] = [(root, b"", newer, bases)]
        while level:
            self._trees.load(
                oid for edit, _, other, under in level for oid in (edit.old, other, *under) if oid is not None
            )
            level = [
                found for edit, path, other, under in level for found in self._merge_names(edit, path, other, under)
            ]
        self._solve()
        return write_edit(self._trees, root)

    def _merge_names(self, edit: Edit, path: bytes, other: bytes | None, bases: tuple[bytes | None, ...]) -> list[Pair]:
        """Decide each name that differs, and return the subtrees to go into."""
        trees = self._trees
        deeper: list[Pair] = []
        ours, theirs = trees.get(edit.old), trees.get(other)
        for name in _differing(ours, theirs, trees):
            one, two = trees.find(edit.old, name), trees.find(other, name)
            under = {trees.find(base, name) for base in bases} or {None}
            before = next(iter(under)) if len(under) == 1 else None
            if len(under) == 1 and one == before:
                _put(edit, name, two)
            elif len(under) == 1 and two == before:
                continue
            elif all(side is None or side[1] for side in (one, two)):
                # Also where one side has deleted the folder: what the other one has not changed in it goes.
                inner = Edit(one[0] if one else None)
                edit.changes[name] = inner
                folders = tuple(dict.fromkeys(found[0] if found and found[1] else None for found in under))
                deeper.append((inner, path + name + b"/", two[0] if two else None, folders))
            elif one is None:
                _put(edit, name, two)
            elif two is None:
                continue
            elif one[1] != two[1]:
                self._keep_both(edit, name, one, two)
            else:
                base = before[0] if before and not before[1] else None
                self._conflicts.append(_Conflict(edit, name, path + name, base, (one[0], two[0])))
        return deeper

    def _keep_both(self, edit: Edit, name: bytes, one: Entry, two: Entry) -> None:
        """Give the folder the name, and the blob beside it the name with `~` and the begin of its id."""
        folder, blob = (one, two) if one[1] else (two, one)
        edit.changes[name] = TreeId(folder[0])
        edit.changes[name + b"~" + blob[0].hex()[:8].encode()] = blob[0]

    def _solve(self) -> None:
        """Merge the conflicting blobs by their drivers, all read and written at once."""
        conflicts, objects = self._conflicts, self._trees.objects
        wanted = list(dict.fromkeys(oid for one in conflicts for oid in (one.base, *one.sides) if oid is not None))
        found = dict(zip(wanted, objects.read_many(wanted) if wanted else (), strict=True))
        results = []
        for one in conflicts:
            base = None if one.base is None else found[one.base]
            results.append(self._merge_blob(one.path, base, found[one.sides[0]], found[one.sides[1]]))
        for one, oid in zip(conflicts, objects.add_many("blob", results) if results else (), strict=True):
            one.edit.changes[one.name] = oid

    def _merge_blob(self, path: bytes, base: bytes | None, older: bytes, newer: bytes) -> bytes:
        if path == SETTINGS_NAME:
            raise AssertionError("the settings are merged by their serial numbers")
        if self._layout.is_table:
            before = None if base is None else records_of(base)
            return table_of(self._merge_records(before, records_of(older), records_of(newer)))
        self.merged_keys += 1
        key = self._layout.key(path)
        return driver_named(self._rules.driver("" if key is None else key))(base, older, newer)

    def _merge_records(
        self, base: dict[str, bytes] | None, older: dict[str, bytes], newer: dict[str, bytes]
    ) -> dict[str, bytes]:
        merged = merge_values(base, older, newer, self._rules.driver)
        self.merged_keys += sum(1 for key in older if key in newer and older[key] != newer[key])
        return merged


def merge_values(
    base: dict[str, bytes] | None,
    older: dict[str, bytes],
    newer: dict[str, bytes],
    driver: Callable[[str], str],
) -> dict[str, bytes]:
    """Merge keys and values held in memory. `base` is None where nothing is known of it: then nothing is deleted."""
    merged = {}
    for key in {**older, **newer}:
        value = merge_value((base or {}).get(key), older.get(key), newer.get(key), driver(key))
        if value is not None:
            merged[key] = value
    return merged


def merge_value(base: bytes | None, older: bytes | None, newer: bytes | None, driver: str) -> bytes | None:
    """Merge one key; None is a key that is not there. Deleted against unchanged is deleted, against changed stays."""
    if older == newer or newer == base:
        return older
    if older == base:
        return newer
    if older is None or newer is None:
        return newer if older is None else older
    return driver_named(driver)(base, older, newer)


def _differing(ours: object, theirs: object, trees: Trees) -> list[bytes]:
    """Return the names under which two trees differ, without .gpa-data."""
    size = trees.objects.hash_size
    one, two = ours.places, theirs.places  # type: ignore[attr-defined]
    raw, other = ours.raw, theirs.raw  # type: ignore[attr-defined]
    if one is two or one == two:
        names = [name for name, at in one.items() if raw[abs(at) : abs(at) + size] != other[abs(at) : abs(at) + size]]
    else:
        names = [name for name in one if name not in two]
        for name, at in two.items():
            there = one.get(name)
            if (
                there is None
                or (there < 0) != (at < 0)
                or raw[abs(there) : abs(there) + size] != other[abs(at) : abs(at) + size]
            ):
                names.append(name)
    return [name for name in names if name != SETTINGS_NAME]


def _put(edit: Edit, name: bytes, entry: Entry | None) -> None:
    edit.changes[name] = None if entry is None else TreeId(entry[0]) if entry[1] else entry[0]
