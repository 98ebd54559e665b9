"""pygit2 through a PageStore gives what git gives: in both modes, beside maintenance, and whatever is let go first."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import itertools
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

import pygit2
import pytest
from histories import (
    History,
    HistorySpec,
    alternates_repo,
    init_server,
    pushed_history,
    send_push,
    worktree_repo,
)
from oracle import all_objects, git, git_line, object_format, objects_dir, pack_dir, packs, refs
from packwriter import Whole, add_pack, oid_hex
from pygit2.enums import ObjectType, SortMode
from running import gpa
from test_store import SHAPES, Shape, add_loose, half_indexed, one_pack

from gpa_maint import PageStore
from gpa_maint.errors import Unsupported
from gpa_maint.integrations import libgit2
from gpa_maint.integrations.libgit2 import attach, open_repository

Mode = Literal["replace", "add"]
MISSING = "00112233445566778899aabbccddeeff00112233"
KINDS = {
    ObjectType.COMMIT: "commit",
    ObjectType.TREE: "tree",
    ObjectType.BLOB: "blob",
    ObjectType.TAG: "tag",
}


@pytest.fixture(params=["replace", "add"])
def mode(request: pytest.FixtureRequest) -> Mode:
    chosen: Mode = request.param
    return chosen


@pytest.fixture
def history(tmp_path: Path) -> History:
    return pushed_history(tmp_path / "history", HistorySpec(kind="tree", pushes=12, waiting=4))


def store_of(repo: Path) -> PageStore:
    return PageStore.open(objects_dir(repo), object_format="sha1")


def attached(path: Path, mode: Mode, store: PageStore | None = None) -> pygit2.Repository:
    repo = pygit2.Repository(os.fspath(path))
    attach(repo, store_of(path) if store is None else store, mode=mode)
    return repo


def read_header(repo: pygit2.Repository, oid: str) -> tuple[int, int]:
    """Type and size; older versions of pygit2 cannot ask for them alone."""
    if hasattr(repo.odb, "read_header"):
        kind, size = repo.odb.read_header(oid)
        return kind, size
    kind, content = repo.odb.read(oid)
    return kind, len(content)


def assert_reads_all(repo: pygit2.Repository, path: Path) -> None:
    """Every object git has, with every way of asking; and each is listed once."""
    expected, odb = all_objects(path), repo.odb
    assert sorted(expected) == sorted(str(oid) for oid in odb)
    for oid, (kind, size, digest) in expected.items():
        assert oid in odb
        read_kind, content = odb.read(oid)
        assert (kind, size, digest) == (KINDS[read_kind], len(content), hashlib.sha256(content).hexdigest())
        head_kind, head_size = read_header(repo, oid)
        assert (kind, size) == (KINDS[head_kind], head_size)
        assert content == repo[oid].read_raw()


# -- Reading


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_object_reads_as_git_reads_it(shape: Shape, tmp_path: Path, mode: Mode) -> None:
    path = shape(tmp_path, "sha1")
    assert_reads_all(attached(path, mode), path)


def test_what_is_missing_is_missing(history: History, mode: Mode) -> None:
    repo = attached(history.server, mode)
    assert MISSING not in repo.odb and MISSING not in repo
    for ask in (repo.odb.read, partial(read_header, repo), repo.__getitem__):
        for oid in (MISSING, MISSING[:9]):
            with pytest.raises(KeyError) as caught:
                ask(oid)
            assert (oid,) == caught.value.args
    assert repo.get(MISSING) is None


def test_a_miss_is_looked_for_again_each_time(tmp_path: Path, mode: Mode) -> None:
    """Whatever is asked first and whatever comes after: what appears between two calls is found by the second."""
    path = init_server(tmp_path / "server")
    repo = attached(path, mode)
    for number, ask in enumerate(
        [repo.odb.read, partial(read_header, repo), repo.odb.__contains__, repo.__getitem__] * 3
    ):
        oid = oid_hex("blob", b"%d" % number)
        assert not is_there(ask, oid) and not is_there(ask, oid[:20])
        add_pack(path, [Whole(kind="blob", content=b"%d" % number)])
        assert is_there(ask, oid)


def is_there(ask: object, oid: str) -> bool:
    assert callable(ask)
    try:
        return ask(oid) is not False
    except KeyError:
        return False


def test_a_prefix_finds_its_object_or_says_that_there_are_several(tmp_path: Path, mode: Mode) -> None:
    path = init_server(tmp_path / "server")
    contents = [b"%d" % number for number in range(2000)]
    oids = [oid_hex("blob", content) for content in contents]
    add_pack(path, [Whole(kind="blob", content=content) for content in contents[::2]])
    for content in contents[1:100:2]:
        git(path, "hash-object", "-w", "--stdin", input=content)
    there = [*oids[::2], *oids[1:100:2]]
    begins = Counter(oid[:4] for oid in there)
    repo = attached(path, mode)
    assert {1, 2} <= set(begins.values())
    for oid in there:
        if begins[oid[:4]] > 1:
            with pytest.raises(ValueError, match=r"ambiguous"):
                repo[oid[:4]]
            with pytest.raises(ValueError, match=r"ambiguous"):
                repo.odb.read(oid[:4])
        else:
            assert oid == str(repo[oid[:4]].id)
        assert oid == str(repo[oid[:13]].id)
        assert repo.odb.read(oid) == repo.odb.read(oid[:13])


def test_each_object_is_listed_once(tmp_path: Path, mode: Mode) -> None:
    """Stored in several packs, loose beside a pack, and in an alternate: libgit2 alone would list each copy."""
    path, lender = alternates_repo(tmp_path)
    oids = sorted(all_objects(path))
    for oid in oids[:10]:
        content = git(path, "cat-file", "blob", oid, check=False)
        if content.returncode == 0:
            git(path, "hash-object", "-w", "--stdin", input=content.stdout)
    pack = next(pack_dir(lender).glob("*.pack"))
    for suffix in (".pack", ".idx"):
        shutil.copy(pack.with_suffix(suffix), pack_dir(path))
    assert len(list(pygit2.Repository(os.fspath(path)).odb)) > len(oids)
    assert oids == sorted(str(oid) for oid in attached(path, mode).odb)


def test_objects_of_backends_that_others_added_are_listed_too(history: History) -> None:
    repo = pygit2.Repository(os.fspath(history.server))
    lost, extra = (
        pushed_history(history.server.parent / "more", HistorySpec(pushes=3, seed=9)).server,
        init_server(history.server.parent / "extra"),
    )
    add_loose(extra, 3)
    for folder in (lost, extra):
        repo.odb.add_disk_alternate(os.fspath(objects_dir(folder)))
    attach(repo, store_of(history.server), mode="add")
    attach(repo, store_of(extra), mode="add")
    expected = all_objects(history.server).keys() | all_objects(lost).keys() | all_objects(extra).keys()
    assert sorted(expected) == sorted(str(oid) for oid in repo.odb)


def test_an_object_is_not_found_in_a_store_that_has_it_not(history: History, tmp_path: Path) -> None:
    """In replace mode the store is all there is."""
    other = init_server(tmp_path / "other")
    repo = attached(history.server, "replace", store_of(other))
    assert [] == list(repo.odb)
    assert git_line(history.server, "rev-parse", "HEAD") not in repo.odb


def test_a_damaged_object_is_an_error_that_names_the_file(tmp_path: Path, mode: Mode) -> None:
    path = init_server(tmp_path / "server")
    name = add_pack(path, [Whole(kind="blob", content=b"x" * 1000)])
    pack = pack_dir(path) / f"{name}.pack"
    data = bytearray(pack.read_bytes())
    data[15:18] = b"???"
    pack.chmod(0o644)
    pack.write_bytes(data)
    repo = attached(path, mode)
    with pytest.raises(pygit2.GitError, match=f"corrupt '{pack}'"):
        repo.odb.read(oid_hex("blob", b"x" * 1000))


def test_few_descriptors_are_enough_for_many_packs(tmp_path: Path) -> None:
    """libgit2's own backend keeps one for each pack it reads from."""
    path = init_server(tmp_path / "server")
    contents = [b"object %d\n" % number for number in range(500)]
    script = "".join(f"blob\ndata {len(content)}\n{content.decode()}\ncheckpoint\n" for content in contents)
    git(path, "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", "--force", input=script)
    assert 500 == len(packs(path))
    program = """
import sys
from gpa_maint.integrations.libgit2 import open_repository
odb = open_repository(sys.argv[1]).odb
for oid in sys.argv[2:]:
    assert odb.read(oid)[1].startswith(b"object ")
"""
    run_python(program, path, *[oid_hex("blob", content) for content in contents], descriptors=100)


