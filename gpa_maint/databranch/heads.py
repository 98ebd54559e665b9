"""The branch at one commit, and the merging of several heads into one commit that every clone makes alike."""

from __future__ import annotations

from collections.abc import Sequence

from ..base.tuples import NamedTuple
from ..errors import GpaError
from ..repo.git import run_git
from .commits import Commit, all_commits, independent, merge_bases, merge_text, read_commit
from .drivers import DEFAULT, driver_named
from .layout import ANNEX_GLOBAL, SETTINGS, Layout, layout_named, table_of
from .merging import MergeReport, TreeMerge, merge_values
from .settings import BranchSettings, Rules, format_settings, newest_settings, parse_settings
from .snapshot import Snapshot
from .trees import Edit, Trees, write_edit

NAME = SETTINGS.encode()
INBOX = "refs/data-inbox/"
REMOTES = "refs/remotes/"


class State(NamedTuple):
    """The branch at a commit (`oid` in hex, "" for none), committed at `time`.

    `has_settings`: whether .gpa-data is in it. `merged_from`: for a merge in memory, the branch that it started from.
    """

    oid: str
    time: int
    settings: BranchSettings
    layout: Layout
    rules: Rules
    snapshot: Snapshot
    has_settings: bool = False
    merged_from: str | None = None


class _AnnexRules(Rules):
    """Presence for location logs and URLs; the lines of both for all other files, as git-annex merges them."""

    def driver(self, key: str) -> str:
        return "presence" if key.endswith((".log", ".log.web")) and key not in ANNEX_GLOBAL else "union"


class StateReader:
    """Reads a branch at any commit. `first`: the settings of a branch that does not exist yet."""

    def __init__(self, trees: Trees, ref: str, first: BranchSettings) -> None:
        self.trees = trees
        self.ref = ref
        self._first = first
        self._parsed: dict[bytes, tuple[BranchSettings, Layout, Rules]] = {}

    def read(self, oid: str) -> State:
        """Return the branch at a commit; "" is a branch without one."""
        if not oid:
            settings, layout, rules = _prepared(self._first)
            return State("", 0, settings, layout, rules, Snapshot(self.trees, layout, None, ""))
        commit = read_commit(self.trees.objects, oid)
        root = bytes.fromhex(commit.tree)
        found = self.trees.find(root, NAME)
        if found is not None:
            if found[0] not in self._parsed:
                self._parsed[found[0]] = _prepared(parse_settings(self.trees.objects.read(found[0])))
            settings, layout, rules = self._parsed[found[0]]
        else:
            settings, layout, rules = _prepared(self._without_file(root))
        snapshot = Snapshot(self.trees, layout, root, oid)
        return State(oid, commit.time, settings, layout, rules, snapshot, found is not None)

    def _without_file(self, root: bytes) -> BranchSettings:
        """Return the settings of a branch that is git-annex's, or any other one, whose files are keys.

        Each line of git-annex's transitions.log is an epoch.
        """
        if self.trees.find(root, b"uuid.log") is None and not self.ref.endswith("/git-annex"):
            return BranchSettings("path", serial=0)
        log = self.trees.find(root, b"transitions.log")
        lines = self.trees.objects.read(log[0]).splitlines() if log else []
        return BranchSettings("git-annex", serial=0, epoch=len(set(lines)))


def _prepared(settings: BranchSettings) -> tuple[BranchSettings, Layout, Rules]:
    layout = layout_named(settings.layout)
    rules = _AnnexRules((), "union") if layout.name == "git-annex" else Rules(settings.rules, DEFAULT)
    return settings, layout, rules


def other_heads(path: str, ref: str) -> dict[str, str]:
    """Return ref -> id (hex) of this branch in each remote and in the inbox."""
    name = "/" + short_name(ref)
    lines = run_git(["for-each-ref", "--format=%(objectname) %(refname)", REMOTES, INBOX], cwd=path).splitlines()
    return {ref: oid for oid, _, ref in (line.partition(" ") for line in lines) if ref.endswith(name)}


def short_name(ref: str) -> str:
    return ref.removeprefix("refs/heads/") if ref.startswith("refs/heads/") else ref.removeprefix("refs/")


def merge_heads(path: str, reader: StateReader, state: State, heads: Sequence[str]) -> MergeReport:
    """Make one commit of the branch and other heads, unless one of them contains all; moves no ref.

    A head of a lower epoch, one from before history was forgotten, is merged as values: it does not become a parent.
    """
    named = independent(path, [*heads, *([state.oid] if state.oid else [])])
    if named == [state.oid]:
        return MergeReport(state.oid, tuple(heads))
    before = reader.trees.read_count
    states = sorted((reader.read(oid) for oid in named), key=lambda one: (one.time, one.oid))
    for _, driver in (rule for one in states for rule in one.settings.rules):
        driver_named(driver)  # an unknown one is an error before anything is written
    epoch = max(one.settings.epoch for one in states)
    parents = [one for one in states if one.settings.epoch == epoch]
    stale = [one for one in states if one.settings.epoch < epoch]
    if len(parents) == 1 and not stale:
        return MergeReport(parents[0].oid, tuple(heads), trees_read=reader.trees.read_count - before)
    with reader.trees.objects.batch():
        merge = _HeadsMerge(path, reader, parents)
        for one in stale:
            merge.add_stale(one)
        oid = merge.commit(stale)
    return MergeReport(oid, tuple(heads), oid not in named, merge.merged_keys, reader.trees.read_count - before)


