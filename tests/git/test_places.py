"""Repositories in places where git works and programs around it often do not: odd paths, bare ones, quarantines."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from histories import History, HistorySpec
from oracle import git, git_line

import gpa_maint
from gpa_maint import commands
from gpa_maint.errors import GitFailed, Quarantined

HistoryFactory = Callable[[HistorySpec], History]

SPEC = HistorySpec(pushes=3)


@pytest.fixture
def server(history: HistoryFactory) -> Path:
    return history(SPEC).server


# ---- a path may have any byte ----

ODD_NAMES = ("r\nx", "\n", "r\n\n", "a\tb c", "\udcff\udc9b", 'quo"te', "back\\slash", "co:lon", "-C")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_path_may_have_any_byte(server: Path, tmp_path: Path, name: str) -> None:
    repo = tmp_path / name
    server.rename(repo)
    assert gpa_maint.write(os.fspath(repo)).written
    gpa_maint.install(os.fspath(repo))
    head = git_line(
        repo, "rev-parse", "--verify", next(iter(git(repo, "for-each-ref", "--format=%(refname)").stdout.split()))
    )
    with gpa_maint.PageStore.for_repository(repo).writer() as writer:
        oid = writer.add("blob", b"new")
    assert "blob" == git_line(repo, "cat-file", "-t", oid.hex())
    environment = {**os.environ, "GIT_DIR": os.fspath(repo)}
    for verb in ("run", "repack", "status", "verify"):
        subprocess.run(["git", "gpa", verb], env=environment, check=True, capture_output=True, cwd=tmp_path)
    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "--quiet", "--detach", linked, head)
    for verb in ("run", "repack", "status", "verify"):
        git(linked, "gpa", verb)
    assert (repo / "gpa" / "log").exists()


@pytest.mark.parametrize("name", ["r\nx", "r\n"])
def test_a_hook_in_a_linked_work_tree_finds_a_repository_of_any_name(server: Path, tmp_path: Path, name: str) -> None:
    repo = tmp_path / name
    server.rename(repo)
    gpa_maint.install(os.fspath(repo))
    ref = git(repo, "for-each-ref", "--format=%(refname)").stdout.split()[0]
    git(repo, "worktree", "add", "--quiet", "--detach", tmp_path / "linked", ref)
    git(tmp_path / "linked", "commit", "--quiet", "--allow-empty", "-m", "starts a run")
    log = repo / "gpa" / "last-run.json"
    for _ in range(200):
        if log.exists():
            break
        subprocess.run(["sleep", "0.05"], check=True)
    assert log.exists()


# ---- safe.bareRepository ----


@pytest.fixture
def explicit_home(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As git 3.0 has it by default; set when the server is there."""
    assert server.exists()
    config = tmp_path / "gitconfig"
    config.write_text("[safe]\n\tbareRepository = explicit\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.fspath(config))


NAMED: dict[str, Callable[[str], object]] = {
    "maintain": gpa_maint.maintain,
    "write": gpa_maint.write,
    "repack": gpa_maint.repack,
    "expire": gpa_maint.expire,
    "verify": gpa_maint.verify,
    "repair": gpa_maint.repair,
    "status": gpa_maint.status,
    "survey": gpa_maint.survey,
    "install": gpa_maint.install,
    "uninstall": gpa_maint.uninstall,
    "for_repository": gpa_maint.PageStore.for_repository,
    "open": lambda path: gpa_maint.PageStore.open(f"{path}/objects"),
    "writer": lambda path: gpa_maint.PageStore.open(f"{path}/objects").writer().close(),
}


@pytest.mark.usefixtures("explicit_home")
@pytest.mark.parametrize("call", NAMED)
def test_a_bare_repository_that_is_named_is_taken(server: Path, call: str) -> None:
    git(server, "--git-dir=.", "config", "core.sharedRepository", "0660")
    NAMED[call](os.fspath(server))
    for path in server.glob("gpa/journal"):
        assert 0o2770 == path.stat().st_mode & 0o7777


@pytest.mark.usefixtures("explicit_home")
def test_a_bare_repository_that_is_come_across_is_refused(server: Path) -> None:
    done = git(server, "gpa", "run", check=False)
    assert 128 == done.returncode and "cannot use bare repository" in done.stderr
    with pytest.raises(GitFailed, match="cannot use bare repository"):
        gpa_maint.maintain(os.fspath(server / "refs"))


@pytest.mark.usefixtures("explicit_home")
def test_many_repositories_and_what_timers_start_are_named(server: Path) -> None:
    done = git(server.parent, "gpa", "run", "--all=.")
    assert "1 maintained, 0 failed" in done.stdout
    line = commands.schedule(os.fspath(server), system="cron").files[0].content.splitlines()[-1]
    subprocess.run(["sh", "-c", line.split(" ", 5)[5].replace("\\%", "%")], check=True)
    service = commands.schedule(os.fspath(server)).files[0].content
    assert "Environment=GIT_DIR=.\n" in service


@pytest.mark.skipif(os.getuid() != 0, reason="needs a repository of another user")
@pytest.mark.usefixtures("explicit_home")
def test_a_named_repository_of_another_user_is_refused_as_git_words_it(server: Path) -> None:
    for path in (server, *server.rglob("*")):
        os.chown(path, 65534, 65534)
    with pytest.raises(GitFailed, match="fatal: detected dubious ownership in repository at"):
        gpa_maint.maintain(os.fspath(server))


# ---- alternates ----


def chain_of(folder: Path, length: int) -> tuple[list[Path], list[str]]:
    """Repositories of which each has the next one as alternate, and an object of each."""
    repos, oids = [], []
    for number in range(length):
        repo = folder / f"r{number}"
        git(folder, "init", "--quiet", "--bare", repo)
        oids.append(git(repo, "hash-object", "-w", "--stdin", input=f"blob {number}").stdout.strip())
        repos.append(repo)
    for repo, following in pairwise(repos):
        (repo / "objects/info/alternates").write_text(f"{following}/objects\n")
    return repos, oids


def test_a_chain_of_alternates_is_followed_as_far_as_git_follows_it(tmp_path: Path) -> None:
    repos, oids = chain_of(tmp_path, 9)
    names = "\n".join(oids) + "\n"
    there = git(repos[0], "cat-file", "--batch-check", input=names, check=False).stdout
    assert 7 == there.count(" blob ")
    assert there == git(repos[0], "gpa", "cat-file", "--batch-check", input=names).stdout
    store = gpa_maint.PageStore.for_repository(repos[0])
    assert [True] * 7 + [False] * 2 == [oid in store for oid in oids]
    assert gpa_maint.survey(os.fspath(repos[0]), object_dir=os.fspath(repos[6] / "objects"))
    with pytest.raises(gpa_maint.GpaError, match="could not find object directory matching"):
        gpa_maint.survey(os.fspath(repos[0]), object_dir=os.fspath(repos[7] / "objects"))


def test_alternates_of_the_environment_are_followed_as_git_follows_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repos, oids = chain_of(tmp_path, 9)
    git(tmp_path, "init", "--quiet", "--bare", "alone:x")
    names = "\n".join(oids) + "\n"
    odd = tmp_path / "o:d"
    repos[8].rename(odd)
    variable = f'"{odd}/objects":{repos[1]}/objects'
    monkeypatch.setenv("GIT_ALTERNATE_OBJECT_DIRECTORIES", variable)
    there = git(tmp_path / "alone:x", "cat-file", "--batch-check", input=names, check=False).stdout
    assert 7 == there.count(" blob ")
    assert there == git(tmp_path / "alone:x", "gpa", "cat-file", "--batch-check", input=names).stdout


# ---- git's quarantine ----

QUIET_VERBS = (
    "write",
    "repack",
    "expire --grace=now",
    "run",
    "run --auto",
    "run --all=.",
    "add-loose",
    "repair",
    "install",
    "uninstall",
    "status",
    "explain",
    "verify",
    "write --json",
)


def push_with(server: Path, work: Path, hook: str) -> subprocess.CompletedProcess[str]:
    """Push a commit through a pre-receive hook of this text."""
    path = server / "hooks/pre-receive"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{hook}\n")
    path.chmod(0o755)
    git(work, "commit", "--quiet", "--allow-empty", "-m", hook)
    return git(work, "push", "--quiet", server, "HEAD:refs/heads/pushed", check=False)


@pytest.fixture
def work(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "work")
    return tmp_path / "work"


def test_inside_a_quarantine_no_verb_writes(server: Path, work: Path) -> None:
    git(server, "config", "receive.unpackLimit", "1")
    for verb in QUIET_VERBS:
        done = push_with(server, work, f"git gpa {verb}")
        assert 0 == done.returncode, (verb, done.stderr)
        assert not (server / "gpa").exists(), verb
        assert not (server / "objects/gpa").exists(), verb
        assert not (server / "hooks/post-receive").exists(), verb
        if not verb.startswith(("status", "explain", "verify", "run --all", "uninstall")):
            assert "nothing to do: the objects of a push are in git's quarantine" in done.stderr, verb


def test_inside_a_quarantine_what_would_be_stored_is_refused(server: Path, work: Path) -> None:
    done = push_with(server, work, "git cat-file --batch-all-objects --batch | git gpa import-objects")
    assert 0 != done.returncode and "the objects of a push are in git's quarantine" in done.stderr
    writer = "import gpa_maint; gpa_maint.PageStore.for_repository().writer()"
    done = push_with(server, work, f'exec "{sys.executable}" -c "{writer}"')
    assert 0 != done.returncode and "Quarantined" in done.stderr
    named = f"gpa_maint.maintain('{server}')"
    done = push_with(server, work, f'exec "{sys.executable}" -c "import gpa_maint; {named}"')
    assert 0 != done.returncode and Quarantined.__name__ in done.stderr
    assert not (server / "gpa").exists() and not (server / "objects/gpa").exists()


def test_inside_a_quarantine_all_objects_are_read(server: Path, work: Path) -> None:
    old = git(server, "rev-list", "--all", "--max-count=1").stdout.strip()
    hook = f'read a new b; printf "%s\\n{old}\\n" $new | git gpa cat-file --batch-check'
    done = push_with(server, work, hook)
    assert 0 == done.returncode and 2 == done.stderr.count(" commit "), done.stderr