def run_python(program: str, *words: str | Path, descriptors: int = 1000) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, words)], capture_output=True, text=True, preexec_fn=limit, check=False
    )
    assert (0, "") == (done.returncode, done.stderr), f"{done.stdout}{done.stderr}"


# -- Living with others


def test_what_git_writes_meanwhile_is_seen(history: History, mode: Mode) -> None:
    store = store_of(history.server)
    repo = attached(history.server, mode, store)
    assert_reads_all(repo, history.server)
    for push in history.waiting:
        send_push(history.client, history.server, push)
        assert git_line(history.server, "rev-parse", "main") == str(repo.references["refs/heads/main"].peel().id)
    add_loose(history.server, 5)
    assert_reads_all(repo, history.server)


def test_reading_goes_on_while_packs_are_merged_and_deleted(history: History, mode: Mode) -> None:
    """I2, with readers that had nothing open, and with some that had read all."""
    early = attached(history.server, mode)
    late = attached(history.server, mode)
    assert_reads_all(early, history.server)
    for number, push in enumerate(history.waiting):
        send_push(history.client, history.server, push)
        gpa(history.server, "repack")
        gpa(history.server, "expire", "--grace=now")
        assert_reads_all(early, history.server)
        if number:
            assert_reads_all(late, history.server)
    git(history.server, "repack", "-q", "-a", "-d", "-k")
    assert_reads_all(early, history.server)


