"""A long day on a server: clients push in parallel while others clone, fetch and read, and maintenance runs by itself.

Every reader counts its errors. Nothing here judges: test_long_day.py does.
"""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pygit2
from dulwich.repo import Repo
from oracle import git, git_line, packs

Act = Callable[[int], None]


@dataclass
class Day:
    """What has happened so far. `pushed`: commits that a client was told are there."""

    server: Path
    pushes: int
    pushed: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    most_packs: int = 0  # live ones
    over: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, who: str, error: str = "") -> None:
        with self.lock:
            self.done[who] += 1
            if error:
                self.errors.append(f"{who}: {error.strip()[-500:]}")


def live(server: Path, root: Path, *, pushes: int, clients: int = 4, gc_every: float = 20.0) -> Day:
    """Let the day go by: `pushes` in all, shared by the clients, and everybody else until they are through."""
    day = Day(server=server, pushes=pushes)
    writers = [threading.Thread(target=push_all, args=(day, root / f"client-{n}", n, clients)) for n in range(clients)]
    others = [
        again_and_again(day, "clone", lambda turn: _clone(day, root / f"clone-{turn}")),
        again_and_again(day, "fetch", lambda turn: _fetch(day, root / "fetcher")),
        again_and_again(day, "pygit2", lambda turn: _read_with_pygit2(day)),
        again_and_again(day, "dulwich", lambda turn: _read_with_dulwich(day)),
        again_and_again(day, "gc", lambda turn: _gc(day), pause=gc_every),
        again_and_again(day, "packs", lambda turn: _count_packs(day), pause=0.2),
        threading.Thread(target=_hold_readers, args=(day,)),
    ]
    for thread in [*writers, *others]:
        thread.start()
    for thread in writers:
        thread.join()
    day.over.set()
    for thread in others:
        thread.join()
    return day


def push_all(day: Day, folder: Path, number: int, clients: int) -> None:
    git(folder.parent, "clone", "--quiet", day.server, folder)
    branch, parent = f"refs/heads/client-{number}", git_line(folder, "rev-parse", "origin/main")
    for turn in range(number, day.pushes, clients):
        if day.over.is_set():
            return
        commit = _commit(folder, parent, f"{turn}\n" * (3 + turn % 40), turn)
        started = time.monotonic()
        done = git(folder, "push", "--quiet", "origin", f"{commit}:{branch}", check=False)
        day.seconds.append(time.monotonic() - started)
        day.note("push", done.stderr)
        if done.returncode == 0:
            day.pushed.append(commit)
            parent = commit


def _commit(folder: Path, parent: str, content: str, turn: int) -> str:
    """A commit that changes one of fifty files."""
    blob = git(folder, "hash-object", "-w", "--stdin", input=content).stdout.strip()
    listed = git(folder, "ls-tree", parent).stdout.splitlines()
    name = f"file-{turn % 50}"
    lines = [line for line in listed if not line.endswith(f"\t{name}")]
    lines.append(f"100644 blob {blob}\t{name}")
    tree = git(folder, "mktree", input="\n".join(lines) + "\n").stdout.strip()
    return git_line(folder, "commit-tree", "-m", f"turn {turn}", "-p", parent, tree)


def again_and_again(day: Day, who: str, act: Act, *, pause: float = 0.05) -> threading.Thread:
    def work() -> None:
        turn = 0
        while not day.over.wait(pause):
            turn += 1
            try:
                act(turn)
            except Exception as error:
                day.note(who, f"{type(error).__name__}: {error}")
            else:
                day.note(who)

    return threading.Thread(target=work)