class _HeadsMerge:
    """The fold of several heads into one tree, in the order of their times and ids."""

    def __init__(self, path: str, reader: StateReader, parents: list[State]) -> None:
        self._path = path
        self._reader = reader
        self._parents = parents
        self.merged_keys = 0
        self._done: State = parents[0]
        seen = [parents[0].oid]
        for one in parents[1:]:
            bases = [reader.read(oid) for oid in merge_bases(path, one.oid, seen)]
            self._add(one, bases)
            seen.append(one.oid)

    def add_stale(self, one: State) -> None:
        """Merge a head from before history was forgotten, based on the newest of its commits that .gpa-data names."""
        forgot = self._done.settings.forgot
        known = set(all_commits(self._path, one.oid)) if forgot else set()
        bases = [self._reader.read(oid) for oid in forgot if oid in known][:1]
        self._add(one, bases, is_newer=one.time > self._done.time)

    def _add(self, one: State, bases: list[State], *, is_newer: bool = True) -> None:
        done = self._done
        settings = newest_settings((done.settings, one.settings))
        layout, rules = (done.layout, done.rules) if settings == done.settings else (one.layout, one.rules)
        older, newer = (done, one) if is_newer else (one, done)
        if {done.layout.name, one.layout.name, *(base.layout.name for base in bases)} == {layout.name}:
            merge = TreeMerge(self._reader.trees, layout, rules)
            root = merge.merge([base.snapshot.root for base in bases], older.snapshot.root, newer.snapshot.root)
            self.merged_keys += merge.merged_keys
        else:
            root = self._merge_values(bases, older, newer, (layout, rules))
        if layout.name != "git-annex":
            root = self._with_settings(root, settings)
        snapshot = Snapshot(self._reader.trees, layout, root, "")
        self._done = State("", max(done.time, one.time), settings, layout, rules, snapshot)

    def _with_settings(self, root: bytes | None, settings: BranchSettings) -> bytes | None:
        edit = Edit(root)
        (edit.changes[NAME],) = self._reader.trees.objects.add_many("blob", [format_settings(settings)])
        return write_edit(self._reader.trees, edit)

    def _merge_values(self, bases: list[State], older: State, newer: State, goal: tuple[Layout, Rules]) -> bytes | None:
        """Merge key by key, where the layouts differ. All values are held in memory."""
        layout, rules = goal
        base = dict(bases[0].snapshot.items()) if len(bases) == 1 else None
        merged = merge_values(base, dict(older.snapshot.items()), dict(newer.snapshot.items()), rules.driver)
        self.merged_keys += len(merged)
        return write_values(self._reader.trees, layout, merged)

    def commit(self, stale: list[State]) -> str:
        """Add the merge commit and return its id (hex); that of the only parent if its tree is the same."""
        root, parents = self._done.snapshot.root, self._parents
        if root is None:
            raise GpaError("the heads to be merged have no tree")
        if len(parents) == 1 and root == parents[0].snapshot.root:
            return parents[0].oid
        when = max(one.time for one in [*parents, *stale])
        commits = [Commit(one.oid, "", (), one.time) for one in parents]
        (oid,) = self._reader.trees.objects.add_many("commit", [merge_text(root.hex(), commits, when)])
        return oid.hex()


def write_values(trees: Trees, layout: Layout, values: dict[str, bytes]) -> bytes | None:
    """Write a tree of these keys and values alone, and return its id."""
    root = Edit(None)
    blobs: dict[tuple[bytes, ...], bytes] = {}
    if layout.is_table:
        records: dict[tuple[bytes, ...], dict[str, bytes]] = {}
        for key, value in values.items():
            records.setdefault(tuple(layout.path(key)), {})[key] = value
        blobs = {path: table_of(found) for path, found in records.items()}
    else:
        blobs = {tuple(layout.path(key)): value for key, value in values.items()}
    oids = trees.objects.add_many("blob", blobs.values()) if blobs else []
    for path, oid in zip(blobs, oids, strict=True):
        place_blob(trees, root, list(path), oid)
    return write_edit(trees, root)


def place_blob(trees: Trees, root: Edit, path: list[bytes], oid: bytes | None) -> None:
    """Note in an edit what lies at a path; None removes it. Raises GpaError for `a` beside `a/b`."""
    edit = root
    for name in path[:-1]:
        inner = edit.changes.get(name)
        if type(inner) is not Edit:
            found = trees.find(edit.old, name)
            if inner is not None or (found is not None and not found[1]):
                if oid is None:
                    return
                raise GpaError(f"key '{b'/'.join(path).decode()}' lies below '{name.decode()}', which is a key itself")
            inner = Edit(found[0] if found else None)
            edit.changes[name] = inner
        edit = inner
    name = path[-1]
    found = trees.find(edit.old, name)
    if (found is not None and found[1]) or type(edit.changes.get(name)) is Edit:
        if oid is None:
            return
        raise GpaError(f"there are keys below '{b'/'.join(path).decode()}', so it cannot be a key itself")
    edit.changes[name] = oid