def test_threads_share_one_store_beside_maintenance(history: History) -> None:
    expected = all_objects(history.server)
    store = store_of(history.server)
    stop, errors = threading.Event(), []

    def read() -> None:
        try:
            while not stop.is_set():
                repo = attached(history.server, "replace", store)
                for oid, (kind, size, digest) in expected.items():
                    found, content = repo.odb.read(oid)
                    assert (kind, size, digest) == (KINDS[found], len(content), hashlib.sha256(content).hexdigest())
                assert expected.keys() <= {str(oid) for oid in repo.odb}
                list(repo.walk(repo.references["refs/heads/main"].peel().id, SortMode.TOPOLOGICAL))
                assert MISSING not in repo.odb
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for push in history.waiting:
        send_push(history.client, history.server, push)
        gpa(history.server, "repack")
        gpa(history.server, "expire", "--grace=now")
    git(history.server, "gc", "-q", "--no-prune")
    stop.set()
    for thread in threads:
        thread.join()
    assert [] == errors


def test_one_repository_serves_several_threads(history: History, mode: Mode) -> None:
    expected, repo, errors = all_objects(history.server), attached(history.server, mode), []

    def read(part: int) -> None:
        try:
            for oid in list(expected)[part::4]:
                assert expected[oid][2] == hashlib.sha256(repo.odb.read(oid)[1]).hexdigest()
                assert oid not in {MISSING} and MISSING not in repo.odb
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == errors


def test_a_repository_works_in_a_forked_process(history: History, mode: Mode) -> None:
    expected, store = all_objects(history.server), store_of(history.server)
    repo = attached(history.server, mode, store)
    del store
    gc.collect()
    for _ in range(5):
        pid = os.fork()
        if not pid:
            good = all(
                digest == hashlib.sha256(repo.odb.read(oid)[1]).hexdigest() for oid, (_, _, digest) in expected.items()
            )
            os._exit(0 if good and MISSING not in repo.odb else 1)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert_reads_all(repo, history.server)


# -- Lifetimes

LIFETIMES = """
import gc, sys
import pygit2
from gpa_maint import PageStore
from gpa_maint.integrations.libgit2 import attach

path, mode, oid, *order = sys.argv[1:]
store = PageStore.open(path + "/objects")
first, second = pygit2.Repository(path), pygit2.Repository(path)
for repo in (first, second):
    attach(repo, store, mode=mode)
del repo
alive = {"store": store, "first": first, "second": second, "odb": first.odb, "commit": second[oid]}
del store, first, second
readers = {
    "store": lambda it: it.read(oid),
    "first": lambda it: it[oid].tree,
    "second": lambda it: it[oid].tree,
    "odb": lambda it: it.read(oid),
    "commit": lambda it: list(it.tree),
}
for name in order:
    for other, it in alive.items():
        readers[other](it)
        del it
    if name == "store":
        alive[name].close()
    del alive[name]
    gc.collect()
"""


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_everything_may_be_let_go_in_any_order(history: History, mode: Mode) -> None:
    orders = list(itertools.permutations(["store", "first", "second", "odb", "commit"]))
    oid = git_line(history.server, "rev-parse", "HEAD")
    program = "\n".join(
        [
            "import sys",
            f"program = {LIFETIMES!r}",
            "words = sys.argv[:4]",
            f"for order in {orders[::3]!r}:",
            "    sys.argv[:] = [*words, *order]",
            "    exec(program, {})",
        ]
    )
    run_python(program, history.server, mode, oid)


