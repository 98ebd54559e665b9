"""Who owns the files that we make, and who may read and write them: as core.sharedRepository has it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from histories import History, HistorySpec
from oracle import git

from gpa_maint import PageStore

HistoryFactory = Callable[[HistorySpec], History]

SPEC = HistorySpec(pushes=4)

VERBS = (
    "write --bitmap",
    "install --hook=file",
    "add-loose",
    "repair",
    "repack",
    "expire --grace=now",
    "run",
    "install --hook=file",
    "write",
)


@pytest.fixture
def server(history: HistoryFactory) -> Path:
    repo = history(SPEC).server
    for path in (repo, *repo.rglob("*")):
        path.chmod(0o2775 if path.is_dir() else 0o664)
    for number in range(3):
        git(repo, "hash-object", "-w", "--stdin", input=f"loose {number}")
    return repo


def work_in(repo: Path, umask: int) -> None:
    """Do all that makes files, also the setting aside of what is damaged, with this umask."""
    before = os.umask(umask)
    try:
        for verb in VERBS:
            done = git(repo, "gpa", *verb.split(), check=False)
            assert done.returncode in (0, 1), (verb, done.stderr)
            if verb == "add-loose":
                damage(max(repo.glob("objects/pack/*.pack"), key=lambda path: path.stat().st_size), 100)
                damage(min(repo.glob("objects/pack/*.idx"), key=lambda path: path.stat().st_size), 1100)
        for number in range(2):
            git(repo, "hash-object", "-w", "--stdin", input=f"more {number}")
            git(repo, "gpa", "run")
    finally:
        os.umask(before)


def damage(path: Path, at: int) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    path.chmod(mode)


def made_in(repo: Path, before: set[Path]) -> Iterator[Path]:
    """What is new, but for what git made itself, and what was only moved."""
    for path in repo.rglob("*"):
        of_git = path.parent.name in ("info", "damaged") or (
            path.parent.parent.name == "objects" and len(path.parent.name) == 2
        )
        if path not in before and not path.is_symlink() and not of_git and len(path.name) != 2:
            yield path


def expected_mode(path: Path, shared: str, umask: int) -> int:
    """As git makes a file or folder that its owner may read, write or run to this extent."""
    mode = path.stat().st_mode
    wanted = {"umask": 0, "group": 0o660, "all": 0o664, "0640": 0o640}[shared]
    if path.is_dir():
        bits = 0o700 | (wanted & 0o666) | (wanted & 0o444) >> 2
        return 0o777 & ~umask if shared == "umask" else bits | (0 if shared[0] == "0" else 0o777 & ~umask)
    base = {0o400: 0o444, 0o500: 0o555, 0o600: 0o666, 0o700: 0o777}[mode & 0o700] & ~umask
    if not mode & 0o200:
        wanted &= 0o444
    if mode & 0o100:
        wanted |= (wanted & 0o444) >> 2
    return wanted if shared[0] == "0" else base | wanted


@pytest.mark.parametrize("umask", [0o077, 0o022])
@pytest.mark.parametrize("shared", ["umask", "group", "all", "0640"])
def test_every_file_has_the_mode_that_git_would_give_it(server: Path, shared: str, umask: int) -> None:
    git(server, "config", "core.sharedRepository", shared)
    before = set(server.rglob("*"))
    work_in(server, umask)
    store = PageStore.for_repository(server)
    old = os.umask(umask)
    try:
        with store.writer() as writer:
            writer.add("blob", b"waits in a journal")
            made = sorted(made_in(server, before))
            like_config = {server / "gpa/install.json", server / "config"}
            wrong = {
                str(path.relative_to(server)): f"{found:o} instead of {wanted:o}"
                for path in made
                if path not in like_config
                and (found := stat.S_IMODE(path.stat().st_mode) & 0o777)
                != (wanted := expected_mode(path, shared, umask))
            }
            names = {str(path.relative_to(server)) for path in made}
    finally:
        os.umask(old)
    assert {} == wrong
    assert {
        "gpa",
        "gpa/tmp",
        "gpa/journal",
        "gpa/log",
        "gpa/history",
        "gpa/lock",
        "gpa/next",
        "gpa/state.json",
    } <= names
    assert {"gpa/totals.json", "gpa/last-run.json", "gpa/install.lock", "hooks/post-receive"} <= names
    assert {"objects/pack/multi-pack-index", "gpa/damaged"} <= names
    if shared != "umask":
        assert all(path.stat().st_mode & stat.S_ISGID for path in made if path.is_dir())
    assert 0o664 == stat.S_IMODE((server / "config").stat().st_mode)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_what_root_makes_belongs_to_the_owner_of_the_repository(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "safe.directory")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "*")
    for path in (server, *server.rglob("*")):
        os.chown(path, 65534, 65533)
    before = set(server.rglob("*"))
    work_in(server, 0o022)
    with monkeypatch.context() as patched:
        (server.parent / "config").write_text("[safe]\n\tdirectory = *\n")
        patched.setenv("GIT_CONFIG_GLOBAL", str(server.parent / "config"))
        with PageStore.for_repository(server).writer() as writer:
            writer.add("blob", b"waits in a journal")
            made = [*made_in(server, before), server / "config"]
            owners = {str(path.relative_to(server)): (path.stat().st_uid, path.stat().st_gid) for path in made}
    assert {} == {name: owner for name, owner in owners.items() if owner != (65534, 65533)}
    assert {(65534, 65533)} == {(path.stat().st_uid, path.stat().st_gid) for path in server.glob("objects/pack/*")}
    as_owner = ["setpriv", "--reuid=65534", "--regid=65533", "--clear-groups", "git", "-C", str(server), "gpa"]
    if subprocess.run([*as_owner, "status"], check=False, capture_output=True).returncode == 0:
        for verb in ("run", "repack", "write", "uninstall"):
            subprocess.run([*as_owner, *verb.split()], check=True, capture_output=True)


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
def test_root_gives_away_no_file_that_was_there(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gitconfig").write_text("[safe]\n\tdirectory = *\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    secret = tmp_path / "secret"
    secret.write_text("root's")
    for path in (server, *server.rglob("*")):
        os.chown(path, 65534, 65534)
    (server / "gpa").mkdir()
    for name in ("log", "history", "lock"):
        os.link(secret, server / "gpa" / name)
    git(server, "gpa", "run")
    assert (0, 0) == (secret.stat().st_uid, secret.stat().st_gid)
