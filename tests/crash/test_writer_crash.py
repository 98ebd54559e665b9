"""A writer stopped before and in the middle of each operation that changes a file: what it had acknowledged is there.

It runs in a forked child that kills itself, or gets an error, or whose power goes out. What is acknowledged is told
through a pipe. A power cut takes what was not synced: contents of files, and names since their directory was. I1, I4.
"""

from __future__ import annotations

import errno
import io
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from dying import in_child
from histories import init_server
from oracle import fsck, git, git_line, objects_dir, pack_dir, packed_objects, packs
from writing import add_commit, assert_indexed_as_git_would, journals, left_behind

from gpa_maint import PageStore, fs
from gpa_maint.errors import GpaError
from gpa_maint.store.writer import Writer

MOST_STEPS = 400
DONE, KILLED = 0, -signal.SIGKILL
LARGE = 17 << 20
DIGITS = random.Random(1).randbytes(200).hex().encode()

Acknowledge = Callable[[str, bytes], None]
Scenario = Callable[[PageStore, str, Acknowledge], None]


def others(*cases: tuple[Any, ...]) -> list[Any]:
    """Left to `make crash`."""
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


# -- What a writer does. It goes on after an error, and tells which objects it was told are safe


def attempt(told: Acknowledge, how: str, work: Callable[[], bytes]) -> None:
    try:
        oid = work()
    except (GpaError, OSError) as error:
        told("failed", str(error).encode())
    else:
        told(how, oid)


def one_by_one(store: PageStore, durability: str, told: Acknowledge) -> None:
    """Blobs that wait, commits that are sealed, full pages, a group."""
    writer = store.writer(durability=durability, page_objects=6)
    for number in range(3):
        attempt(told, "added", lambda number=number: writer.add("blob", b"waits %d" % number * 40))  # type: ignore[misc]
        if number < 2:
            attempt(told, "sealed", lambda number=number: add_commit(writer, b"document %d" % number * 30))  # type: ignore[misc]
    attempt(told, "added", lambda: writer.add_many([("blob", b"%d of a group" % number) for number in range(8)])[-1])
    attempt(told, "closed", lambda: _close(writer))


def in_a_batch(store: PageStore, durability: str, told: Acknowledge, *, deltas: bool = False) -> None:
    writer = store.writer(durability=durability, page_objects=6, deltas=deltas)
    commit = b""
    try:
        with writer.batch():
            for number in range(3):
                commit = add_commit(writer, DIGITS + b"document %d" % number * 30)
    except (GpaError, OSError) as error:
        told("failed", str(error).encode())
    else:
        told("sealed", commit)
    attempt(told, "closed", lambda: _close(writer))


def with_deltas(store: PageStore, durability: str, told: Acknowledge) -> None:
    """The two documents of the first page are alike."""
    in_a_batch(store, durability, told, deltas=True)


def large(store: PageStore, durability: str, told: Acknowledge) -> None:
    writer = store.writer(durability=durability)
    attempt(told, "sealed", lambda: writer.add_stream("blob", LARGE, io.BytesIO(bytes(LARGE))))
    attempt(told, "sealed", lambda: add_commit(writer, b"small"))
    attempt(told, "closed", lambda: _close(writer))


def _close(writer: Writer) -> bytes:
    writer.close()
    return b""


SCENARIOS: dict[str, Scenario] = {
    "one by one": one_by_one,
    "in a batch": in_a_batch,
    "with deltas": with_deltas,
    "large": large,
}


# -- Stopping it


class Told(NamedTuple):
    """What a child had been told when it ended; `steps` of one that came to its end."""

    status: int
    steps: int
    added: tuple[str, ...]
    sealed: tuple[str, ...]
    closed: bool
    failed: tuple[str, ...]


Stopper = Callable[[int, str, str, int], tuple[int, int]]
"""(number of the step, operation, path, bytes) -> (errno or 0, bytes to be written first)"""


