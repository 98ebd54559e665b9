"""python -m tests.hunt.writers <kind> <repository> <seed>: a program that writes objects, and says which are stored.

It prints `page <oid>`, `loose <oid>` or `shelf <oid>` when the library has acknowledged the object and other processes
can read it; with `shelf` a copy of it has been carried away, too.
From then on the hunter expects the object to stay, even if this process is killed.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from .world import digest, document

PERSON = b"A <a@example.com> 1700000000 +0000"


class Said:
    """Objects that were added and wait to be acknowledged."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.waiting: list[str] = []

    def add(self, oid: str) -> str:
        self.waiting.append(oid)
        return oid

    def done(self) -> None:
        print("".join(f"{self.kind} {oid}\n" for oid in self.waiting), end="", flush=True)
        self.waiting = []


Add = Callable[[str, bytes], str]


def common_document(random: Random) -> bytes:
    """One of few, so that several writers make the same objects, and pages of the same bytes."""
    return b"common document %d\n" % random.randrange(4)


def commits(
    random: Random, add: Add, seal: Callable[[], None], said: Said, repo: str, *, make: Callable[[Random], bytes]
) -> None:
    """Some commits on one another, each of some documents; in the end a branch may be made of them, or not."""
    parent = b""
    for _ in range(random.randint(1, 4)):
        rows = [
            b"100644 d%d\0" % number + bytes.fromhex(said.add(add("blob", make(random))))
            for number in range(random.choice((1, 1, 3, 9)))
        ]
        tree = said.add(add("tree", b"".join(rows)))
        text = b"tree %s\n%sauthor %s\ncommitter %s\n\nm\n" % (tree.encode(), parent, PERSON, PERSON)
        commit = said.add(add("commit", text))
        seal()
        said.done()
        parent = b"parent %s\n" % commit.encode()
        time.sleep(random.choice((0, 0, 0.05, 0.3)))
    if random.random() < 0.5:
        name = f"refs/heads/written/{random.getrandbits(40):x}"
        subprocess.run(["git", "-C", repo, "update-ref", name, commit], check=True)
        print("ref", name, commit, flush=True)


def blobs(
    random: Random, add: Add, seal: Callable[[], None], said: Said, repo: str, *, make: Callable[[Random], bytes]
) -> None:
    """Blobs that nothing names."""
    del repo
    for _ in range(random.randint(1, 3)):
        for _ in range(random.choice((1, 2, 8, 50))):
            said.add(add("blob", make(random)))
        seal()
        said.done()
        time.sleep(random.choice((0, 0, 0.1)))


def with_store(random: Random, repo: str, write: Any) -> None:
    from gpa_maint import PageStore

    with PageStore.for_repository(repo) as store:
        how = random.choice(("page", "journal", "none"))
        writer = store.writer(durability=how, deltas=random.random() < 0.3)
        seal = random.choice((writer.seal, writer.save))
        write(random, lambda kind, data: writer.add(kind, data).hex(), seal, Said("page"), repo)


def with_uploads(random: Random, repo: str, write: Any) -> None:
    """Pages that are copied to a shelf, as to an object store: what is acknowledged has to be there too."""
    from gpa_maint import PageStore

    shelf = Path(repo).parent / "shelf"
    shelf.mkdir(exist_ok=True)
    with PageStore.for_repository(repo) as store:
        writer = store.writer(durability=random.choice(("page", "journal")))

        def upload() -> None:
            while True:
                known = None if random.random() < 0.7 else os.listdir(shelf)
                report = writer.save(known)
                try:
                    for page in report.pages:
                        put_on_shelf(Path(repo), shelf, page.name)
                except FileNotFoundError:
                    continue  # it was merged and deleted meanwhile, and the next report names what took its place
                writer.confirm(report)
                for name in report.superseded:
                    for path in shelf.glob(f"{name}.*"):
                        path.unlink(missing_ok=True)  # several programs upload to one shelf
                return

        write(random, lambda kind, data: writer.add(kind, data).hex(), upload, Said("shelf"), repo)