def _say_nothing(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode or "error" in done.stderr or "fatal" in done.stderr:
        raise RuntimeError(done.stderr)


def _clone(day: Day, target: Path) -> None:
    """As over the network: upload-pack on the server's side."""
    _say_nothing(git(target.parent, "clone", "--quiet", "--no-local", "--bare", day.server, target, check=False))
    git(target.parent, "-C", target, "rev-list", "--objects", "--all")
    subprocess.run(["rm", "-rf", target], check=True)


def _fetch(day: Day, folder: Path) -> None:
    if not folder.exists():
        git(folder.parent, "init", "--quiet", "--bare", folder)
    _say_nothing(git(folder, "fetch", "--quiet", day.server, "+refs/*:refs/*", check=False))


def _some(day: Day) -> list[str]:
    """Old, middle and young commits."""
    known = day.pushed[:]
    return known[:3] + known[len(known) // 2 :][:3] + known[-3:]


def _read_with_pygit2(day: Day) -> None:
    repo = pygit2.Repository(str(day.server))
    for commit in _some(day):
        found = repo[commit]
        assert isinstance(found, pygit2.Commit)
        assert len(list(found.tree)) > 0


def _read_with_dulwich(day: Day) -> None:
    with Repo(str(day.server)) as repo:
        for commit in _some(day):
            found = repo[commit.encode()]
            assert repo[found.tree] is not None  # type: ignore[attr-defined]


def _gc(day: Day) -> None:
    """By hand, and with what it does by default. It may find maintenance at work."""
    done = git(day.server, "gc", "--quiet", check=False)
    if done.returncode and "already running" not in done.stderr and "Unable to create" not in done.stderr:
        raise RuntimeError(done.stderr)


def _count_packs(day: Day) -> None:
    """Live ones: how many superseded ones wait for the end of their grace is a matter of how fast pushes are."""
    names = set(packs_named(day.server))
    with suppress(FileNotFoundError):
        state = json.loads((day.server / "gpa/state.json").read_text())
        names -= {*state["superseded"], *state["merged"]}
    day.most_packs = max(day.most_packs, len(names))


def packs_named(server: Path) -> list[str]:
    """Names only: `oracle.packs` opens them, and some may be about to go."""
    return [path.stem for path in (server / "objects" / "pack").glob("pack-*.pack")]


# -- Readers that stay


def _hold_readers(day: Day) -> None:
    """A reader a second, up to twelve; each goes on asking until the end, for old objects and for the youngest."""
    with Readers(day) as readers:
        while not day.over.wait(0.3):
            readers.add()
            readers.ask()
        readers.ask()


class Readers:
    """`git cat-file --batch` processes of different ages."""

    def __init__(self, day: Day) -> None:
        self._day = day
        self._open: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Readers:
        return self

    def __exit__(self, *_: object) -> None:
        for reader in self._open:
            _, complaint = reader.communicate()
            if reader.returncode:
                self._day.note("cat-file", complaint.decode())

    def add(self) -> None:
        if len(self._open) < 12:
            pipe = subprocess.PIPE
            command = ["git", "cat-file", "--batch"]
            self._open.append(subprocess.Popen(command, cwd=self._day.server, stdin=pipe, stdout=pipe, stderr=pipe))

    def ask(self) -> None:
        for reader in self._open:
            for oid in _some(self._day):
                for name in (oid, f"{oid}^{{tree}}"):
                    self._day.note("cat-file", "" if _is_there(reader, name) else f"{name} missing")


def _is_there(reader: subprocess.Popen[bytes], name: str) -> bool:
    assert reader.stdin and reader.stdout
    reader.stdin.write(f"{name}\n".encode())
    reader.stdin.flush()
    head = reader.stdout.readline().split()
    if head[1:] == [b"missing"] or len(head) != 3:
        return False
    reader.stdout.read(int(head[2]) + 1)
    return True


@contextmanager
def no_orphans(server: Path) -> Iterator[None]:
    """Wait at the end until the last maintenance run in the background is over."""
    yield
    import fcntl

    with (server / "gpa" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)


__all__ = ["Day", "Readers", "again_and_again", "live", "no_orphans", "packs", "packs_named", "push_all"]
