"""Server repositories as real pushes leave them, and repositories of special shape.

`pushed_history` makes a client with git fast-import and sends its commits with real `git push`es to a bare server that
keeps every push as a pack: thin packs, with the bases completed. The same spec gives the same objects on every machine.
The result is kept in a cache directory (GPA_TEST_CACHE, else one below the temporary directory) and copied for use.

The shapes at the end are small functions: a folder in, the path of a bare repository out.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import accumulate, pairwise, repeat
from pathlib import Path
from typing import IO, Literal, NamedTuple

import oracle
from oracle import ObjectFormat, git, git_line, pack_dir, packs
from packwriter import Entry, OfsDelta, RefDelta, Whole, add_pack, encode_delta, oid_hex

# Part of the cache key: count it up whenever the same spec gives other repositories than before.
GENERATOR_VERSION = 1

FIRST_COMMIT_TIME = 1_700_000_000
SECONDS_BETWEEN_COMMITS = 37
PACK_AGE_SECONDS = 3 * 86400
PUSHES_BETWEEN_INDEXES = 100
BASE_OBJECTS_PER_COMMIT = 5
BIG_PIECE = 1 << 16

# Fresh commits are loose in a client, so that a push searches deltas for them as it does in life.
ALL_LOOSE = 1_000_000_000

# Each push leaves one pack, and nothing tidies up behind it.
SERVER_CONFIG = """\
[receive]
\tunpackLimit = 1
\tautogc = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""

CLIENT_CONFIG = """\
[gc]
\tauto = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistorySpec:
    """What was pushed.

    kind: documents   single documents edited one at a time
          tree        a source tree: renames, merges, tags, binary files, modes, symlinks, forced pushes
          snapshots   more than half of the files change at once
    waiting: further pushes, prepared in the client and not sent
    base_objects: 0, or a first pack of at least so many objects below the pushes, as of an imported repository
    longer: how many times longer than usual each file is
    spread_mtimes: packs are one second apart, from three days ago on, in the order of the pushes
    """

    kind: Literal["documents", "tree", "snapshots"] = "documents"
    seed: int = 1
    pushes: int = 20
    waiting: int = 0
    commits_per_push: int = 1
    files: int = 30
    object_format: ObjectFormat = "sha1"
    index_version: Literal[1, 2] = 2
    longer: int = 1
    base_objects: int = 0
    spread_mtimes: bool = True


class RefUpdate(NamedTuple):
    """`oid` None deletes the ref."""

    ref: str
    oid: str | None


Push = tuple[RefUpdate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A server, the client that pushes to it, and what was pushed.

    packs: the server's packs, oldest first: that of the base objects, if any, then one for each of `pushed`.
    """

    spec: HistorySpec
    server: Path
    client: Path
    packs: tuple[str, ...]
    pushed: tuple[Push, ...]
    waiting: tuple[Push, ...]


# -- Making, keeping and copying


def pushed_history(root: Path, spec: HistorySpec) -> History:
    """A copy of the history `spec` describes, as root/server and root/client, free to be changed by the caller.

    Modification times are those of the cached original.
    """
    kept = _kept_history(spec)
    shutil.copytree(kept, root, symlinks=True, dirs_exist_ok=True)
    return _load_history(root, spec)


def send_push(client: Path, server: Path, push: Push) -> None:
    """Push one of `History.pushed` or `History.waiting`. The server then has one pack more."""
    refspecs = [f"+{update.oid}:{update.ref}" if update.oid else f":{update.ref}" for update in push]
    git(client, "push", "--quiet", server.resolve(), *refspecs)


def cache_dir() -> Path:
    default = Path(tempfile.gettempdir()) / f"gpa-test-cache-{os.getuid()}"
    path = Path(os.environ.get("GPA_TEST_CACHE") or default)
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _kept_history(spec: HistorySpec) -> Path:
    # The git version belongs to the key: another one may choose other deltas.
    key = repr((GENERATOR_VERSION, git_line(Path("."), "version"), asdict(spec)))
    kept = cache_dir() / f"{spec.kind}-{spec.pushes}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    if kept.exists() and not _is_whole(kept, spec):
        shutil.rmtree(kept)
    if not kept.exists():
        building = Path(tempfile.mkdtemp(prefix="building-", dir=cache_dir()))
        try:
            _build_history(building, spec)
            _rename_unless_present(building, kept)
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return kept


