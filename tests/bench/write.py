"""What does a Python program pay for writing into git: many small objects at once, and commits one by one?

Each way writes the same objects into a new repository. First documents of about 300 bytes; then commits, each of one
changed document in a folder of ten: a blob, a tree, a commit, each acknowledged before the next. No ref is moved. The
peers leave loose files, which take whole blocks of the disk; only dulwich's add_objects() makes a pack. What is called
"through pages" are these libraries over a PageStore, as open_repository() and PagedRepo use it.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path

import pygit2
from dulwich.object_store import DiskObjectStore
from dulwich.objects import Blob, ShaFile
from gitdb import GitDB
from gitdb.base import IStream

from gpa_maint import PageStore
from gpa_maint.integrations.dulwich import PagedObjectStore
from gpa_maint.integrations.gitdb import PagedDB
from tests.bench.measure import Cost, Table, call

OBJECTS = 100_000
LOOSE_OBJECTS = 10_000  # of the slower peers, which take as long for each
COMMITS = 2000
DOCUMENTS = 10
WORDS = ["name", "value", "alpha", "document", "true", "false", "created", "updated", "the", "of", "title", "author"]
PERSON = b"A U Thor <author@example.com> 1700000000 +0000"

Way = Callable[[Path, int], object]
Add = Callable[[str, bytes], bytes]


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    del source, title
    documents(OBJECTS)
    documents(COMMITS)
    compare(f"write, {OBJECTS} documents of 300 bytes", BULK, work, pairs, OBJECTS)
    compare(f"write, {COMMITS} commits, nothing synced", COMMITTING, work, pairs, COMMITS)
    compare(f"write, {COMMITS} commits, each synced", SYNCED, work, pairs, COMMITS)


def compare(
    title: str,
    ways: dict[str, tuple[Way, int]],
    work: Path,
    pairs: int,
    count: int,
    more: Callable[[Path], str] = lambda repo: "",
) -> None:
    """A table of `count` objects or commits; `more` adds to the note of a repository."""
    table = Table(title)
    for _ in range(pairs):
        for name, (way, own) in ways.items():
            repo = _empty(work)
            number = min(own, count)
            cost = call(lambda way=way, repo=repo, number=number: way(repo, number))  # type: ignore[misc]
            scale = count / number
            table.add(name, Cost(cost.wall * scale, cost.cpu * scale), _note(repo, cost, number) + more(repo))
    table.show()


def _note(repo: Path, cost: Cost, number: int) -> str:
    files = [path.lstat() for path in (repo / "objects").rglob("*") if path.is_file()]
    disk = sum(stat.st_blocks * 512 for stat in files) / number
    return f"{1000 * number / cost.wall:.0f}/s, {len(files) / number:.3f} files and {disk:.0f} bytes each"


def _empty(work: Path) -> Path:
    shutil.rmtree(work, ignore_errors=True)
    subprocess.run(["git", "init", "--quiet", "--bare", work], check=True)
    os.sync()
    return work


def _documents(count: int) -> Iterator[bytes]:
    rng = random.Random("documents")
    for number in range(count):
        fields = [f'"{rng.choice(WORDS)}": {rng.randrange(1_000_000)}' for _ in range(15)]
        yield f'{{"id": {number}, {", ".join(fields)}}}'[:300].encode()


_MADE: dict[int, list[bytes]] = {}


def documents(count: int) -> list[bytes]:
    """Made once: that is not what is measured."""
    if count not in _MADE:
        _MADE[count] = list(_documents(count))
    return _MADE[count]


def tree_of(oids: list[bytes]) -> bytes:
    return b"".join(b"100644 document-%d\0%b" % (number, oid) for number, oid in enumerate(oids))


def commit_of(tree: bytes, parent: bytes | None) -> bytes:
    parents = b"parent %b\n" % parent.hex().encode() if parent else b""
    return b"tree %b\n%bauthor %b\ncommitter %b\n\na change\n" % (tree.hex().encode(), parents, PERSON, PERSON)


def write_commits(add: Add, count: int, contents: Callable[[int], list[bytes]] = documents) -> None:
    """`add` gives an object's raw id when it is safe."""
    documents_there = [bytes(20)] * DOCUMENTS
    parent = None
    for number, content in enumerate(contents(count)):
        documents_there[number % DOCUMENTS] = add("blob", content)
        present = documents_there[: number + 1]
        parent = add("commit", commit_of(add("tree", tree_of(present)), parent))


# -- Many at once


def _add_many(repo: Path, count: int) -> None:
    with PageStore.open(repo / "objects", object_format="sha1") as store, store.batch() as writer:
        writer.add_many(("blob", data) for data in documents(count))


def _add(repo: Path, count: int) -> None:
    with PageStore.open(repo / "objects", object_format="sha1") as store, store.writer() as writer:
        for data in documents(count):
            writer.add("blob", data)


def _fast_import(repo: Path, count: int) -> None:
    stream = b"".join(b"blob\ndata %d\n%b\n" % (len(data), data) for data in documents(count))
    subprocess.run(["git", "fast-import", "--quiet"], cwd=repo, input=stream, check=True)


def _pygit2(repo: Path, count: int) -> None:
    add = _pygit2_add(repo)
    for data in documents(count):
        add("blob", data)


def _dulwich(repo: Path, count: int) -> None:
    add = _dulwich_add(repo)
    for data in documents(count):
        add("blob", data)


def _dulwich_pack(repo: Path, count: int) -> None:
    with closing(DiskObjectStore(os.fspath(repo / "objects"))) as store:
        store.add_objects([(Blob.from_string(data), None) for data in documents(count)])


