"""Everybody reads and pushes while loops of maintenance delete without any grace, ours and git's own.

Errors are counted for each reader; test_stress.py judges, and says which are stock git's own doing.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pygit2
from dulwich.objects import Tree
from dulwich.repo import Repo
from long_day import Day, Readers, again_and_again, push_all
from oracle import git

from gpa_maint import PageStore
from gpa_maint.integrations import libgit2

Loop = Callable[[Day], object]
FSCKS = 5
READERS = ("cat-file", "rev-list", "clone", "fetch", "push", "fsck", "pygit2", "libgit2", "dulwich", "PageStore")


def _ours(*words: str) -> Loop:
    return lambda day: git(day.server, "gpa", *words, check=False)


OURS: dict[str, Loop] = {
    "run": _ours("run"),
    "repack": _ours("repack", "--page-objects=50"),
    "expire": _ours("expire", "--grace=now"),
}
GITS_OWN = [
    ["multi-pack-index", "write"],
    ["multi-pack-index", "repack", "--batch-size=0"],
    ["multi-pack-index", "expire"],
    ["gc", "--quiet"],
    ["repack", "-q", "-a", "-d", "--write-midx"],
]


def _gits(day: Day) -> None:
    """One after the other: at once, git's own commands lose objects to each other, without any help."""
    for words in GITS_OWN:
        git(day.server, *words, check=False)


GITS: dict[str, Loop] = {"git": _gits}


def stress(server: Path, root: Path, loops: dict[str, Loop], *, seconds: float, clients: int = 2) -> Day:
    """Readers, pushers and the loops, all at once, for so many seconds."""
    day = Day(server=server, pushes=1_000_000)
    store = PageStore.for_repository(server, verify=True)
    shared = libgit2.open_repository(str(server), store)
    acts = {
        "rev-list": lambda: say_nothing(day, "rev-list", "--objects", "--all"),
        "clone": lambda: _clone(day, root / "clone"),
        "fetch": lambda: say_nothing(
            day, "--git-dir", str(root / "fetcher"), "fetch", "-q", str(server), "+refs/*:refs/*"
        ),
        "fsck": lambda: _fsck(day),
        "pygit2": lambda: _read_pygit2(day, pygit2.Repository(str(server))),
        "libgit2": lambda: _read_pygit2(day, shared),
        "dulwich": lambda: _read_dulwich(day),
        "PageStore": lambda: _read_store(day, store),
    }
    git(root, "init", "--quiet", "--bare", root / "fetcher")
    threads = [threading.Thread(target=push_all, args=(day, root / f"client-{n}", n, clients)) for n in range(clients)]
    threads += [again_and_again(day, who, lambda _, act=act: act()) for who, act in acts.items()]  # type: ignore[misc]
    threads += [again_and_again(day, f"loop {name}", lambda _, loop=loop: loop(day)) for name, loop in loops.items()]  # type: ignore[misc]
    threads.append(threading.Thread(target=_hold_readers, args=(day,)))
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    day.over.set()
    for thread in threads:
        thread.join()
    store.close()
    return day


def errors_of(day: Day) -> Counter[str]:
    """How many errors each reader had."""
    return Counter(error.partition(":")[0] for error in day.errors)


def table(days: dict[str, Day]) -> str:
    """For each reader, what it did and how many errors it had, beside which loops."""
    head = f"{'':<12}" + "".join(f"{name:>24}" for name in days)
    rows = []
    for who in READERS:
        cells = [f"{day.done[who]:>9,} / {errors_of(day)[who]:>4} errors" for day in days.values()]
        rows.append(f"{who:<12}" + "".join(f"{cell:>24}" for cell in cells))
    return "\n".join([head, *rows])


def say_nothing(day: Day, *words: str) -> None:
    """A git command that must succeed. What it prints while it looks again for a pack that went is no error."""
    done = git(day.server, *words, check=False)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(words)}: {done.stderr}")


def _fsck(day: Day) -> None:
    """fsck opens each pack of the index that it read first, and does not look again where one has gone since: without a
    grace it may have to be started again. Whatever else it says counts.
    """
    for _ in range(FSCKS):
        done = git(day.server, "fsck", "--connectivity-only", check=False)
        lines = done.stderr.splitlines()
        if not done.returncode or not all(line.startswith("failed to load pack in position") for line in lines):
            break
    if done.returncode:
        raise RuntimeError(f"git fsck: {done.stderr}")


def _clone(day: Day, target: Path) -> None:
    say_nothing(day, "clone", "--quiet", "--no-local", "--bare", str(day.server), str(target))
    git(target.parent, "-C", target, "rev-list", "--objects", "--all")
    for path in sorted(target.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    target.rmdir()


def _known(day: Day) -> list[str]:
    known = day.pushed[:]
    return known[:5] + known[len(known) // 2 :][:5] + known[-5:]


def _read_pygit2(day: Day, repo: pygit2.Repository) -> None:
    for commit in _known(day):
        found = repo[commit]
        assert isinstance(found, pygit2.Commit)
        for entry in found.tree:
            assert repo[entry.id] is not None


def _read_dulwich(day: Day) -> None:
    with Repo(str(day.server)) as repo:
        for commit in _known(day):
            assert repo[repo[commit.encode()].tree] is not None  # type: ignore[attr-defined]


def _read_store(day: Day, store: PageStore) -> None:
    known = _known(day)
    for commit in known:
        kind, content = store.read(commit)
        assert kind == "commit"
        kind, content = store.read(content[5 : 5 + 40].decode())
        assert kind == "tree"
        blobs = [entry.sha.decode() for entry in Tree.from_string(content).iteritems()]
        assert len(blobs) == len(store.read_many(blobs))


def _hold_readers(day: Day) -> None:
    """One process opened at the start, the oldest index of all, and one more now and then."""
    with Readers(day) as readers:
        while not day.over.wait(0.3):
            readers.add()
            readers.ask()
        readers.ask()