@pytest.mark.parametrize("mode", ["replace", "add"])
def test_a_program_may_end_with_everything_open(history: History, mode: Mode) -> None:
    program = LIFETIMES.replace("del store, first, second", "")
    for order in ([], ["odb"], ["store", "commit"]):
        run_python(program, history.server, mode, git_line(history.server, "rev-parse", "HEAD"), *order)


def test_a_closed_store_is_still_read_through(history: History, mode: Mode) -> None:
    store = store_of(history.server)
    repo = attached(history.server, mode, store)
    store.close()
    assert_reads_all(repo, history.server)


def test_memory_does_not_grow_with_repositories_that_come_and_go(history: History) -> None:
    program = """
import resource, sys
import pygit2
from gpa_maint import PageStore
from gpa_maint.integrations.libgit2 import attach
store = PageStore.open(sys.argv[1] + "/objects")
def use(mode):
    repo = pygit2.Repository(sys.argv[1])
    attach(repo, store, mode=mode)
    repo[sys.argv[2]].tree
    len(list(repo.odb))
def rss():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for mode in ("replace", "add"):
    for _ in range(200):
        use(mode)
    before = rss()
    for _ in range(500):
        use(mode)
    assert rss() - before < 4096, (mode, before, rss())
"""
    run_python(program, history.server, git_line(history.server, "rev-parse", "HEAD"))


# -- What stands on objects


def test_walks_diffs_and_refs_are_those_of_git(history: History, mode: Mode) -> None:
    path = history.server
    repo = attached(path, mode)
    assert refs(path) == {name: str(repo.references[name].target) for name in repo.references}
    walk = [str(commit.id) for commit in repo.walk(repo.head.target, SortMode.TOPOLOGICAL)]
    assert set(git(path, "rev-list", "HEAD").stdout.split()) == set(walk)
    for oid in walk[:10]:
        commit = repo[oid]
        assert isinstance(commit, pygit2.Commit)
        if commit.parents:
            changed = git(path, "diff", "--no-renames", "--name-only", "-z", f"{oid}^", oid).stdout.split("\0")[:-1]
            assert changed == [delta.new_file.path for delta in repo.diff(commit.parents[0], commit).deltas]
        assert git_line(path, "rev-parse", f"{oid}^{{tree}}") == str(commit.tree.id)
    entries = git(path, "ls-tree", "-r", "-z", "HEAD").stdout.split("\0")[:-1]
    assert [entry.split(" ", 2)[2] for entry in entries] == list(files_of(repo.head.peel(pygit2.Tree)))