def _dulwich_pages(repo: Path, count: int) -> None:
    with closing(PagedObjectStore(repo / "objects")) as store:
        store.add_objects((Blob.from_string(data), None) for data in documents(count))


def _gitdb(repo: Path, count: int) -> None:
    add = _gitdb_add(GitDB(os.fspath(repo / "objects")))
    for data in documents(count):
        add("blob", data)


def _gitdb_pages(repo: Path, count: int) -> None:
    with closing(PagedDB(repo / "objects")) as db, db.batch():
        add = _gitdb_add(db)
        for data in documents(count):
            add("blob", data)


# -- One by one

NUMBERS = {"commit": 1, "tree": 2, "blob": 3}

PYGIT2_TYPES = {
    "blob": pygit2.enums.ObjectType.BLOB,
    "tree": pygit2.enums.ObjectType.TREE,
    "commit": pygit2.enums.ObjectType.COMMIT,
}


def _pygit2_add(repo: Path) -> Callable[[str, bytes], bytes]:
    opened = pygit2.Repository(os.fspath(repo))
    return lambda kind, data: opened.write(PYGIT2_TYPES[kind], data).raw


def _dulwich_add(repo: Path, *, fsync: bool = False) -> Callable[[str, bytes], bytes]:
    return _dulwich_add_to(DiskObjectStore(os.fspath(repo / "objects"), fsync_object_files=fsync))


def _dulwich_add_to(store: DiskObjectStore) -> Callable[[str, bytes], bytes]:
    def add(kind: str, data: bytes) -> bytes:
        made = ShaFile.from_raw_string(NUMBERS[kind], data)
        store.add_object(made)
        return made.sha().digest()

    return add


def _gitdb_add(db: GitDB | PagedDB) -> Callable[[str, bytes], bytes]:
    def add(kind: str, data: bytes) -> bytes:
        oid: bytes = db.store(IStream(kind.encode(), len(data), BytesIO(data))).binsha
        return oid

    return add


def _commits(durability: str, method: str = "fsync") -> Way:
    def way(repo: Path, count: int) -> None:
        subprocess.run(["git", "config", "core.fsyncMethod", method], cwd=repo, check=True)
        with PageStore.open(repo / "objects", object_format="sha1") as store:
            write_commits(store.writer(durability=durability).add, count)

    return way


def _pygit2_commits(repo: Path, count: int) -> None:
    write_commits(_pygit2_add(repo), count)


def _pygit2_synced(repo: Path, count: int) -> None:
    subprocess.run(["git", "config", "core.fsyncObjectFiles", "true"], cwd=repo, check=True)
    write_commits(_pygit2_add(repo), count)


def _dulwich_commits(repo: Path, count: int) -> None:
    write_commits(_dulwich_add(repo), count)


def _dulwich_synced(repo: Path, count: int) -> None:
    """It syncs no directory: after a power cut a file may have lost its name."""
    write_commits(_dulwich_add(repo, fsync=True), count)


def _dulwich_page_commits(durability: str) -> Way:
    def way(repo: Path, count: int) -> None:
        with PageStore.open(repo / "objects", object_format="sha1") as store:
            store.writer(durability=durability)
            write_commits(_dulwich_add_to(PagedObjectStore(repo / "objects", store=store, seal=False)), count)

    return way


def _gitdb_commits(repo: Path, count: int) -> None:
    write_commits(_gitdb_add(GitDB(os.fspath(repo / "objects"))), count)


def _gitdb_page_commits(durability: str) -> Way:
    def way(repo: Path, count: int) -> None:
        with PageStore.open(repo / "objects", object_format="sha1") as store:
            store.writer(durability=durability)
            write_commits(_gitdb_add(PagedDB(repo / "objects", store, seal=False)), count)

    return way


BULK: dict[str, tuple[Way, int]] = {
    "git-gpa": (_add_many, OBJECTS),
    "git-gpa, add() one by one": (_add, OBJECTS),
    "git fast-import": (_fast_import, OBJECTS),
    "pygit2": (_pygit2, LOOSE_OBJECTS),
    "dulwich": (_dulwich, LOOSE_OBJECTS),
    "dulwich, add_objects()": (_dulwich_pack, LOOSE_OBJECTS),
    "dulwich through pages, add_objects()": (_dulwich_pages, OBJECTS),
    "gitdb": (_gitdb, LOOSE_OBJECTS),
    "gitdb through pages, batch()": (_gitdb_pages, LOOSE_OBJECTS),
}
COMMITTING: dict[str, tuple[Way, int]] = {
    "git-gpa": (_commits("none"), COMMITS),
    "pygit2": (_pygit2_commits, COMMITS),
    "dulwich": (_dulwich_commits, COMMITS),
    "dulwich through pages": (_dulwich_page_commits("none"), COMMITS),
    "gitdb": (_gitdb_commits, COMMITS),
    "gitdb through pages": (_gitdb_page_commits("none"), COMMITS),
}
SYNCED: dict[str, tuple[Way, int]] = {
    "git-gpa": (_commits("page"), COMMITS),
    "git-gpa, core.fsyncMethod=batch": (_commits("page", "batch"), COMMITS),
    "git-gpa, journal": (_commits("journal"), COMMITS),
    "pygit2": (_pygit2_synced, COMMITS),
    "dulwich": (_dulwich_synced, COMMITS),
    "dulwich through pages": (_dulwich_page_commits("page"), COMMITS),
    "gitdb through pages": (_gitdb_page_commits("page"), COMMITS),
}