def _is_whole(kept: Path, spec: HistorySpec) -> bool:
    """Cleaners of the temporary directory take old files one by one, and packs are made to look old."""
    try:
        return set(_load_history(kept, spec).packs) == packs(kept / "server").keys()
    except (FileNotFoundError, AssertionError):
        return False


def _rename_unless_present(building: Path, kept: Path) -> None:
    try:
        building.rename(kept)
    except OSError:
        # Another process was faster and made the same.
        if not kept.exists():
            raise


def _load_history(root: Path, spec: HistorySpec) -> History:
    saved = json.loads((root / "history.json").read_text())
    pushes = tuple(tuple(RefUpdate(*update) for update in push) for push in saved["pushes"])
    return History(
        spec=spec,
        server=root / "server",
        client=root / "client",
        packs=tuple(saved["packs"]),
        pushed=pushes[: spec.pushes],
        waiting=pushes[spec.pushes :],
    )


def _build_history(root: Path, spec: HistorySpec) -> None:
    client = _init_bare(root / "client", CLIENT_CONFIG, object_format=spec.object_format)
    server = init_server(root / "server", object_format=spec.object_format, index_version=spec.index_version)
    if spec.base_objects:
        base_pack(client, server, objects=spec.base_objects, seed=spec.seed)
    pushes = _import_pushes(client, spec)
    for number, push in enumerate(pushes[: spec.pushes]):
        send_push(client, server, push)
        if number % PUSHES_BETWEEN_INDEXES == PUSHES_BETWEEN_INDEXES - 1:
            # Only to keep pushes fast: without it each one stats every pack there is.
            git(server, "multi-pack-index", "write")
    (pack_dir(server) / "multi-pack-index").unlink(missing_ok=True)
    names = _packs_by_mtime(server)
    if len(names) != spec.pushes + bool(spec.base_objects):
        raise AssertionError(f"{spec.pushes} pushes left {len(names)} packs")
    if spec.spread_mtimes:
        set_pack_mtimes(server, names)
    # Many loose files would be slow to copy. -k: amended commits have no ref.
    git(client, "repack", "-q", "-a", "-d", "-k")
    (root / "history.json").write_text(json.dumps({"packs": names, "pushes": pushes}))


def init_server(path: Path, *, object_format: ObjectFormat = "sha1", index_version: Literal[1, 2] = 2) -> Path:
    """A bare repository that keeps every push as one pack."""
    config = SERVER_CONFIG + (f"[pack]\n\tindexVersion = {index_version}\n" if index_version == 1 else "")
    return _init_bare(path, config, object_format=object_format)


def _init_bare(path: Path, config: str, *, object_format: ObjectFormat) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    git(path, "init", "--quiet", "--bare", "-b", "main", f"--object-format={object_format}")
    with (path / "config").open("a") as file:
        file.write(config)
    return path


def _packs_by_mtime(repo: Path) -> list[str]:
    found = sorted(pack_dir(repo).glob("*.pack"), key=lambda path: path.stat().st_mtime_ns)
    return [path.stem for path in found]


def set_pack_mtimes(repo: Path, names: Sequence[str], *, oldest: int | None = None) -> None:
    """Make the packs `names` one second apart, in this order, from `oldest` (three days ago) on."""
    start = int(time.time()) - PACK_AGE_SECONDS if oldest is None else oldest
    seconds = {name: start + number for number, name in enumerate(names)}
    for path in pack_dir(repo).iterdir():
        if path.stem in seconds:
            os.utime(path, (seconds[path.stem], seconds[path.stem]))


# -- Traffic: what the commits hold


class _Node(NamedTuple):
    """A file: `mark` is its blob in the import."""

    mode: str
    mark: str
    content: bytes


_Files = Mapping[str, _Node]