def files_of(tree: pygit2.Tree, prefix: str = "") -> Iterator[str]:
    for entry in tree:
        if isinstance(entry, pygit2.Tree):
            yield from files_of(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{entry.id}\t{prefix}{entry.name}"


def test_a_commit_graph_is_used_as_before(history: History) -> None:
    git(history.server, "commit-graph", "write", "--reachable")
    repo = attached(history.server, "replace")
    walk = [str(commit.id) for commit in repo.walk(repo.head.target, SortMode.TOPOLOGICAL)]
    assert set(git(history.server, "rev-list", "HEAD").stdout.split()) == set(walk)
    (objects_dir(history.server) / "info/commit-graph").unlink()
    (objects_dir(history.server) / "info/commit-graph").write_bytes(b"CGPH\1\1")
    assert walk == [
        str(commit.id) for commit in attached(history.server, "replace").walk(walk[0], SortMode.TOPOLOGICAL)
    ]


def test_a_work_tree_is_checked_out(history: History, tmp_path: Path, mode: Mode) -> None:
    git(tmp_path, "clone", "-q", "--no-checkout", history.server, tmp_path / "clone")
    repo = attached(tmp_path / "clone", mode)
    repo.checkout("refs/heads/main")
    repo.reset(repo.head.target, pygit2.enums.ResetMode.HARD)
    assert "" == git(tmp_path / "clone", "status", "--porcelain").stdout
    assert {} == repo.status()


def test_a_clone_and_a_fetch_write_into_the_store(history: History, tmp_path: Path, mode: Mode) -> None:
    """Into one pack; libgit2 writes the idx first."""

    def make(path: bytes, bare: bool) -> pygit2.Repository:
        pygit2.init_repository(path, bare)
        return attached(Path(os.fsdecode(path)), mode)

    clone = pygit2.clone_repository(os.fspath(history.server), os.fspath(tmp_path / "clone"), repository=make)
    assert "" == git(tmp_path / "clone", "status", "--porcelain").stdout
    for push in history.waiting:
        send_push(history.client, history.server, push)
    clone.remotes["origin"].fetch()
    head = git_line(history.server, "rev-parse", "main")
    assert head == str(clone.references["refs/remotes/origin/main"].target)
    assert "commit" == KINDS[clone.odb.read(head)[0]]
    assert packs(tmp_path / "clone")
    git(tmp_path / "clone", "fsck", "--strict")
    assert_reads_all(clone, tmp_path / "clone")


def test_a_fetch_without_a_directory_for_packs_is_an_error(history: History, tmp_path: Path) -> None:
    pygit2.init_repository(os.fspath(tmp_path / "empty"), bare=True)
    repo = open_repository(tmp_path / "empty")
    (tmp_path / "empty/objects/pack").rmdir()
    with pytest.raises(pygit2.GitError, match="no directory for packs"):
        repo.remotes.create_anonymous(os.fspath(history.server)).fetch(["refs/heads/main"])


def test_a_push_sends_what_the_store_has(history: History, tmp_path: Path, mode: Mode) -> None:
    target = init_server(tmp_path / "target")
    repo = attached(history.server, mode)
    repo.remotes.create_anonymous(os.fspath(target)).push(["refs/heads/main"])
    assert git_line(history.server, "rev-parse", "main") == git_line(target, "rev-parse", "main")
    git(target, "fsck", "--strict")


# -- Opening


def test_a_repository_is_opened_with_a_store_of_its_own_or_a_shared_one(history: History) -> None:
    store = store_of(history.server)
    for repo in (open_repository(history.server), open_repository(history.server, store)):
        assert_reads_all(repo, history.server)


def test_a_linked_worktree_reads_the_objects_of_its_repository(tmp_path: Path) -> None:
    path, worktree = worktree_repo(tmp_path)
    assert_reads_all(open_repository(worktree), path)


def test_a_new_repository_has_no_objects(tmp_path: Path) -> None:
    pygit2.init_repository(os.fspath(tmp_path / "new"))
    repo = open_repository(tmp_path / "new")
    assert [] == list(repo.odb)
    assert oid_hex("blob", b"first") == str(repo.create_blob(b"first"))
    assert 1 == len(list(repo.odb))


def test_another_mode_is_refused(history: History) -> None:
    with pytest.raises(ValueError, match="'replace' or 'add', not 'both'"):
        attach(pygit2.Repository(os.fspath(history.server)), store_of(history.server), mode="both")  # type: ignore


def test_a_closed_store_cannot_be_attached(history: History) -> None:
    store = store_of(history.server)
    store.close()
    with pytest.raises(ValueError, match="closed"):
        attached(history.server, "replace", store)


def test_a_sha256_store_is_refused(history: History, tmp_path: Path) -> None:
    path = one_pack(tmp_path, "sha256")
    assert "sha256" == object_format(path)
    with pytest.raises(Unsupported, match="SHA-1 repositories only"):
        attach(pygit2.Repository(os.fspath(history.server)), PageStore.for_repository(path))


@pytest.mark.parametrize("version", ["1, 6, 4", "1, 10, 0", "2, 8, 0"])
def test_another_version_of_libgit2_is_refused(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    major, minor, revision = version.split(", ")
    code = f"void git_libgit2_version(int *a, int *b, int *c) {{ *a = {major}; *b = {minor}; *c = {revision}; }}"
    library = tmp_path / "libother.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-xc", "-", "-o", library], input=code.encode(), check=True)
    loaded = ctypes.CDLL(os.fspath(library))
    monkeypatch.setattr(libgit2, "_library", lambda: loaded._name)
    with pytest.raises(Unsupported, match=rf"libgit2 {major}\.{minor}\.{revision}, expected 1.7 to 1.9"):
        attached(history.server, "replace")


def test_a_library_without_libgit2_is_refused(
    history: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libgit2, "_library", lambda: os.fspath(tmp_path / "none.so"))
    with pytest.raises(Unsupported, match="not loaded"):
        attached(history.server, "replace")
    monkeypatch.setattr(libgit2, "_library", lambda: "libc.so.6")
    with pytest.raises(Unsupported, match="no function 'git_libgit2_version'"):
        attached(history.server, "replace")


def test_without_pygit2_there_is_a_clear_error(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygit2", None)
    with pytest.raises(Unsupported, match="pygit2 cannot be imported"):
        open_repository(history.server)
    run_python("import sys; sys.modules['pygit2'] = None; import gpa_maint.integrations.libgit2")


def test_half_indexed_repositories_survive_a_storm_of_misses(tmp_path: Path, mode: Mode) -> None:
    path = half_indexed(tmp_path, "sha1")
    repo = attached(path, mode)
    for number in range(500):
        assert hashlib.sha1(b"%d" % number).hexdigest() not in repo.odb
    assert_reads_all(repo, path)