def put_on_shelf(repo: Path, shelf: Path, name: str) -> None:
    for suffix in (".pack", ".idx"):
        temporary = shelf / f"temporary-{os.getpid()}"
        shutil.copyfile(repo / "objects" / "pack" / f"{name}{suffix}", temporary)
        temporary.rename(shelf / f"{name}{suffix}")


def with_pygit2(random: Random, repo: str, write: Any, *, attach: bool = True) -> None:
    import pygit2

    kinds = {"blob": pygit2.enums.ObjectType.BLOB, "tree": pygit2.enums.ObjectType.TREE}
    kinds |= {"commit": pygit2.enums.ObjectType.COMMIT}

    def add(kind: str, data: bytes) -> str:
        return str(opened.write(kinds[kind], data))

    if not attach:
        opened = pygit2.Repository(repo)
        write(random, add, lambda: None, Said("loose"), repo)
        return
    from gpa_maint import PageStore
    from gpa_maint.integrations import libgit2

    with PageStore.for_repository(repo) as store:
        opened = libgit2.open_repository(repo, store)
        write(random, add, store.seal, Said("page"), repo)


def with_dulwich(random: Random, repo: str, write: Any, *, attach: bool = True) -> None:
    from dulwich.objects import ShaFile
    from dulwich.repo import Repo

    numbers = {"commit": 1, "tree": 2, "blob": 3}

    def add(kind: str, data: bytes) -> str:
        made = ShaFile.from_raw_string(numbers[kind], data)
        opened.object_store.add_object(made)
        return made.id.decode()

    if not attach:
        with Repo(repo) as opened:
            write(random, add, lambda: None, Said("loose"), repo)
        return
    from gpa_maint.integrations.dulwich import open_repository

    with open_repository(repo) as opened:
        write(random, add, opened.seal, Said("page"), repo)


def with_gitdb(random: Random, repo: str, write: Any) -> None:
    from gitdb.base import IStream

    from gpa_maint.integrations.gitdb import PagedDB

    db = PagedDB(os.path.join(repo, "objects"), seal=random.random() < 0.5)

    def add(kind: str, data: bytes) -> str:
        oid: str = db.store(IStream(kind.encode(), len(data), io.BytesIO(data))).binsha.hex()
        return oid

    write(random, add, db.seal, Said("page"), repo)
    db.close()


def with_git(random: Random, repo: str, write: Any) -> None:
    """Stock git's own way to write a single object."""

    def add(kind: str, data: bytes) -> str:
        command = ["git", "-C", repo, "hash-object", "-w", "-t", kind, "--stdin"]
        return subprocess.run(command, input=data, check=True, capture_output=True).stdout.decode().strip()

    write(random, add, lambda: None, Said("loose"), repo)


def with_import(random: Random, repo: str, write: Any) -> None:
    """`git gpa import-objects`, which acknowledges all objects by ending with 0."""
    object_format = subprocess.run(
        ["git", "-C", repo, "rev-parse", "--show-object-format"], check=True, capture_output=True, text=True
    ).stdout.strip()
    stream: list[bytes] = []

    def add(kind: str, data: bytes) -> str:
        oid = digest(object_format, kind, data)
        stream.append(b"%s %s %d\n%s\n" % (oid.encode(), kind.encode(), len(data), data))
        return oid

    def seal() -> None:
        subprocess.run(["git-gpa", "-q", "import-objects"], cwd=repo, input=b"".join(stream), check=True)
        stream.clear()

    write(random, add, seal, Said("page"), repo)


OURS = {
    "store": with_store,
    "uploads": with_uploads,
    "pygit2": with_pygit2,
    "dulwich": with_dulwich,
    "gitdb": with_gitdb,
    "import-objects": with_import,
}
STOCK = {
    "stock-git": with_git,
    "stock-pygit2": lambda random, repo, write: with_pygit2(random, repo, write, attach=False),
    "stock-dulwich": lambda random, repo, write: with_dulwich(random, repo, write, attach=False),
}
SHA256 = ("store", "uploads", "import-objects", "stock-git")


def main() -> None:
    kind, repo, seed = sys.argv[1:]
    random = Random(int(seed))
    write = partial(random.choice((commits, commits, blobs)), make=random.choice((document, document, common_document)))
    {**OURS, **STOCK}[kind](random, repo, write)


if __name__ == "__main__":
    main()
