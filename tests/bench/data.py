"""What does a key cost in a data branch, beside git-annex, fast-import, merge-tree, pygit2 and SQLite on the same work?

CPU of a step and of the processes that it starts, in microseconds a key unless said; one run of each. Keys and values
are presence logs of one id each, as git-annex has them: the traffic of a metadata store with many small records. TMPDIR
says on which disk.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pygit2

from gpa_maint.databranch import DataBranch
from gpa_maint.databranch.layout import fitting, layout_named

COMMITS = 50
ANNEX_MOST = 20_000
"""git-annex and merge-tree take minutes for more keys."""


def cpu() -> float:
    """Seconds of CPU of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


class Table:
    """Prints a line for each measurement."""

    def __init__(self) -> None:
        self._found: dict[str, float] = {}

    @contextmanager
    def line(self, name: str, count: int, unit: str = "us a key") -> Iterator[None]:
        """Measure the block; divide its CPU by `count`, in microseconds, or print seconds."""
        before = cpu()
        yield
        used = cpu() - before
        shown = used / count * (1 if unit == "s" else 1e6)
        self._found[name] = shown
        print(f"  {name:<58} {shown:12.2f} {unit}", flush=True)

    def ratio(self, name: str, other: str) -> None:
        if name in self._found and other in self._found:
            print(f"  {other} : {name} = {self._found[other] / max(self._found[name], 1e-9):.1f}")


def key(number: int) -> str:
    return f"SHA256E-s{number}--{number * 2654435761 % 2**32:08x}{number:08x}.dat.log"


def value(number: int, *, side: int = 1) -> bytes:
    """Return a log that no other key has; those of two sides differ in time and place."""
    digits = str(side) * 4
    return b"%d.%09ds 1 1111%s-2222-4333-8444-555555555555\n" % (1796070180 + side, number, digits.encode())


