"""What do deltas save where many commits are one batch, and what do they cost?

Commits, each of one changed document in a folder of ten: of documents that are replaced, and of ones of which a line
changes; and a bulk of documents in folders of a hundred, none like another. Then all of it is read in any order.
"""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from pathlib import Path

from gpa_maint import PageStore
from tests.bench.measure import call
from tests.bench.write import COMMITS, DOCUMENTS, PERSON, WORDS, Add, Way, compare, documents, tree_of, write_commits

IN_FOLDERS = 20_000
LINES = 60

Contents = Callable[[int], list[bytes]]


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    del source, title
    compare(f"a batch of {COMMITS} commits, 300 bytes replaced", _commits(documents), work, pairs, COMMITS, _read)
    compare(f"a batch of {COMMITS} commits, a line of 3 kB changed", _commits(edits), work, pairs, COMMITS, _read)
    documents(IN_FOLDERS)
    compare(f"a batch of {IN_FOLDERS} documents in folders", _folders(), work, pairs, IN_FOLDERS, _read)


def _read(repo: Path) -> str:
    """CPU time, by one thread, with a cache of the usual size."""
    with PageStore.open(repo / "objects") as store:
        oids = list(store)
        random.Random("order").shuffle(oids)
        cost = call(lambda: [store.read(oid) for oid in oids])
    return f", read in {1000 * cost.cpu / len(oids):.1f} us an object"


_EDITED: list[bytes] = []


def edits(count: int) -> list[bytes]:
    """Texts of lines of about 50 bytes, of which one changes each time its document's turn comes; made once."""
    rng = random.Random("edits")

    def line() -> bytes:
        return " ".join(rng.choices(WORDS, k=6)).encode() + b" %06d" % rng.randrange(1_000_000)

    texts = [[line() for _ in range(LINES)] for _ in range(DOCUMENTS)]
    for number in range(len(_EDITED), count):
        text = texts[number % DOCUMENTS]
        text[rng.randrange(LINES)] = line()
        _EDITED.append(b"\n".join(text))
    return _EDITED[:count]


def _in_a_batch(write: Callable[[Add, int], None], *, deltas: bool) -> Way:
    def way(repo: Path, count: int) -> None:
        with PageStore.open(repo / "objects", object_format="sha1") as store:
            writer = store.writer(durability="none", deltas=deltas)
            with writer.batch():
                write(writer.add, count)

    return way


def _commits(contents: Contents) -> dict[str, tuple[Way, int]]:
    def write(add: Add, count: int) -> None:
        write_commits(add, count, contents)

    def fast_import(repo: Path, count: int) -> None:
        head = b"commit refs/heads/main\ncommitter %b\ndata 9\na change\n" % PERSON
        stream = b"".join(
            head + b"M 100644 inline document-%d\ndata %d\n%b\n" % (number % DOCUMENTS, len(data), data)
            for number, data in enumerate(contents(count))
        )
        subprocess.run(["git", "fast-import", "--quiet"], cwd=repo, input=stream, check=True)

    contents(COMMITS)
    return {
        "git-gpa": (_in_a_batch(write, deltas=False), COMMITS),
        "git-gpa, deltas": (_in_a_batch(write, deltas=True), COMMITS),
        "git fast-import": (fast_import, COMMITS),
    }


def _write_folders(add: Add, count: int) -> None:
    found = documents(count)
    for first in range(0, count, 100):
        add("tree", tree_of([add("blob", data) for data in found[first : first + 100]]))


def _folders() -> dict[str, tuple[Way, int]]:
    return {
        "git-gpa": (_in_a_batch(_write_folders, deltas=False), IN_FOLDERS),
        "git-gpa, deltas": (_in_a_batch(_write_folders, deltas=True), IN_FOLDERS),
    }
