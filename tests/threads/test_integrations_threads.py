"""dulwich and gitdb write from several threads and processes into one repository, while maintenance runs beside them.

git sees each commit, and all that it names, as soon as the writer was told.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from itertools import count
from pathlib import Path

import pytest
from dulwich.objects import ShaFile
from gitdb.base import IStream
from histories import init_server
from oracle import git, objects_dir
from test_writer_threads import Threads, assert_all_there, counting, run_gpa, until
from writing import commit_text, loose_count, tree_text

from gpa_maint import PageStore
from gpa_maint.integrations.dulwich import open_repository
from gpa_maint.integrations.gitdb import PagedDB

Add = Callable[[str, bytes], bytes]
"""(type, content) -> raw id"""

NUMBERS = {"commit": 1, "tree": 2, "blob": 3}


def dulwich_adds(repo: Path, store: PageStore) -> Add:
    objects = open_repository(repo, store).object_store

    def add(kind: str, data: bytes) -> bytes:
        made = ShaFile.from_raw_string(NUMBERS[kind], data)
        objects.add_object(made)
        return made.sha().digest()

    return add


def gitdb_adds(repo: Path, store: PageStore) -> Add:
    db = PagedDB(store.path, store, seal=False)

    def add(kind: str, data: bytes) -> bytes:
        oid: bytes = db.store(IStream(kind.encode(), len(data), BytesIO(data))).binsha
        return oid

    return add


WAYS = {"dulwich": dulwich_adds, "gitdb": gitdb_adds}


def commit_until(repo: Path, add: Add, name: str, stop: Callable[[], bool]) -> list[bytes]:
    """Commits onto a branch of that name; each is looked at by git. Gives their ids."""
    commits: list[bytes] = []
    for number in count():
        if stop():
            return commits
        blob = add("blob", b"%d" % (number // 2))  # often one that others write too
        tree = add("tree", tree_text({"file": blob, "name": add("blob", name.encode())}))
        commits.append(add("commit", commit_text(tree, *commits[-1:], message=f"{number} of {name}")))
        git(repo, "rev-list", "--objects", "--quiet", commits[-1].hex())
        git(repo, "update-ref", f"refs/heads/{name}", commits[-1].hex())


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    made = init_server(tmp_path / "server")
    git(made, "config", "gpa.autoPages", "8")
    return made


@pytest.mark.parametrize("library", WAYS)
def test_threads_share_one_store(repo: Path, library: str) -> None:
    told: list[list[bytes]] = [[] for _ in range(4)]
    with PageStore.open(objects_dir(repo)) as store:

        def work(number: int) -> None:
            told[number] = commit_until(repo, WAYS[library](repo, store), f"thread-{number}", counting(15))

        with Threads(4, work):
            pass
    assert_all_there(repo, [oid for own in told for oid in own])
    assert [15] * 4 == [len(own) for own in told]
    assert 0 == loose_count(repo)


def write_in_two_threads(repo: Path, library: str, name: str, seconds: float) -> list[bytes]:
    """What a process does."""
    stop = until(seconds)
    told: list[list[bytes]] = [[], []]
    with PageStore.open(objects_dir(repo)) as store:

        def work(number: int) -> None:
            told[number] = commit_until(repo, WAYS[library](repo, store), f"{name}-{number}", stop)

        with Threads(2, work):
            pass
    return told[0] + told[1]


PROCESS = """
import sys
sys.path[:0] = sys.argv[5:]
from test_integrations_threads import *
for oid in write_in_two_threads(Path(sys.argv[1]), sys.argv[2], sys.argv[3], float(sys.argv[4])):
    print(oid.hex())
"""


def test_processes_of_both_write_while_maintenance_runs(repo: Path) -> None:
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, repo, library, f"{library}-{number}", "3", *folders],
            stdout=subprocess.PIPE,
            text=True,
        )
        for library in WAYS
        for number in range(2)
    ]

    def keep_up(_number: int) -> None:
        while any(process.poll() is None for process in processes):
            run_gpa(repo, "run")

    with Threads(1, keep_up):
        said = [process.communicate()[0].split() for process in processes]
    assert [0] * 4 == [process.returncode for process in processes]
    assert all(said)
    assert_all_there(repo, [bytes.fromhex(oid) for own in said for oid in own])
    assert 0 == loose_count(repo)
