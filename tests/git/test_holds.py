"""I14: what a writer or a run puts into pages is as safe from every git command as loose objects are."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest
from histories import History, HistorySpec, init_server
from neighbours import STOCK
from oracle import all_objects, content_digest, fsck, git, pack_dir
from packwriter import Whole, add_pack
from running import assert_sound, gpa, gpa_any, gpa_json

from gpa_maint import PageStore, fs, maintain
from gpa_maint.verbs import run as maintenance

HistoryFactory = Callable[[HistorySpec], History]

SMALL = HistorySpec(pushes=5)

COMMIT = b"tree %s\nauthor a <a@e> 1 +0000\ncommitter a <a@e> 1 +0000\n\nmessage\n"


def commit_with_a_writer(repo: Path) -> str:
    with PageStore.for_repository(repo) as store, store.writer() as writer:
        blob = writer.add("blob", b"written by a writer\n")
        tree = writer.add("tree", b"100644 file\0" + blob)
        return writer.add("commit", COMMIT % tree.hex().encode()).hex()


def commit_loose_and_run(repo: Path) -> str:
    commit = _commit_loose(repo)
    gpa(repo, "add-loose")
    assert [] == [path for path in (repo / "objects").glob("??/*") if len(path.parent.name) == 2]
    return commit


def _commit_loose(repo: Path, text: str = "a loose object\n") -> str:
    blob = git(repo, "hash-object", "-w", "--stdin", input=text).stdout.strip()
    tree = git(repo, "mktree", input=f"100644 blob {blob}\tfile\n").stdout.strip()
    when = {"GIT_AUTHOR_DATE": "1000000000 +0000", "GIT_COMMITTER_DATE": "1000000000 +0000"}
    return git(repo, "commit-tree", "-m", "a commit", tree, env=when).stdout.strip()


def commit_and_merge(repo: Path) -> str:
    """Two pages of new objects become one."""
    commit = commit_with_a_writer(repo)
    with PageStore.for_repository(repo) as store, store.writer() as writer:
        writer.add("blob", b"another one\n")
    gpa(repo, "repack")
    gpa(repo, "expire", "--grace=now")
    return commit


def commit_with_import(repo: Path) -> str:
    other = init_server(repo.parent / "other")
    commit = _commit_loose(other)
    names = git(other, "rev-list", "--objects", "--no-object-names", commit).stdout
    stream = subprocess.run(
        ["git", "-C", other, "cat-file", "--batch"], input=names.encode(), capture_output=True, check=True
    ).stdout
    subprocess.run(["git", "gpa", "import-objects", "-q"], cwd=repo, input=stream, check=True)
    return commit


def commit_with_dulwich(repo: Path) -> str:
    from dulwich.objects import Blob, Commit, Tree

    from gpa_maint.integrations import dulwich

    with dulwich.open_repository(str(repo)) as opened:
        blob = Blob.from_string(b"by dulwich\n")
        tree = Tree()
        tree.add(b"file", 0o100644, blob.id)
        commit = Commit()
        commit.tree, commit.author, commit.committer = tree.id, b"a <a@e>", b"a <a@e>"
        commit.author_time = commit.commit_time = 1
        commit.author_timezone = commit.commit_timezone = 0
        commit.message = b"m"
        opened.object_store.add_objects([(blob, None), (tree, None), (commit, None)])
        return commit.id.decode()


def commit_with_pygit2(repo: Path) -> str:
    import pygit2

    from gpa_maint.integrations import libgit2

    opened = libgit2.open_repository(str(repo))
    builder = opened.TreeBuilder()
    builder.insert("file", opened.create_blob(b"by pygit2\n"), pygit2.enums.FileMode.BLOB)
    who = pygit2.Signature("a", "a@e", 1, 0)
    return str(opened.create_commit(None, who, who, "m", builder.write(), []))


WRITERS: dict[str, Callable[[Path], str]] = {
    "writer": commit_with_a_writer,
    "add-loose": commit_loose_and_run,
    "merged": commit_and_merge,
    "import-objects": commit_with_import,
    "dulwich": commit_with_dulwich,
    "pygit2": commit_with_pygit2,
}


def server(root: Path) -> Path:
    """Bare, with one commit that a ref names."""
    repo = init_server(root / "server")
    git(repo, "update-ref", "refs/heads/first", _commit_loose(repo, "the first\n"))
    git(repo, "repack", "-q", "-d")
    git(repo, "prune-packed")
    return repo


DROPPING = ("repack -a -d", "gc --prune=now")
"""The commands that drop a young pack without a .keep."""


@pytest.mark.parametrize(
    ("writer", "command"),
    [*product(("writer", "merged"), STOCK), *product(sorted(WRITERS.keys() - {"writer", "merged"}), DROPPING)],
)
def test_new_objects_survive_every_git_command_before_a_ref_names_them(
    tmp_path: Path, writer: str, command: str
) -> None:
    """I14"""
    repo = server(tmp_path)
    commit = WRITERS[writer](repo)
    git(repo, *STOCK[command], check=False)
    git(repo, "update-ref", "refs/heads/main", commit)
    fsck(repo)
    gpa_any(repo, "run")
    fsck(repo)


def holds(repo: Path) -> dict[str, str]:
    """The first line of each .keep."""
    return {path.stem: path.read_text().partition("\n")[0] for path in pack_dir(repo).glob("*.keep")}


def test_a_page_is_held_before_it_is_visible_and_until_its_sources_are_gone(history: HistoryFactory) -> None:
    """I14"""
    made = history(SMALL)
    digest = content_digest(made.server)
    gpa(made.server, "repack")
    assert ["git-gpa merged"] == list(holds(made.server).values())
    (keep,) = pack_dir(made.server).glob("*.keep")
    assert set(made.packs) == set(keep.read_text().splitlines()[1:])
    gpa(made.server, "expire")
    assert 1 == len(holds(made.server))
    answer = gpa_json(made.server, "expire", "--grace=now")
    assert list(answer["released"]) == [keep.stem]
    assert {} == holds(made.server)
    assert_sound(made.server, digest)


def test_a_page_is_held_for_those_packs_that_it_has_objects_of(tmp_path: Path) -> None:
    """I14: the holds of many pages made of many packs would fill the disk otherwise. An object that two packs have
    counts for both."""
    repo = server(tmp_path)
    packs = []
    for words in (("one", "two", "all"), ("three", "four", "all"), ("five", "six")):
        packs.append(add_pack(repo, [Whole(kind="blob", content=f"{word}\n".encode()) for word in words]))
        date = 1_000_000_000 + len(packs)
        os.utime(pack_dir(repo) / f"{packs[-1]}.pack", (date, date))
    git(repo, "config", "gpa.pageObjects", "4")
    merged = gpa_json(repo, "repack")
    assert set(packs) < set(merged["merged"])
    assert 3 == len(merged["pages"])
    for page in (entry["name"] for entry in merged["pages"]):
        named = (pack_dir(repo) / f"{page}.keep").read_text().splitlines()[1:]
        there = objects_of(repo, page)
        assert sorted(pack for pack in merged["merged"] if there & objects_of(repo, pack)) == sorted(named)
        assert len(named) < len(merged["merged"])


def objects_of(repo: Path, pack: str) -> set[str]:
    """The ids of the objects that its idx names."""
    listed = git(repo, "show-index", input=(pack_dir(repo) / f"{pack}.idx").read_bytes()).stdout
    return {line.split()[1] for line in listed.splitlines()}


def test_a_page_of_new_objects_is_held_until_it_is_old(tmp_path: Path) -> None:
    """I14"""
    repo = server(tmp_path)
    commit_with_a_writer(repo)
    gpa(repo, "run")
    assert ["git-gpa new"] == list(holds(repo).values())
    (keep,) = pack_dir(repo).glob("*.keep")
    old = time.time() - 15 * 86400
    os.utime(keep.with_suffix(".pack"), (old, old))
    assert "ended the hold of 1 page" in gpa(repo, "run").stdout
    assert {} == holds(repo)


def test_how_long_new_objects_are_held_is_a_setting(tmp_path: Path) -> None:
    repo = server(tmp_path)
    commit_with_a_writer(repo)
    git(repo, "config", "gpa.keepNew", "now")
    gpa(repo, "run")
    assert {} == holds(repo)


def test_pages_of_new_objects_are_merged_and_the_page_is_held_as_new(tmp_path: Path) -> None:
    """I14: holds do not keep our own merging away."""
    repo = server(tmp_path)
    for number in range(3):
        with PageStore.for_repository(repo) as store, store.writer() as writer:
            writer.add("blob", b"number %d\n" % number)
    before = set(holds(repo))
    assert 3 == len(before)
    answer = gpa_json(repo, "repack")
    assert before <= set(answer["merged"])
    gpa(repo, "expire", "--grace=now")
    assert ["git-gpa new"] == list(holds(repo).values())
    assert before.isdisjoint(holds(repo))


@pytest.mark.parametrize("text", ["", "receive-pack 1 on host\n", "a reason of mine\n", "git-gpa\n", "git-gpa newer\n"])
def test_a_keep_of_somebody_else_protects_a_pack(history: HistoryFactory, text: str) -> None:
    """I8"""
    made = history(SMALL)
    kept = made.packs[1]
    (pack_dir(made.server) / f"{kept}.keep").write_text(text)
    gpa(made.server, "repack")
    gpa(made.server, "expire", "--grace=now")
    assert (pack_dir(made.server) / f"{kept}.pack").exists()
    assert text == (pack_dir(made.server) / f"{kept}.keep").read_text()


@pytest.mark.parametrize("suffix", [".mtimes", ".promisor", ".keep", ""])
@pytest.mark.parametrize("writer", ["writer", "add-loose"])
def test_a_pack_of_the_same_bytes_is_no_page(tmp_path: Path, writer: str, suffix: str) -> None:
    """I7, I9, I14: what is written anew is in a page of its own, whatever is beside the pack that is there."""
    repo = server(tmp_path)
    WRITERS[writer](tmp_path_copy := _copy(repo))
    (keep,) = pack_dir(tmp_path_copy).glob("*.keep")
    there = keep.stem
    for name in (f"{there}.pack", f"{there}.idx"):
        shutil.copy(pack_dir(tmp_path_copy) / name, pack_dir(repo) / name)
    if suffix:
        (pack_dir(repo) / f"{there}{suffix}").write_bytes(b"")
    commit = _again(writer, repo)
    pages = {name for name, text in holds(repo).items() if text == "git-gpa new"} - {there}
    assert 1 == len(pages)
    for path in pack_dir(repo).glob(f"{there}.*"):
        path.unlink()
    git(repo, "update-ref", "refs/heads/main", commit)
    fsck(repo)


def _copy(repo: Path) -> Path:
    copy = repo.with_name("copy")
    shutil.copytree(repo, copy)
    return copy


def _again(writer: str, repo: Path) -> str:
    """As the writer does it while it does not know yet that the pack is there."""
    if writer == "add-loose":
        hidden = {path: path.rename(path.with_name(f"x{path.name}")) for path in pack_dir(repo).glob("*.idx")}
        commit = _commit_loose(repo)
        for path, away in hidden.items():
            away.rename(path)
        gpa(repo, "add-loose")
        return commit
    moved = [path.rename(path.with_suffix(".away")) for path in pack_dir(repo).glob("*.idx")]
    with PageStore.for_repository(repo) as store, store.writer() as opened:
        blob = opened.add("blob", b"written by a writer\n")
        tree = opened.add("tree", b"100644 file\0" + blob)
        with opened.batch():
            commit = opened.add("commit", COMMIT % tree.hex().encode())
            for path in moved:
                path.rename(path.with_suffix(".idx"))
        return commit.hex()


def test_what_a_cruft_pack_has_is_no_proof(tmp_path: Path) -> None:
    """I7, I9: git prunes what is in a cruft pack by its old time."""
    repo = server(tmp_path)
    for number in range(2):
        git(repo, "hash-object", "-w", "--stdin", input=f"both have it {number}\n")
    git(repo, "repack", "-q", "-a", "-d", "-k")
    both = all_objects(repo)
    names = "\n".join(both) + "\n"
    subprocess.run(
        ["git", "-C", repo, "pack-objects", "-q", "--window=0", f"{pack_dir(repo)}/pack"],
        input="\n".join(list(both)[:3]).encode(),
        check=True,
        capture_output=True,
    )
    (large, small) = sorted(pack_dir(repo).glob("*.pack"), key=lambda path: -path.stat().st_size)
    gpa(repo, "write")
    large.with_suffix(".mtimes").write_bytes(b"")
    gpa_any(repo, "run")
    gpa(repo, "expire", "--grace=now")
    for suffix in (".idx", ".pack", ".mtimes"):
        large.with_suffix(suffix).unlink()
    (pack_dir(repo) / "multi-pack-index").unlink(missing_ok=True)
    assert set(list(both)[:3]) <= set(all_objects(repo)), names
    assert small.exists()


@contextmanager
def git_at_work(repo: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A git command that may delete packs, and waits for its input as long as the block lasts."""
    words = ["git", *options, "multi-pack-index", "write", "--stdin-packs"]
    process = subprocess.Popen(words, cwd=repo, stdin=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{process.pid}/comm").read_text().strip() != "git" and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield process
    finally:
        assert process.stdin
        process.stdin.close()
        process.wait()


@pytest.mark.parametrize("options", [[], ["-c", "pack.threads=1", "-C", "."], ["--git-dir=."], ["--no-pager"]])
def test_expire_deletes_nothing_beside_a_git_process_that_deletes_packs(
    history: HistoryFactory, options: list[str]
) -> None:
    """I5, I7: it takes no lock, has listed the packs, and takes those to stay that we would delete."""
    made = history(SMALL)
    gpa(made.server, "repack")
    objects = all_objects(made.server)
    with git_at_work(made.server, *options) as process:
        answer = gpa_json(made.server, "expire", "--grace=now")
        assert [] == answer["deleted"]
        assert f"'git multi-pack-index' (process {process.pid})" in answer["reason"]
    gpa(made.server, "expire", "--grace=now")
    assert 1 == len(list(pack_dir(made.server).glob("*.pack")))
    assert objects == all_objects(made.server)
    fsck(made.server)


@pytest.mark.parametrize("named", [False, True])
def test_a_git_process_in_another_repository_keeps_nobody_waiting(
    history: HistoryFactory, tmp_path: Path, named: bool
) -> None:
    made = history(SMALL)
    gpa(made.server, "repack")
    other = server(tmp_path)
    with git_at_work(other, *([f"--git-dir={other}"] if named else [])):
        assert len(made.packs) == len(gpa_json(made.server, "expire", "--grace=now")["deleted"])


def test_a_run_waits_for_a_git_process_and_drops_what_it_has_deleted_from_the_index(history: HistoryFactory) -> None:
    """I5. Pushes may be refused meanwhile, so that no hook starts another run."""
    made = history(SMALL)
    objects = all_objects(made.server)
    git(made.server, "config", "gpa.autoUnindexed", "1")
    with git_at_work(made.server):
        run = subprocess.Popen(["git", "gpa", "run", "-q"], cwd=made.server)
        index = pack_dir(made.server) / "multi-pack-index"
        deadline = time.monotonic() + 60
        while not index.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        # what `git repack -a -d` does that loaded an older index, or none
        before = set(pack_dir(made.server).glob("*.pack"))
        copy = pack_dir(made.server) / "pack-new"
        names = "\n".join(objects) + "\n"
        name = git(made.server, "pack-objects", "-q", copy, input=names).stdout.strip()
        for path in before:
            if name not in path.name and not path.with_suffix(".keep").exists():
                path.with_suffix(".idx").unlink()
                path.unlink()
        assert run.poll() is None
    assert 0 == run.wait(60)
    assert not index.exists(), "it named nothing but what is gone"
    assert objects == all_objects(made.server)
    fsck(made.server)


def test_a_run_looks_again_as_soon_as_the_git_process_has_ended(
    history: HistoryFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5. Not at its end, which may be far: git's own `multi-pack-index write` fails until then."""
    made = history(SMALL)
    git(made.server, "config", "gpa.autoUnindexed", "1")
    git(made.server, "config", "gpa.autoRefs", "1")
    ended = fs.Deleter(pid=2, began=1, command="repack")
    seen: list[str] = []

    def beside(_: object) -> list[fs.Deleter]:
        return [ended] if not seen else []

    def settle(*_: object, **__: object) -> str:
        seen.append("settled")
        return ""

    monkeypatch.setattr(fs, "deleters", beside)
    monkeypatch.setattr(maintenance, "settle", settle)
    monkeypatch.setattr(maintenance, "run_git", lambda *_, **__: seen.append("refs") or "")
    maintain(str(made.server))
    assert ["settled", "refs"] == seen[:2]


def test_uninstall_tells_of_pages_that_are_held(tmp_path: Path) -> None:
    repo = server(tmp_path)
    gpa(repo, "install")
    commit_with_a_writer(repo)
    said = gpa(repo, "uninstall").stdout
    assert "1 page of ours still has a .keep" in said
    assert "git gpa expire" in said


@pytest.mark.parametrize(
    ("text", "goes"), [("git-gpa new\n", True), ("git-gpa merged\npack-a\n", True), ("x\n", False)]
)
def test_the_hold_of_a_page_that_never_came_goes_when_it_is_old(tmp_path: Path, text: str, goes: bool) -> None:
    """A writer was killed between the .keep and the .pack; a pack of that name would be held without a reason."""
    repo = server(tmp_path)
    keep = pack_dir(repo) / f"pack-{7:040}.keep"
    keep.write_text(text)
    gpa(repo, "run")
    assert keep.exists()
    old = time.time() - 15 * 86400
    os.utime(keep, (old, old))
    gpa(repo, "run")
    assert goes != keep.exists()


def test_expire_says_that_it_ended_a_hold_without_an_index(tmp_path: Path) -> None:
    repo = server(tmp_path)
    commit_with_a_writer(repo)
    git(repo, "config", "gpa.keepNew", "now")
    assert holds(repo) and not (pack_dir(repo) / "multi-pack-index").exists()
    assert "ended the hold of 1 page; nothing to delete: " in gpa(repo, "expire").stdout
    assert {} == holds(repo)
    assert "nothing to do: " in gpa(repo, "expire").stdout