def run_child(repo: Path, scenario: Scenario, durability: str, stopper: Stopper) -> Told:
    """Run a scenario in a process of its own; `stopper` is asked before each step, those of fs included."""

    def work() -> int:
        steps, last = count(1), 0

        def number() -> int:
            nonlocal last
            last = next(steps)
            return last

        def core_step(operation: str, path: str, size: int) -> tuple[int, int]:
            return (0, size) if operation == "utime" else stopper(number(), operation, path, size)

        def step(operation: str, path: str) -> None:
            error, _ = stopper(number(), operation, path, 0)
            if error:
                raise OSError(error, os.strerror(error), path)

        fs.door.before_core_step, fs.door.before_step = core_step, step

        def told(how: str, oid: bytes) -> None:
            os.write(1, f"{how} {oid.hex() if how != 'failed' else oid.decode()}\n".encode())

        try:
            store = PageStore.open(objects_dir(repo))
            scenario(store, durability, told)
        except (GpaError, OSError) as error:
            told("failed", str(error).encode())
        os.write(1, f"steps {last}\n".encode())
        return DONE

    status, said = in_child(work)
    assert status in (DONE, KILLED), said
    lines = [line.partition(" ")[::2] for line in said.splitlines()]
    assert {how for how, _ in lines} <= {"added", "sealed", "closed", "failed", "steps"}, said

    def of(*kinds: str) -> tuple[str, ...]:
        return tuple(text for how, text in lines if how in kinds)

    steps = int(of("steps")[0]) if status == DONE else 0
    return Told(status, steps, of("added", "sealed"), of("sealed"), bool(of("closed")), of("failed"))


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killing(at: int) -> Stopper:
    def stopper(number: int, operation: str, path: str, size: int) -> tuple[int, int]:
        if number == at:
            die()
        return 0, size

    return stopper


def killing_within(at: int) -> Stopper:
    """Half of the bytes are written before."""

    def stopper(number: int, operation: str, path: str, size: int) -> tuple[int, int]:
        if number > at:
            die()
        return 0, size // 2 if number == at else size

    return stopper


def failing(at: int, error: int, *, once: bool, written: int = 2) -> Stopper:
    """A write that fails has written its bytes divided by `written`."""

    def stopper(number: int, operation: str, path: str, size: int) -> tuple[int, int]:
        if number == at or (number > at and not once):
            return error, size // written
        return 0, size

    return stopper


