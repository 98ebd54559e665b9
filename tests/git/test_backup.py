"""git gpa backup: the copy is whole at each moment, and git verify the refs of both."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from histories import alternates_repo, init_server, worktree_repo
from oracle import ObjectFormat, all_objects, fsck, git, git_line, objects_dir, pack_dir, packs, verify_midx
from packwriter import Whole, add_pack
from running import gpa, gpa_any
from writing import add_commit, forked

import gpa_maint
from gpa_maint import PageStore, fs
from gpa_maint.errors import Corrupt, GpaError, Locked
from gpa_maint.verbs import backup as backups


class Site:
    """A repository that takes commits, and the place of its backup."""

    def __init__(self, folder: Path, object_format: ObjectFormat = "sha1") -> None:
        self.repo = init_server(folder / "repo", object_format=object_format)
        self.copy = folder / "copy"
        self._count = 0

    def commit(self, ref: str = "refs/heads/main") -> str:
        """A pack with a commit, on the branch."""
        self._count += 1
        old = git(self.repo, "rev-parse", "--verify", "-q", ref, check=False).stdout.strip()
        with PageStore.for_repository(self.repo) as store, store.writer() as writer:
            parents = [bytes.fromhex(old)] if old else []
            oid = add_commit(writer, b"%d" % self._count, *parents, message=str(self._count)).hex()
        git(self.repo, "update-ref", ref, oid)
        return oid

    def backup(self) -> backups.BackupResult:
        """Back up, and see to it that the copy is whole and has what the repository has."""
        result = gpa_maint.backup(str(self.copy), str(self.repo))
        assert_whole(self.copy)
        assert refs_of(self.repo) == refs_of(self.copy)
        return result


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def refs_of(repo: Path) -> dict[str, tuple[str, str]]:
    """Each ref, and HEAD: what it names, and which ref it means."""
    lines = git(repo, "for-each-ref", "--format=%(refname) %(objectname) %(symref)").stdout.splitlines()
    found = {name: (oid, target) for name, oid, target in (line.split(" ") for line in lines)}
    head = git(repo, "symbolic-ref", "-q", "HEAD", check=False).stdout.strip()
    return found | {"HEAD": (git(repo, "rev-parse", "-q", "--verify", "HEAD", check=False).stdout.strip(), head)}


def assert_whole(copy: Path) -> None:
    fsck(copy)
    git(copy, "rev-list", "--objects", "--all", "--quiet")
    if (pack_dir(copy) / "multi-pack-index").exists():
        verify_midx(copy)


def test_a_copy_is_a_bare_repository_with_all_objects_and_refs(tmp_path: Path, object_format: ObjectFormat) -> None:
    site = Site(tmp_path, object_format)
    first = site.commit()
    site.commit("refs/heads/topic/one")
    git(site.repo, "tag", "-a", "-m", "first", "v1", first)
    git(site.repo, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    result = site.backup()
    assert all_objects(site.repo) == all_objects(site.copy)
    assert (2, 1, 5, 4) == (len(result.packs), result.loose_objects, result.refs, result.changed_refs)
    assert 1 == result.attempts
    assert "true" == git_line(site.copy, "rev-parse", "--is-bare-repository")
    assert not (site.repo / "gpa" / "lock").exists()
    git(tmp_path, "clone", "-q", site.copy, "clone")
    assert "the copy has everything already" == site.backup().reason


def test_only_what_is_new_is_copied_and_merged_pages_replace_their_sources(site: Site) -> None:
    for _ in range(3):
        site.commit()
    assert 3 == len(site.backup().packs)
    site.commit()
    assert 1 == len(site.backup().packs)
    before = packs(site.copy).keys()
    gpa(site.repo, "repack")
    result = site.backup()
    assert (1, before) == (len(result.packs), set(result.deleted))
    assert packs(site.copy).keys() == set(result.packs)
    gpa(site.repo, "expire", "--grace=now")
    assert "the copy has everything already" == site.backup().reason


def test_superseded_packs_of_the_copy_wait_for_their_grace(site: Site) -> None:
    for _ in range(2):
        site.commit()
    site.backup()
    gpa(site.repo, "repack")
    assert () == gpa_maint.backup(str(site.copy), str(site.repo), grace_seconds=3600).deleted
    assert 3 == len(packs(site.copy))


def test_nothing_goes_from_the_copy_that_is_nowhere_else_in_it(site: Site) -> None:
    site.commit("refs/heads/gone")
    site.commit()
    site.backup()
    gone = git_line(site.repo, "rev-parse", "refs/heads/gone")
    git(site.repo, "update-ref", "-d", "refs/heads/gone")
    for path in pack_dir(site.repo).glob("*.keep"):
        path.unlink()
    git(site.repo, "repack", "-q", "-a", "-d")
    result = site.backup()
    assert (1, 0) == (result.removed_refs, git(site.copy, "cat-file", "-e", gone).returncode)


def test_refs_of_all_kinds_follow(site: Site) -> None:
    one, two = site.commit(), site.commit("refs/heads/a")
    git(site.repo, "symbolic-ref", "refs/heads/sym", "refs/heads/main")
    git(site.repo, "update-ref", "refs/notes/x", one)
    site.backup()
    git(site.repo, "update-ref", "-d", "refs/heads/a")
    git(site.repo, "update-ref", "refs/heads/a/b", two)
    git(site.repo, "symbolic-ref", "-d", "refs/heads/sym")
    git(site.repo, "update-ref", "refs/heads/sym", two)
    git(site.repo, "update-ref", "--no-deref", "HEAD", one)
    git(site.repo, "symbolic-ref", "refs/notes/x", "refs/heads/main")
    site.backup()
    git(site.repo, "symbolic-ref", "HEAD", "refs/heads/unborn")
    git(site.repo, "update-ref", "-d", "refs/heads/a/b")
    git(site.repo, "update-ref", "refs/heads/a", one)
    site.backup()
    git(site.repo, "pack-refs", "--all")
    assert "the copy has everything already" == site.backup().reason


def test_an_empty_repository_has_a_backup(site: Site) -> None:
    assert (0, 0) == (len(site.backup().packs), site.backup().refs)


def test_a_worktree_s_repository_and_its_own_branch(tmp_path: Path) -> None:
    main, linked = worktree_repo(tmp_path / "history")
    gpa_maint.backup(str(tmp_path / "copy"), str(linked))
    assert_whole(tmp_path / "copy")
    assert refs_of(main) == refs_of(tmp_path / "copy")


def test_objects_of_alternates_are_copied(tmp_path: Path) -> None:
    repo, _other = alternates_repo(tmp_path / "history")
    gpa_maint.backup(str(tmp_path / "copy"), str(repo))
    shutil.rmtree(tmp_path / "history")
    assert_whole(tmp_path / "copy")


def test_a_shallow_clone_s_backup_is_shallow(site: Site, tmp_path: Path) -> None:
    for _ in range(4):
        site.commit()
    git(tmp_path, "clone", "-q", "--bare", "--depth=2", f"file://{site.repo}", "shallow")
    shallow = Site.__new__(Site)
    shallow.repo, shallow.copy = tmp_path / "shallow", tmp_path / "copy"
    shallow.backup()
    assert "2" == git_line(shallow.copy, "rev-list", "--count", "HEAD")
    git(shallow.repo, "fetch", "-q", "--unshallow", "origin")
    shallow.backup()
    assert "4" == git_line(shallow.copy, "rev-list", "--count", "HEAD")
    assert not (shallow.copy / "shallow").exists()


def test_a_partial_clone_s_backup_lacks_what_was_promised(site: Site, tmp_path: Path) -> None:
    site.commit()
    git(site.repo, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", f"file://{site.repo}", "partial")
    gpa_maint.backup(str(tmp_path / "copy"), str(tmp_path / "partial"))
    fsck(tmp_path / "copy")
    assert [*pack_dir(tmp_path / "copy").glob("*.promisor")]
    assert () == gpa_maint.verify(str(tmp_path / "copy"), refs=True).findings
    assert "2" == git_line(tmp_path / "copy", "rev-list", "--count", "--objects", "--missing=allow-any", "HEAD")


# -- What is refused


def test_no_other_folder_is_written_to(site: Site, tmp_path: Path) -> None:
    site.commit()
    for folder in ("other", "repo"):
        (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "other" / "file").write_text("mine")
    with pytest.raises(GpaError, match="is no backup of"):
        gpa_maint.backup(str(tmp_path / "other"), str(site.repo))
    assert ["file"] == os.listdir(tmp_path / "other")
    with pytest.raises(GpaError, match="is the repository itself"):
        gpa_maint.backup(str(site.repo), str(site.repo))
    site.backup()
    stranger = init_server(tmp_path / "stranger")
    with pytest.raises(GpaError, match="is a backup of"):
        gpa_maint.backup(str(site.copy), str(stranger))
    done = gpa_any(site.repo, "backup", tmp_path / "other")
    assert 128 == done.returncode
    assert "hint: choose a folder that is empty" in done.stderr


def test_one_backup_at_a_time(site: Site) -> None:
    site.commit()
    site.backup()
    with (site.copy / "gpa" / "lock").open() as file:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(Locked):
            site.backup()


def test_refs_stay_where_something_is_missing(site: Site) -> None:
    site.commit()
    site.backup()
    before = refs_of(site.copy)
    (tmp,) = (path for path in pack_dir(site.repo).glob("*.pack"))
    missing = site.commit()
    for path in pack_dir(site.repo).iterdir():
        if path.stem != tmp.stem:
            path.unlink()
    git(site.repo, "update-ref", "refs/heads/other", before["refs/heads/main"][0])
    with pytest.raises(GpaError, match=rf"ref 'refs/heads/main' is not whole: .*{missing}"):
        gpa_maint.backup(str(site.copy), str(site.repo))
    assert before == refs_of(site.copy)
    assert_whole(site.copy)


def test_a_damaged_pack_is_not_copied(site: Site) -> None:
    site.commit()
    (path,) = pack_dir(site.repo).glob("*.pack")
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    with pytest.raises(Corrupt, match="has not the checksum that it ends with"):
        gpa_maint.backup(str(site.copy), str(site.repo))
    assert {} == packs(site.copy)


def test_a_damaged_loose_object_that_no_ref_needs_is_left_out(site: Site) -> None:
    site.commit()
    oid = git(site.repo, "hash-object", "-w", "--stdin", input="x").stdout.strip()
    path = objects_dir(site.repo) / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(b"garbage")
    done = gpa_any(site.repo, "backup", site.copy)
    assert 1 == done.returncode
    assert f"left out the damaged loose object '{path}'" in done.stderr
    assert_whole(site.copy)


# -- While things go on


def test_a_pack_that_goes_away_meanwhile_is_no_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        site.commit()
    copy_pack = backups._Backup._copy_pack
    calls = []

    def copying(self: backups._Backup, directory: object, name: str) -> int:
        calls.append(name)
        if len(calls) == 2:
            for path in pack_dir(site.repo).glob("*.keep"):
                path.unlink()
            git(site.repo, "repack", "-q", "-a", "-d")
        return copy_pack(self, directory, name)  # type: ignore[arg-type]

    monkeypatch.setattr(backups._Backup, "_copy_pack", copying)
    site.backup()
    assert 3 < len(calls)


def test_a_ref_whose_objects_were_taken_away_meanwhile_is_read_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.commit()
    site.commit()
    copy_loose = backups._Backup._copy_loose
    done = []

    def copying(self: backups._Backup, directory: object) -> None:
        if not done:
            done.append(1)
            git(site.repo, "update-ref", "refs/heads/main", first)
            for path in pack_dir(site.repo).glob("*.keep"):
                path.unlink()
            git(site.repo, "repack", "-q", "-a", "-d")
        copy_loose(self, directory)  # type: ignore[arg-type]

    monkeypatch.setattr(backups._Backup, "_copy_loose", copying)
    assert 2 == site.backup().attempts


def test_backups_in_a_loop_while_pushes_and_maintenance_go_on(site: Site, tmp_path: Path) -> None:
    site.commit()
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", site.repo, work)
    stop = threading.Event()

    def pushing() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (work / f"file-{number % 7}").write_text(str(number))
            git(work, "add", ".")
            git(work, "commit", "-q", "-m", str(number))
            git(work, "push", "-q", "origin", f"HEAD:refs/heads/topic-{number % 5}", "HEAD:main", check=False)

    def maintaining() -> None:
        while not stop.is_set():
            gpa_any(site.repo, "repack")
            gpa_any(site.repo, "expire", "--grace=now")
            git(site.repo, "repack", "-q", "-a", "-d", check=False)
            git(site.repo, "gc", "-q", check=False)

    threads = [threading.Thread(target=pushing), threading.Thread(target=maintaining)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            assert 0 == gpa_any(site.repo, "backup", site.copy).returncode
            assert_whole(site.copy)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    site.backup()


# -- Killed


def changed(site: Site) -> None:
    """A backup has all there is to do: packs, loose objects, refs, packs to delete."""
    site.commit()
    site.commit("refs/heads/a")
    site.backup()
    site.commit()
    gpa(site.repo, "repack")
    git(site.repo, "update-ref", "-d", "refs/heads/a")
    git(site.repo, "update-ref", "refs/heads/a/b", git_line(site.repo, "rev-parse", "main"))
    git(site.repo, "tag", "-a", "-m", "loose", "v1", "main")


def killed_before(number: int, site: Site) -> bool:
    """A backup that is killed before that step. False when it has fewer."""

    def work() -> None:
        left = iter(range(number - 1, -1, -1))

        def before_step(operation: str, path: str) -> None:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        fs.door.before_step = before_step
        gpa_maint.backup(str(site.copy), str(site.repo))

    status = os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


@pytest.mark.parametrize(
    "left",
    [
        ("config.lock",),
        ("HEAD", "config.lock"),
        ("HEAD", "config", "config.lock"),
        ("HEAD", "config", "refs/heads/main.lock"),
        ("HEAD", "config", "refs/heads/deep/er.lock", "packed-refs.lock", "HEAD.lock"),
    ],
)
def test_locks_of_a_killed_git_keep_no_backup_away(site: Site, tmp_path: Path, left: tuple[str, ...]) -> None:
    """What `git init`, `git config` and `git update-ref` leave in the copy when they are killed."""
    site.commit()
    site.backup()
    whole = Path(site.copy.rename(tmp_path / "whole"))
    shutil.copytree(whole / "gpa", site.copy / "gpa")
    for name in left:
        path = site.copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if name.endswith(".lock") else (whole / name).read_bytes())
    site.backup()
    assert [] == list(site.copy.rglob("*.lock"))


@pytest.mark.parametrize("first", [True, False])
def test_killed_before_any_step_the_copy_is_whole_and_the_next_one_finishes(tmp_path: Path, first: bool) -> None:
    site = Site(tmp_path)
    changed(site)
    kept = tmp_path / "kept"
    if first:
        shutil.rmtree(site.copy)
    else:
        site.copy.rename(kept)
    number = 1
    while True:
        if not first:
            shutil.copytree(kept, site.copy, symlinks=True)
        before = refs_of(site.copy) if not first else {}
        if not killed_before(number, site):
            break
        if (site.copy / "HEAD").exists():
            assert_whole(site.copy)
            assert before.keys() - {"refs/heads/a"} <= refs_of(site.copy).keys()
        gpa_maint.backup(str(site.copy), str(site.repo))
        assert refs_of(site.repo) == refs_of(site.copy)
        assert_whole(site.copy)
        assert [] == [*(site.copy / "gpa" / "tmp").iterdir()]
        shutil.rmtree(site.copy)
        number += 1 if number < 12 else 3
    assert 30 < number


# -- The command


def test_the_command_says_what_it_does(site: Site) -> None:
    site.commit()
    said = gpa(site.repo, "backup", "-n", site.copy).stdout
    assert said.startswith("would copy 1 pack, ")
    assert f"copy   {next(iter(packs(site.repo)))}" in said
    assert not site.copy.exists()
    plan = json.loads(gpa(site.repo, "backup", "--dry-run", "--json", site.copy).stdout)
    assert ("BackupPlan", 2) == (plan["kind"], plan["refs"])
    assert gpa(site.repo, "backup", site.copy).stdout.startswith("copied 1 pack and 0 loose objects, ")
    assert "nothing to do: the copy has everything already\n" == gpa(site.repo, "backup", site.copy).stdout
    assert "nothing to do: the copy has everything already\n" == gpa(site.repo, "backup", "-n", site.copy).stdout
    assert "" == gpa(site.repo, "backup", "-q", site.copy).stdout
    result = json.loads(gpa(site.repo, "backup", "--json", site.copy).stdout)
    assert ("BackupResult", 2) == (result["kind"], result["refs"])
    assert 129 == gpa_any(site.repo, "backup").returncode
    done = subprocess.run(["git", "gpa", "backup", "--progress", site.copy], cwd=site.repo, capture_output=True)
    assert 0 == done.returncode


# -- verify --refs


@pytest.fixture
def whole(site: Site) -> Iterator[Site]:
    for ref in ("refs/heads/main", "refs/heads/a", "refs/heads/b"):
        site.commit(ref)
    assert "verified 4 refs: all is well\n" == gpa(site.repo, "verify", "--refs").stdout
    yield site


def lose(repo: Path, name: str) -> None:
    """The pack in which that object is, and the index."""
    oid = git_line(repo, "rev-parse", name)
    for idx in pack_dir(repo).glob("*.idx"):
        if oid in _ids(repo, idx):
            for path in pack_dir(repo).glob(f"{idx.stem}.*"):
                path.unlink()


def _ids(repo: Path, idx: Path) -> str:
    with idx.open("rb") as file:
        return subprocess.run(["git", "show-index"], cwd=repo, stdin=file, capture_output=True, text=True).stdout


def test_a_ref_that_is_not_whole_is_named(whole: Site) -> None:
    lose(whole.repo, "a")
    lose(whole.repo, "main^{tree}")
    done = gpa_any(whole.repo, "verify", "--refs")
    assert 1 == done.returncode
    assert "ref 'refs/heads/a' is not whole: " in done.stderr
    assert "ref 'refs/heads/main' is not whole: " in done.stderr
    assert "refs/heads/b" not in done.stderr


def test_a_ref_that_cannot_be_read_is_named(whole: Site) -> None:
    (whole.repo / "refs" / "heads" / "bad").write_text("garbage\n")
    done = gpa_any(whole.repo, "verify", "--refs")
    assert (1, "ref 'refs/heads/bad' cannot be read\n") == (done.returncode, done.stderr)
    with pytest.raises(GpaError, match="ref 'refs/heads/bad' cannot be read"):
        gpa_maint.backup(str(whole.copy), str(whole.repo))


def test_what_a_worktree_s_head_and_a_reflog_name_is_looked_at(tmp_path: Path) -> None:
    main, linked = worktree_repo(tmp_path)
    git(linked, "checkout", "-q", "--detach")
    git(linked, "commit", "-q", "--allow-empty", "-m", "of the worktree alone")
    assert () == gpa_maint.verify(str(main), refs=True).findings
    oid = git_line(linked, "rev-parse", "HEAD")
    (objects_dir(main) / oid[:2] / oid[2:]).unlink()
    findings = gpa_maint.verify(str(main), refs=True).findings
    assert [f"ref 'HEAD of '{linked}''"] == [finding.partition(" is not whole")[0] for finding in findings]


def test_refs_are_those_of_a_repository(whole: Site) -> None:
    done = gpa_any(whole.repo, "--object-dir=objects", "verify", "--refs")
    assert 128 == done.returncode
    assert "refs are checked in a repository" in done.stderr


def test_at_most_some_are_named(whole: Site) -> None:
    add_pack(whole.repo, [Whole(kind="blob", content=b"x")])
    oid = git_line(whole.repo, "rev-parse", "a")
    tree = git_line(whole.repo, "rev-parse", "a^{tree}")
    for number in range(40):
        text = git(whole.repo, "commit-tree", "-p", oid, "-m", str(number), tree).stdout.strip()
        git(whole.repo, "update-ref", f"refs/heads/many-{number}", text)
    lose(whole.repo, "a")
    assert 20 == len(gpa_maint.verify(str(whole.repo), refs=True).findings)