def new_repo(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    return path


def disk(path: Path) -> str:
    files = [file for file in path.rglob("*") if file.is_file()]
    return f"{sum(file.stat().st_blocks * 512 for file in files) / 1e6:.1f} MB in {len(files)} files"


def bench(source: Path, work: Path, *, pairs: int, title: str, keys: int = 20_000) -> None:
    """Print all of it for so many keys."""
    print(f"\ndata branch, {keys} keys")
    table = Table()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    digits = int(fitting(keys).partition("/")[2])
    for layout in (f"hash/{digits}", f"table/{max(digits - 1, 1)}", "git-annex"):
        ours(table, work, layout, keys)
    journalled(table, work, keys)
    fast_import(table, work, keys)
    sqlite(table, work, keys)
    pygit2_reads(table, work, keys, f"hash/{digits}")
    for layout in (f"hash/{digits}", "git-annex"):
        merging(table, work, layout, keys, keys)
        merging(table, work, layout, keys, min(1000, keys))
    if keys <= ANNEX_MOST:
        merge_tree(table, work, keys)
        if shutil.which("git-annex"):
            annex(table, work, keys)
    for name, other in (
        ("set all, git-annex layout", "git-annex: set all"),
        (f"set all, hash/{digits}", "fast-import: set all"),
        (f"set all, table/{max(digits - 1, 1)}", "sqlite: set all"),
        (f"merge, {keys} changed on both sides, hash/{digits}", "merge-tree: merge"),
    ):
        table.ratio(name.replace("git-annex layout", "git-annex"), other)


def fill(path: Path, layout: str, keys: int) -> None:
    with DataBranch(path, branch_of(layout), layout=layout) as db, db.transaction("all") as change:
        for number in range(keys):
            change.set(key(number), value(number))


def branch_of(layout: str) -> str:
    return "git-annex" if layout == "git-annex" else "meta"


def ours(table: Table, work: Path, layout: str, keys: int) -> None:
    path = new_repo(work / "ours")
    with table.line(f"set all, {layout}", keys):
        fill(path, layout, keys)
    print(f"  {'on disk, ' + layout:<58} {disk(path)}")
    chosen = random.Random(1).sample(range(keys), min(keys, 10_000))
    with DataBranch(path, branch_of(layout)) as db:
        warm(db)
        names = [key(number) for number in chosen]
        with table.line(f"get, {layout}", len(names)):
            for name in names:
                db.get(name)
        absent = [key(keys + number) for number in chosen]
        with table.line(f"get of an absent key, {layout}", len(names)):
            for name in absent:
                db.get(name)
        with table.line(f"scan of all, {layout}", keys):
            count = sum(1 for _ in db.items())
        assert count == keys
        with db.transaction() as change:  # opens the writer
            change.set(key(chosen[-1]), value(0, side=3))
        before = sum(file.stat().st_size for file in path.rglob("pack-*.pack"))
        with table.line(f"a commit of one key, {layout}", COMMITS, "us a commit"):
            for number in chosen[:COMMITS]:
                with db.transaction() as change:
                    change.set(key(number), value(number, side=2))
            db._updates.close()  # ends the git that moves the ref, so that its CPU counts
        used = sum(file.stat().st_size for file in path.rglob("pack-*.pack")) - before
        print(f"  {'bytes of such a commit, ' + layout:<58} {used / COMMITS:12.0f} bytes")


def warm(db: DataBranch) -> None:
    for _ in db:
        pass


def journalled(table: Table, work: Path, keys: int) -> None:
    path = new_repo(work / "journal")
    with DataBranch(path, layout=fitting(keys), commit_sets=1 << 30, commit_seconds=1e9) as db:
        with table.line("set that survives kill -9", keys):
            for number in range(keys):
                db.set(key(number), value(number))
        with table.line("commit of all of these", keys):
            db.commit()


def paths_of(layout: str, keys: int) -> Iterator[tuple[bytes, int]]:
    made = layout_named(layout)
    return ((b"/".join(made.path(key(number))), number) for number in range(keys))


def fast_import(table: Table, work: Path, keys: int) -> None:
    path = new_repo(work / "fast-import")
    lines = [b"commit refs/heads/meta\ncommitter a <a@b> 1 +0000\ndata 0\n"]
    for place, number in paths_of(fitting(keys), keys):
        text = value(number)
        lines.append(b"M 100644 inline %s\ndata %d\n%s\n" % (place, len(text), text))
    data = b"".join(lines)
    with table.line("fast-import: set all", keys):
        subprocess.run(["git", "-C", str(path), "fast-import", "--quiet"], input=data, check=True)


def sqlite(table: Table, work: Path, keys: int) -> None:
    base = sqlite3.connect(work / "base.sqlite")
    base.execute("pragma journal_mode=wal")
    base.execute("create table data (key text primary key, value blob) without rowid")
    with table.line("sqlite: set all", keys), base:
        base.executemany("insert into data values (?, ?)", ((key(number), value(number)) for number in range(keys)))
    chosen = random.Random(1).sample(range(keys), min(keys, 10_000))
    with table.line("sqlite: get", len(chosen)):
        for number in chosen:
            base.execute("select value from data where key = ?", (key(number),)).fetchone()
    with table.line("sqlite: scan of all", keys):
        assert keys == sum(1 for _ in base.execute("select key, value from data"))
    with table.line("sqlite: a commit of one key", COMMITS, "us a commit"):
        for number in chosen[:COMMITS]:
            with base:
                base.execute("update data set value = ? where key = ?", (value(number, side=2), key(number)))
    base.close()


def pygit2_reads(table: Table, work: Path, keys: int, layout: str) -> None:
    path = new_repo(work / "pygit2")
    fill(path, layout, keys)
    tree = pygit2.Repository(str(path)).revparse_single("meta").tree
    made = layout_named(layout)
    chosen = random.Random(1).sample(range(keys), min(keys, 10_000))
    places = [b"/".join(made.path(key(number))).decode() for number in chosen]
    with table.line(f"pygit2: get, {layout}", len(places)):
        for place in places:
            tree[place].data  # noqa: B018


def two_sides(work: Path, layout: str, keys: int, changed: int) -> Path:
    """Return a repository whose branch and that of a remote have each changed so many keys, the same ones if all."""
    path = new_repo(work / "one")
    fill(path, layout, keys)
    other = work / "two"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(path, other)
    for side, repo in ((2, path), (3, other)):
        step = 0 if changed == keys else side * changed
        with DataBranch(repo, branch_of(layout)) as db, db.transaction() as change:
            for at in range(changed):
                change.set(key((at + step) % keys), value(at, side=side))
    name = branch_of(layout)
    subprocess.run(["git", "-C", str(path), "fetch", "-q", str(other), f"{name}:refs/remotes/two/{name}"], check=True)
    return path


def merging(table: Table, work: Path, layout: str, keys: int, changed: int) -> None:
    path = two_sides(work, layout, keys, changed)
    with DataBranch(path, branch_of(layout), merge="never") as db:
        db.head  # noqa: B018
        with table.line(f"merge, {changed} changed on both sides, {layout}", 1, "s"):
            report = db.merge()
        print(f"  {'  trees read':<58} {report.trees_read:12}")


def merge_tree(table: Table, work: Path, keys: int) -> None:
    path = two_sides(work, fitting(keys), keys, keys)
    (path / "info").mkdir(exist_ok=True)
    (path / "info" / "attributes").write_text("* merge=union\n")
    words = ["git", "-C", str(path), "merge-tree", "--write-tree", "meta", "refs/remotes/two/meta"]
    with table.line("merge-tree: merge", 1, "s"):
        subprocess.run(words, check=False, stdout=subprocess.DEVNULL)


def annex(table: Table, work: Path, keys: int) -> None:
    path = work / "annex"
    shutil.rmtree(path, ignore_errors=True)
    environment = {**os.environ, "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b"}
    environment |= {"GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}

    def run(*words: str, data: bytes = b"") -> bytes:
        words = ("git", "-C", str(path), *words)
        return subprocess.run(words, input=data, check=True, env=environment, capture_output=True).stdout

    subprocess.run(["git", "init", "-q", str(path)], check=True)
    run("annex", "init", "-q")
    lines = b"".join(
        b"%s 11111111-2222-4333-8444-555555555555 1\n" % key(number)[:-4].encode() for number in range(keys)
    )
    with table.line("git-annex: set all", keys):
        run("annex", "setpresentkey", "--batch", data=lines)
    asked = b"".join(key(number)[:-4].encode() + b"\n" for number in range(min(keys, 2000)))
    with table.line("git-annex: get, whereis --batch-keys", min(keys, 2000)):
        run("annex", "whereis", "--batch-keys", "--json", data=asked)
    print(f"  {'on disk, git-annex':<58} {disk(path)}")