class _Import:
    """A running git fast-import. Marks are text, as in `:12`."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._mark = 0
        self._clock = FIRST_COMMIT_TIME

    def file(self, content: bytes, mode: str = "100644") -> _Node:
        self._stream.write(b"blob\nmark %b\ndata %d\n%b\n" % (self._next_mark(), len(content), content))
        return _Node(mode, f":{self._mark}", content)

    def commit(self, ref: str, parents: Sequence[str], changes: Iterable[str], message: str) -> str:
        lines = [f"commit {ref}", f"mark {self._next_mark().decode()}", f"committer {self._person()}"]
        lines += [f"data {len(message.encode())}", message]
        lines += [f"{word} {parent}" for word, parent in zip(("from", "merge"), parents, strict=False)]
        self._stream.write("\n".join([*lines, *changes, "\n"]).encode())
        return f":{self._mark}"

    def commit_in_pieces(self, path: str, pieces: Iterable[bytes], size: int) -> None:
        """Add one file of `size` bytes to main without holding it in memory."""
        head = f"commit refs/heads/main\ncommitter {self._person()}\ndata 0\nM 100644 inline {path}\ndata {size}\n"
        self._stream.write(head.encode())
        self._stream.writelines(pieces)
        self._stream.write(b"\n\n")

    def tag(self, name: str, target: str) -> str:
        message = f"release {name}"
        lines = [f"tag {name}", f"mark {self._next_mark().decode()}", f"from {target}", f"tagger {self._person()}"]
        self._stream.write("\n".join([*lines, f"data {len(message)}", message, ""]).encode())
        return f":{self._mark}"

    def _next_mark(self) -> bytes:
        self._mark += 1
        return b":%d" % self._mark

    def _person(self) -> str:
        self._clock += SECONDS_BETWEEN_COMMITS
        name = ("Ada Example", "Grace Example", "Linus Example")[self._clock % 3]
        return f"{name} <{name.split()[0].lower()}@example.com> {self._clock} +0000"


class _Text:
    """Text with the compressibility of prose or source code, all from one random generator."""

    def __init__(self, rng: random.Random, longer: int = 1) -> None:
        self.rng = rng
        self._longer = longer
        self._words = ["".join(rng.choices("eaoinstrhldcumpfgwybvk", k=rng.randint(2, 10))) for _ in range(1500)]
        self._weights = list(accumulate(1 / (rank + 8) for rank in range(1500)))

    def line(self) -> bytes:
        words = self.rng.choices(self._words, cum_weights=self._weights, k=self.rng.randint(4, 14))
        return " ".join(words).encode() + b"\n"

    def new(self, fewest: int, most: int) -> bytes:
        return b"".join(self.line() for _ in range(self._longer * self.rng.randint(fewest, most)))

    def edit(self, content: bytes) -> bytes:
        """One to four lines replaced, added or removed."""
        lines = content.splitlines(keepends=True)
        for _ in range(self.rng.randint(1, 4)):
            at = self.rng.randrange(len(lines) + 1)
            # As many come as go, in the long run: files keep their size through a long history.
            gone, come = self.rng.choices((0, 1, 2), weights=(1, 3, 1), k=2)
            lines[at : at + gone] = [self.line() for _ in range(come)]
        return b"".join(lines) or self.line()


@dataclass(slots=True, kw_only=True)
class _Branch:
    ref: str
    tip: str
    files: _Files

    def commit(self, into: _Import, files: _Files, message: str, *, merged: str = "") -> None:
        parents = [parent for parent in (self.tip, merged) if parent]
        self.tip = into.commit(self.ref, parents, _changes(self.files, files), message)
        self.files = files


def _changes(before: _Files, after: _Files) -> list[str]:
    # Deletions first: a new file may have the name of a folder that goes.
    gone = [f"D {path}" for path in before if path not in after]
    changed = [f"M {node.mode} {node.mark} {path}" for path, node in after.items() if before.get(path) is not node]
    return gone + changed


# A push as marks, before git fast-import has named the objects.
_Planned = list[tuple[str, str | None]]


def _documents(into: _Import, text: _Text, main: _Branch, spec: HistorySpec) -> Iterator[_Planned]:
    """An application that saves each change of a document: the first push brings all, the others change one each."""
    rng = text.rng

    def path(number: int) -> str:
        return f"documents/{number % 7}/{number:05}.txt"

    main.commit(into, {path(n): into.file(text.new(10, 120)) for n in range(spec.files)}, "all documents")
    yield [(main.ref, main.tip)]
    while True:
        for _ in range(spec.commits_per_push):
            files = dict(main.files)
            changed = path(len(files)) if rng.random() < 0.08 else rng.choice(list(files))
            old = files.get(changed)
            files[changed] = into.file(text.edit(old.content) if old else text.new(10, 120))
            main.commit(into, files, f"save {changed}")
        yield [(main.ref, main.tip)]


def _snapshots(into: _Import, text: _Text, main: _Branch, spec: HistorySpec) -> Iterator[_Planned]:
    """A job that saves the state of many things at once: more than half of the files change a little in each commit."""
    rng = text.rng
    start = {f"state/{n % 10}/{n:04}.json": into.file(text.new(20, 50)) for n in range(spec.files)}
    main.commit(into, start, "first snapshot")
    yield [(main.ref, main.tip)]
    while True:
        for _ in range(spec.commits_per_push):
            files = dict(main.files)
            for path in rng.sample(list(files), k=len(files) * rng.randint(50, 90) // 100):
                files[path] = into.file(text.edit(files[path].content))
            main.commit(into, files, "snapshot")
        yield [(main.ref, main.tip)]


# What the pushes after the first one do, again and again. A topic is opened, extended, amended and merged in turn.
TREE_PUSHES = (
    *("commit", "commit and tag", "open topic", "commit", "extend topic", "commit and light tag"),
    *("amend topic", "commit", "merge topic", "commit", "tag alone", "commit"),
)


def _source_tree(into: _Import, text: _Text, main: _Branch, spec: HistorySpec) -> Iterator[_Planned]:
    """A software project: topic branches, forced pushes, merges, tags, and all kinds of changes to a tree."""
    tree = _SourceTree(into, text)
    topic = fork = before = main
    main.commit(into, tree.start(spec.files), "first import")
    yield [(main.ref, main.tip)]
    number = 0
    while True:
        action = TREE_PUSHES[number % len(TREE_PUSHES)]
        number += 1
        tag = f"refs/tags/v0.{number}"
        planned: _Planned = []
        if action == "open topic":
            fork = _Branch(ref="", tip=main.tip, files=main.files)
            topic = _Branch(ref=f"refs/heads/topic/{number}", tip=main.tip, files=main.files)
        if action in ("open topic", "extend topic"):
            before = _Branch(ref=topic.ref, tip=topic.tip, files=topic.files)
            topic.commit(into, tree.changed(topic.files), f"work on {topic.ref}")
            planned = [(topic.ref, topic.tip)]
        elif action == "amend topic":
            files = tree.changed(topic.files)
            topic = before
            topic.commit(into, files, f"work on {topic.ref}, better")
            planned = [(topic.ref, topic.tip)]
        elif action == "merge topic":
            main.commit(into, _merged(main.files, fork.files, topic.files), f"merge {topic.ref}", merged=topic.tip)
            planned = [(main.ref, main.tip), (topic.ref, None)]
        elif action == "tag alone":
            planned = [(tag, into.tag(f"v0.{number}", main.tip))]
        else:
            for _ in range(spec.commits_per_push):
                main.commit(into, tree.changed(main.files), "change the tree")
            planned = [(main.ref, main.tip)]
            if action == "commit and light tag":
                planned.append((tag, main.tip))
            elif action == "commit and tag":
                planned.append((tag, into.tag(f"v0.{number}", main.tip)))
        yield planned


def _merged(ours: _Files, fork: _Files, theirs: _Files) -> _Files:
    """Our files with everything that changed between `fork` and `theirs`."""
    files = dict(ours)
    for path in fork.keys() | theirs.keys():
        if path not in theirs:
            files.pop(path, None)
        elif fork.get(path) is not theirs[path]:
            files[path] = theirs[path]
    return dict(sorted(files.items()))


class _SourceTree:
    """Makes and changes the files of a source tree. Folders have no dot in their names, files have one."""

    def __init__(self, into: _Import, text: _Text) -> None:
        self._into = into
        self._text = text
        self._rng = text.rng
        self._made = 0

    def start(self, count: int) -> _Files:
        files: dict[str, _Node] = {"README.md": self._into.file(self._text.new(20, 60))}
        self._link(files)
        self._binary(files)
        while len(files) < count:
            self._add(files)
        return files

    def changed(self, before: _Files) -> _Files:
        """A copy with one to three changes."""
        files = dict(before)
        for _ in range(self._rng.randint(1, 3)):
            change = self._rng.choices(self._CHANGES, cum_weights=self._WEIGHTS)[0]
            change(self, files)
        return files

    def _fresh(self, suffix: str) -> str:
        self._made += 1
        folder = self._rng.choice(("src/", "src/core/", "src/core/io/", "src/net/", "docs/", "tests/", "größe/", ""))
        return f"{folder}{self._rng.choice(('page', 'two words', 'index'))}-{self._made}{suffix}"

    def _pick(self, files: _Files, *suffixes: str) -> str:
        return self._rng.choice([path for path in files if path.endswith(suffixes)] or ["README.md"])

    def _add(self, files: dict[str, _Node]) -> None:
        files[self._fresh(self._rng.choice((".c", ".h", ".py")))] = self._into.file(self._text.new(5, 200))

    def _edit(self, files: dict[str, _Node]) -> None:
        path = self._pick(files, ".c", ".h", ".py", ".md")
        node = files[path]
        files[path] = self._into.file(self._text.edit(node.content), node.mode)

    def _delete(self, files: dict[str, _Node]) -> None:
        path = self._pick(files, ".c", ".py")
        if path != "README.md":
            del files[path]

    def _rename(self, files: dict[str, _Node]) -> None:
        path = self._pick(files, ".c", ".py", ".bin")
        if path != "README.md":
            files[self._fresh(Path(path).suffix)] = files.pop(path)

    def _rename_folder(self, files: dict[str, _Node]) -> None:
        folder = f"{Path(self._pick(files, '.c', '.py')).parent}/"
        self._made += 1
        for path in [path for path in files if path.startswith(folder)]:
            files[f"moved-{self._made}/{path.removeprefix(folder)}"] = files.pop(path)

    def _chmod(self, files: dict[str, _Node]) -> None:
        path = self._pick(files, ".py", ".c")
        node = files[path]
        files[path] = node._replace(mode="100755" if node.mode == "100644" else "100644")

    def _link(self, files: dict[str, _Node]) -> None:
        target = self._rng.choice([*files])
        files[self._fresh(".link")] = self._into.file(target.encode(), "120000")

    def _binary(self, files: dict[str, _Node]) -> None:
        """A new binary file, or another piece in the middle of one."""
        path = self._pick(files, ".bin")
        if path == "README.md" or self._rng.random() < 0.3:
            path, content = self._fresh(".bin"), self._rng.randbytes(self._rng.randint(500, 20000))
        else:
            old = files[path].content
            at = self._rng.randrange(len(old))
            content = old[:at] + self._rng.randbytes(100) + old[at + 100 :]
        files[path] = self._into.file(content)

    _CHANGES = (_edit, _add, _delete, _rename, _rename_folder, _chmod, _link, _binary)
    _WEIGHTS = tuple(accumulate((60, 12, 5, 8, 2, 4, 3, 6)))


_Traffic = Callable[[_Import, _Text, _Branch, HistorySpec], Iterator[_Planned]]
_TRAFFIC: dict[str, _Traffic] = {"documents": _documents, "tree": _source_tree, "snapshots": _snapshots}


def _import_pushes(client: Path, spec: HistorySpec) -> list[Push]:
    """Create the objects of all pushes in the client."""
    text = _Text(random.Random(f"{spec.kind} {spec.seed}"), spec.longer)
    main = _Branch(ref="refs/heads/main", tip="refs/heads/main^0" if spec.base_objects else "", files={})
    marks_file = client.resolve() / "marks"
    with _fast_import(client, f"--export-marks={marks_file}", "--force", unpack_limit=ALL_LOOSE) as stream:
        traffic = _TRAFFIC[spec.kind](_Import(stream), text, main, spec)
        planned = [next(traffic) for _ in range(spec.pushes + spec.waiting)]
    marks = dict(line.split() for line in marks_file.read_text().splitlines())
    marks_file.unlink()
    return [tuple(RefUpdate(ref, marks[mark] if mark else None) for ref, mark in push) for push in planned]


@contextmanager
def _fast_import(repo: Path, *options: str, unpack_limit: int) -> Iterator[IO[bytes]]:
    """Run git fast-import and write to its stdin. At least `unpack_limit` objects become a pack, fewer loose files."""
    command = ["git", "-C", str(repo), "-c", f"fastimport.unpackLimit={unpack_limit}", "fast-import", "--quiet"]
    with subprocess.Popen([*command, *options], stdin=subprocess.PIPE) as process:
        assert process.stdin
        yield process.stdin
    assert process.returncode == 0, f"git fast-import: exit status {process.returncode}"


def base_pack(client: Path, server: Path, *, objects: int, seed: int = 1) -> str:
    """Give client and server the same pack of at least `objects` objects: commits that change a small file each.

    A commit is five objects (commit, three trees, blob). The trees are small since a push walks all of the latest one.
    """
    text = _Text(random.Random(f"base {seed}"))
    with _fast_import(client, unpack_limit=0) as stream:
        into, tip = _Import(stream), ""
        for number in range(-(-objects // BASE_OBJECTS_PER_COMMIT)):
            file = into.file(b"%d\n" % number + text.line() + text.line())
            change = f"M {file.mode} {file.mark} base/{number % 31}/{number % 37}.txt"
            tip = into.commit("refs/heads/main", [tip] if tip else [], [change], f"change {number}")
    (pack,) = pack_dir(client).glob("*.pack")
    for path in (pack, pack.with_suffix(".idx")):
        shutil.copy2(path, pack_dir(server))
    git(server, "update-ref", "refs/heads/main", git_line(client, "rev-parse", "refs/heads/main"))
    return pack.stem


# -- Shapes written by hand: one small repository each


def delta_cycle_repo(root: Path, *, object_format: ObjectFormat = "sha1") -> Path:
    """Two packs: X is a delta on Y in the older one, Y a delta on X in the younger one.

    Taking the smallest copy of each would leave neither whole.
    """
    repo = init_server(root / "server", object_format=object_format)
    text = _Text(random.Random("cycle"))
    x = text.new(60, 60)
    y = text.edit(x)
    x_on_y: list[Entry] = [_blob(y), OfsDelta(base_index=0, program=encode_delta(y, x))]
    y_on_x: list[Entry] = [_blob(x), OfsDelta(base_index=0, program=encode_delta(x, y))]
    names = [add_pack(repo, [*x_on_y, *_commit_of([x, y], object_format)]), add_pack(repo, y_on_x)]
    return _finish(repo, names, [x, y])


def long_chain_repo(root: Path, length: int, *, object_format: ObjectFormat = "sha1") -> Path:
    """One pack with a chain of `length` deltas on one whole blob, each on the one before."""
    repo = init_server(root / "server", object_format=object_format)
    body = _Text(random.Random("chain")).new(20, 20)
    versions = [b"version %d\n" % number + body for number in range(length + 1)]
    entries: list[Entry] = [_blob(versions[0])]
    for number, (base, version) in enumerate(pairwise(versions)):
        entries.append(OfsDelta(base_index=number, program=encode_delta(base, version)))
    name = add_pack(repo, [*entries, *_commit_of(versions, object_format)])
    return _finish(repo, [name], versions)


def cross_pack_duplicates_repo(root: Path, copies: int = 8, *, object_format: ObjectFormat = "sha1") -> Path:
    """One blob in each of `copies` packs, stored in another way in each: whole at several levels, or as a delta."""
    repo = init_server(root / "server", object_format=object_format)
    text = _Text(random.Random("copies"))
    near = text.new(60, 60)
    shared = text.edit(near)
    far = shared[:1000] + text.new(60, 60)
    near_oid = oid_hex("blob", near, object_format=object_format)
    ways: list[list[Entry]] = [
        [_blob(shared, level=0)],
        [_blob(near), OfsDelta(base_index=0, program=encode_delta(near, shared))],
        [_blob(shared, level=9)],
        [RefDelta(base_oid=near_oid, program=encode_delta(near, shared)), _blob(near)],
        [_blob(far), OfsDelta(base_index=0, program=encode_delta(far, shared))],
        [
            _blob(far),
            OfsDelta(base_index=0, program=encode_delta(far, near)),
            OfsDelta(base_index=1, program=encode_delta(near, shared), level=0),
        ],
        [_blob(shared, level=1)],
    ]
    own = [b"only in pack %d\n" % number for number in range(copies)]
    names = [add_pack(repo, [*ways[number % len(ways)], _blob(own[number])]) for number in range(copies)]
    names.append(add_pack(repo, _commit_of([shared, near, far, *own], object_format)))
    return _finish(repo, names, [shared, near, far, *own])


def ref_delta_repo(root: Path, *, object_format: ObjectFormat = "sha1") -> Path:
    """One pack with REF_DELTA entries: on a base before, on a base after, and on another REF_DELTA."""
    repo = init_server(root / "server", object_format=object_format)
    text = _Text(random.Random("ref delta"))
    versions = [text.new(40, 40)]
    while len(versions) < 5:
        versions.append(text.edit(versions[-1]))

    def delta(base: int, target: int) -> RefDelta:
        oid = oid_hex("blob", versions[base], object_format=object_format)
        return RefDelta(base_oid=oid, program=encode_delta(versions[base], versions[target]))

    entries: list[Entry] = [delta(2, 0), delta(2, 1), _blob(versions[2]), delta(2, 3), delta(3, 4)]
    name = add_pack(repo, [*entries, *_commit_of(versions, object_format)])
    return _finish(repo, [name], versions)


def _blob(content: bytes, *, level: int = -1) -> Whole:
    return Whole(kind="blob", content=content, level=level)


def _tree(blobs: Sequence[bytes], object_format: ObjectFormat) -> Whole:
    oids = [bytes.fromhex(oid_hex("blob", blob, object_format=object_format)) for blob in blobs]
    return Whole(kind="tree", content=b"".join(b"100644 %05d\0%b" % row for row in enumerate(oids)))


def _commit_of(blobs: Sequence[bytes], object_format: ObjectFormat) -> list[Entry]:
    """A tree with `blobs` and a commit of it, so that everything is reachable."""
    tree = _tree(blobs, object_format)
    tree_oid = oid_hex("tree", tree.content, object_format=object_format)
    person = f"Ada Example <ada@example.com> {FIRST_COMMIT_TIME} +0000"
    lines = [f"tree {tree_oid}", f"author {person}", f"committer {person}", "", "by hand", ""]
    return [tree, Whole(kind="commit", content="\n".join(lines).encode())]


def _finish(repo: Path, names: Sequence[str], blobs: Sequence[bytes]) -> Path:
    """Point main to the commit of `blobs`; packs get mtimes in the order of `names`."""
    object_format = oracle.object_format(repo)
    commit = _commit_of(blobs, object_format)[1]
    assert isinstance(commit, Whole)
    git(repo, "update-ref", "refs/heads/main", oid_hex("commit", commit.content, object_format=object_format))
    set_pack_mtimes(repo, names)
    return repo


# -- Shapes made by git


def big_object_repo(root: Path, size: int, *, object_format: ObjectFormat = "sha1") -> Path:
    """Three pushes: a small file, an incompressible one, a compressible one; both large ones have over `size` bytes."""
    client = _init_bare(root / "client", CLIENT_CONFIG, object_format=object_format)
    server = init_server(root / "server", object_format=object_format)
    rng = random.Random("big")
    count = size // BIG_PIECE + 1
    phrase = (b"the same words over and over again\n" * BIG_PIECE)[:BIG_PIECE]
    # Depth 0: an import would search deltas between the large files, and a push would copy what it finds.
    with _fast_import(client, "--depth=0", unpack_limit=0) as stream:
        into = _Import(stream)
        into.commit_in_pieces("small.txt", [b"small\n"], 6)
        into.commit_in_pieces("random.bin", map(rng.randbytes, repeat(BIG_PIECE, count)), count * BIG_PIECE)
        into.commit_in_pieces("repeated.txt", repeat(phrase, count), count * BIG_PIECE)
    for oid in git(client, "rev-list", "--reverse", "refs/heads/main").stdout.split():
        send_push(client, server, (RefUpdate("refs/heads/main", oid),))
    set_pack_mtimes(server, _packs_by_mtime(server))
    return server


def v1_index_repo(root: Path, *, object_format: ObjectFormat = "sha1") -> Path:
    """Six pushes whose packs have version 1 indexes: no CRC32."""
    return pushed_history(root, HistorySpec(pushes=6, object_format=object_format, index_version=1)).server


def kept_pack_repo(root: Path, *, object_format: ObjectFormat = "sha1") -> Path:
    """Six pushes; the oldest and the fourth pack have a .keep."""
    history = pushed_history(root, HistorySpec(pushes=6, object_format=object_format))
    for name in (history.packs[0], history.packs[3]):
        (pack_dir(history.server) / f"{name}.keep").write_text("kept for a test\n")
    return history.server


def promisor_pack_repo(root: Path, *, object_format: ObjectFormat = "sha1") -> Path:
    """A partial clone without blobs, a promisor pack, and three pushes to it, whose bases it has fetched before.

    git 2.39 fetches the bases of a thin pack while it receives a push, but later ones refuse that inside quarantine.
    """
    history = pushed_history(root / "origin", HistorySpec(pushes=6, waiting=3, object_format=object_format))
    git(history.server, "config", "uploadpack.allowFilter", "true")
    git(history.server, "config", "uploadpack.allowAnySHA1InWant", "true")
    repo = _clone(history.server, root / "server", "--filter=blob:none")
    for push in history.waiting:
        for oid in filter(None, (update.oid for update in push)):
            changed = git(history.client, "diff-tree", "-r", "--no-commit-id", "--diff-filter=M", oid).stdout
            for line in changed.splitlines():
                git(repo, "cat-file", "-e", line.split()[2])
        send_push(history.client, repo, push)
    return repo


def cruft_pack_repo(root: Path, *, object_format: ObjectFormat = "sha1") -> Path:
    """One pack with all that is reachable, a cruft pack with an amended commit, and three pushes after them."""
    spec = HistorySpec(kind="tree", pushes=12, waiting=3, object_format=object_format)
    history = pushed_history(root, spec)
    git(history.server, "repack", "-q", "--cruft", "-d")
    for push in history.waiting:
        send_push(history.client, history.server, push)
    return history.server


def alternates_repo(root: Path, *, object_format: ObjectFormat = "sha1") -> tuple[Path, Path]:
    """(borrower, lender): the borrower has three pushes of its own, and all before them from the lender."""
    history = pushed_history(root / "lender", HistorySpec(pushes=6, waiting=3, object_format=object_format))
    borrower = _clone(history.server, root / "server", "--shared")
    for push in history.waiting:
        send_push(history.client, borrower, push)
    return borrower, history.server


def worktree_repo(root: Path, *, object_format: ObjectFormat = "sha1") -> tuple[Path, Path]:
    """(bare repository, linked worktree): six pushes, and a worktree with a branch of its own."""
    history = pushed_history(root, HistorySpec(pushes=6, object_format=object_format))
    git(history.server, "worktree", "add", "--quiet", "-b", "linked", root.resolve() / "worktree", "main")
    return history.server, root / "worktree"


def _clone(source: Path, target: Path, option: str) -> Path:
    """A bare clone that, like a server, keeps every push as one pack."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # A plain path for --shared, a URL for --filter: each is ignored with the other.
    url = str(source.resolve()) if option == "--shared" else f"file://{source.resolve()}"
    git(target.parent, "clone", "--quiet", "--bare", option, url, target.resolve())
    with (target / "config").open("a") as file:
        file.write(SERVER_CONFIG)
    return target