def short(number: int, operation: str, path: str, size: int) -> tuple[int, int]:
    """Every write ends early, and none fails."""
    return 0, max(1, size // 3)


# -- Power cuts


class Disk:
    """What of some directories would survive: watched from inside the child, step by step."""

    def __init__(self, folders: list[Path], shadow: Path) -> None:
        self._shadow = shadow
        self._names: dict[Path, dict[str, int]] = {}
        self._contents: dict[int, bytes] = {}
        self._last = ("", "")
        shutil.rmtree(shadow, ignore_errors=True)
        shadow.mkdir()
        for folder in folders:
            self._keep_names(folder)
            for path in folder.iterdir():
                self._contents[path.stat().st_ino] = path.read_bytes()

    def step(self, operation: str, path: str) -> None:
        """A step begins, so the one before it is done."""
        before, where = self._last[0], Path(self._last[1])
        if before == "fsync" and where in self._names:
            self._keep_names(where)
        elif before == "fsync" and where.is_file():
            self._contents[where.stat().st_ino] = where.read_bytes()
        self._last = (operation, path)

    def _keep_names(self, folder: Path) -> None:
        """A link of each file stays in the shadow, so that its inode is not used again."""
        self._names[folder] = {path.name: path.stat().st_ino for path in folder.iterdir() if path.is_file()}
        for path in folder.iterdir():
            kept = self._shadow / str(path.stat().st_ino)
            if path.is_file() and not kept.exists():
                os.link(path, kept)

    def cut(self, lost: str) -> None:
        """`lost`: names since the last sync ("names"), only the new ones of them ("new"), or contents alone."""
        for folder, names in self._names.items():
            for path in [path for path in folder.iterdir() if path.is_file()]:
                if lost != "contents" and names.get(path.name) != path.stat().st_ino:
                    path.unlink()
            for name, inode in names.items() if lost == "names" else ():
                if not (folder / name).exists():
                    os.link(self._shadow / str(inode), folder / name)
            for path in [path for path in folder.iterdir() if path.is_file()]:
                content = self._contents.get(path.stat().st_ino, b"")
                if content != path.read_bytes():
                    path.chmod(0o644)
                    path.write_bytes(content)


def cutting(at: int, repo: Path, shadow: Path, lost: str) -> Stopper:
    folders = [pack_dir(repo), repo / "gpa" / "journal"]
    disk = Disk(folders, shadow)

    def stopper(number: int, operation: str, path: str, size: int) -> tuple[int, int]:
        disk.step(operation, path)
        if number == at:
            disk.cut(lost)
            die()
        return 0, size

    return stopper


# -- What must hold


def assert_visible(repo: Path, oids: tuple[str, ...]) -> None:
    """To git, as things are; and nothing is there by half."""
    fsck(repo)
    for oid in oids:
        git(repo, "rev-list", "--objects", oid) if git_line(repo, "cat-file", "-t", oid) == "commit" else None


def assert_recovers(repo: Path, oids: tuple[str, ...], scratch: Path) -> None:
    """The next writer finds everything else that was acknowledged, and cleans up."""
    with PageStore.open(objects_dir(repo), verify=True) as store, store.writer(durability="none") as writer:
        assert not [found for found in writer.recovered if found.problem]
        missing = [oid for oid in oids if oid not in store]
        assert [] == missing
        store.read_many(oids)
        add_commit(writer, b"goes on")
    assert {} == left_behind(repo)
    assert {".pack", ".idx", ".keep"} >= {path.suffix for path in pack_dir(repo).iterdir()}
    fsck(repo)
    for oid in oids:
        git(repo, "cat-file", "-e", oid)
    assert_indexed_as_git_would(repo, scratch)


@pytest.fixture
def repos(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Call it for a fresh repository, whose writers' directory is there."""
    made = init_server(tmp_path / "made")
    (made / "gpa" / "journal").mkdir(parents=True)

    def fresh() -> Path:
        target = tmp_path / "server"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
        return target

    yield fresh


def each_step(
    repos: Callable[[], Path], scenario: str, durability: str, stop: Callable[[int, Path], Stopper]
) -> Iterator[tuple[Path, Told]]:
    """Stop at the 1st, 2nd, 3rd ... step until the scenario runs to its end."""
    for number in count(1):
        repo = repos()
        told = run_child(repo, SCENARIOS[scenario], durability, stop(number, repo))
        yield repo, told
        if told.status == DONE and told.steps < number:
            assert number > 10
            return
        assert number < MOST_STEPS


@pytest.mark.parametrize(
    ("scenario", "durability", "stop"),
    [
        ("one by one", "none", killing),
        ("one by one", "journal", killing_within),
        ("with deltas", "page", killing_within),
        *others(("one by one", "page", killing), ("one by one", "none", killing_within)),
        *others(("in a batch", "page", killing_within), ("with deltas", "journal", killing)),
        *others(("one by one", "journal", killing), ("in a batch", "journal", killing)),
    ],
)
def test_killed_at_any_step_what_was_acknowledged_is_there(
    repos: Callable[[], Path], tmp_path: Path, scenario: str, durability: str, stop: Callable[[int], Stopper]
) -> None:
    for repo, told in each_step(repos, scenario, durability, lambda number, _: stop(number)):
        assert_visible(repo, told.sealed)
        assert_recovers(repo, told.added, tmp_path)


@pytest.mark.slow
def test_killed_while_a_large_object_is_written(repos: Callable[[], Path], tmp_path: Path) -> None:
    for repo, told in each_step(repos, "large", "page", lambda number, _: killing(number)):
        assert_visible(repo, told.sealed)
        assert_recovers(repo, told.added, tmp_path)


@pytest.mark.parametrize(
    ("scenario", "durability", "lost"),
    [
        ("one by one", "page", "names"),
        ("one by one", "journal", "contents"),
        *others(("one by one", "page", "new"), ("one by one", "page", "contents"), ("one by one", "journal", "names")),
        *others(("one by one", "journal", "new"), ("in a batch", "page", "names"), ("in a batch", "page", "contents")),
        *others(("with deltas", "page", "contents"), ("with deltas", "journal", "names")),
    ],
)
def test_a_power_cut_at_any_step_takes_nothing_that_is_durable(
    repos: Callable[[], Path], tmp_path: Path, scenario: str, durability: str, lost: str
) -> None:
    shadow = tmp_path / "shadow"
    for repo, told in each_step(repos, scenario, durability, lambda number, repo: cutting(number, repo, shadow, lost)):
        assert_visible(repo, told.sealed)
        assert_recovers(repo, told.added if durability == "journal" else told.sealed, tmp_path)


@pytest.mark.parametrize(
    ("scenario", "durability", "error", "once"),
    [
        ("one by one", "page", errno.ENOSPC, True),
        ("one by one", "journal", errno.EIO, True),
        ("with deltas", "page", errno.ENOSPC, False),
        *others(("one by one", "page", errno.ENOSPC, False), ("one by one", "journal", errno.ENOSPC, False)),
        *others(("one by one", "page", errno.EIO, True), ("one by one", "journal", errno.ENOSPC, True)),
        *others(("in a batch", "journal", errno.EIO, True), ("large", "page", errno.ENOSPC, True)),
        *others(("in a batch", "page", errno.ENOSPC, False)),
    ],
)
def test_an_error_at_any_step_is_told_and_loses_nothing(
    repos: Callable[[], Path], tmp_path: Path, scenario: str, durability: str, error: int, once: bool
) -> None:
    told_of = 0
    for repo, told in each_step(repos, scenario, durability, lambda number, _: failing(number, error, once=once)):
        assert_visible(repo, told.sealed)
        assert all(os.strerror(error) in text for text in told.failed), told.failed
        told_of += bool(told.failed)
        assert_recovers(repo, told.added, tmp_path)
    assert told_of > 5


def test_writes_that_end_early_are_gone_on_with(repos: Callable[[], Path], tmp_path: Path) -> None:
    for scenario in SCENARIOS:
        repo = repos()
        told = run_child(repo, SCENARIOS[scenario], "journal", short)
        assert told.closed
        assert () == told.failed
        assert {} == left_behind(repo)
        assert (scenario == "with deltas") == bool(_deltas(repo))
        assert_recovers(repo, told.added, tmp_path)


def _deltas(repo: Path) -> list[str]:
    return [one.oid for name in packs(repo) for one in packed_objects(repo, name) if one.depth]


@pytest.mark.parametrize("limit", [0, 11, 12, 100, 700])
def test_a_full_disk_is_told(repos: Callable[[], Path], tmp_path: Path, limit: int) -> None:
    """The system itself refuses to let a file grow."""
    repo = repos()

    def limited(store: PageStore, durability: str, told: Acknowledge) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        writer = store.writer(durability=durability)
        attempt(told, "sealed", lambda: add_commit(writer, b"before"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        for number in range(4):
            attempt(told, "added", lambda number=number: writer.add("blob", os.urandom(150)))  # type: ignore[misc]
        attempt(told, "sealed", lambda: add_commit(writer, b"does not fit"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        attempt(told, "sealed", lambda: add_commit(writer, b"after"))

    told = run_child(repo, limited, "page", lambda number, operation, path, size: (0, size))
    assert DONE == told.status
    assert told.failed
    assert all(os.strerror(errno.EFBIG) in text for text in told.failed), told.failed
    assert len(told.sealed) >= 2
    assert_visible(repo, told.sealed)
    assert_recovers(repo, told.added, tmp_path)


# -- Recovery is stopped too


def two_orphans(repos: Callable[[], Path]) -> tuple[Path, tuple[str, ...]]:
    """Two dead writers' journals, one of which was being sealed."""
    repo = repos()
    told = run_child(repo, one_by_one, "journal", killing(15))
    more = run_child(repo, in_a_batch, "journal", killing(12))
    assert journals(repo)
    return repo, told.added + more.added


@pytest.mark.parametrize("lost", ["nothing", "contents", *others(("names",), ("new",))])
def test_a_recovery_that_is_stopped_is_made_again(repos: Callable[[], Path], tmp_path: Path, lost: str) -> None:
    def recovering(store: PageStore, durability: str, told: Acknowledge) -> None:
        store.writer(durability=durability, deltas=True).close()

    stopped = 0
    for number in count(1):
        repo, added = two_orphans(repos)
        assert added
        stop = killing(number) if lost == "nothing" else cutting(number, repo, tmp_path / "shadow", lost)
        told = run_child(repo, recovering, "none", stop)
        fsck(repo)
        assert_recovers(repo, added, tmp_path)
        if told.status == DONE:
            break
        stopped += 1
    assert stopped > 8
