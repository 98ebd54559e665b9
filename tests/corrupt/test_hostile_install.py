"""install and uninstall in a repository that others may write to: records, hooks and settings that are not as we left
them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from histories import init_server
from oracle import git
from running import all_files, gpa_any

from gpa_maint.errors import Corrupt, Refused
from gpa_maint.setup.install import install
from gpa_maint.setup.uninstall import uninstall

PROGRAM = "/no/such/git-gpa"
SECONDS = 20
OTHER_USER = 65534


@pytest.fixture
def server(tmp_path: Path) -> Path:
    repo = init_server(tmp_path / "server.git")
    install(str(repo), program=PROGRAM)
    return repo


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is none of the repository's business."""
    folder = tmp_path / "outside"
    (folder / "empty").mkdir(parents=True)
    (folder / "file").write_text("precious")
    (folder / "link").symlink_to("empty")
    return folder


def change_record(repo: Path, **fields: Any) -> None:
    path = repo / "gpa" / "install.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


# -- What is no record


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


def device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "nothing")


def sparse(path: Path, outside: Path) -> None:
    path.touch()
    os.truncate(path, 20 << 30)


def nested(path: Path, outside: Path) -> None:
    path.write_text("[" * 100_000)


ODDITIES = [fifo, folder, device, link, dangling, sparse, nested]
Put = Callable[[Path, Path], None]


@pytest.mark.parametrize("put", ODDITIES)
def test_what_is_no_record_is_named_and_nobody_waits(server: Path, outside: Path, put: Put) -> None:
    (server / "gpa" / "install.json").unlink()
    put(server / "gpa" / "install.json", outside)
    before, config = all_files(outside), (server / "config").read_text()
    for verb in ("install", "uninstall"):
        done = subprocess.run(["git-gpa", verb], cwd=server, capture_output=True, timeout=SECONDS, check=False)
        assert (128, True) == (done.returncode, b"install.json" in done.stderr), done.stderr
        assert b"Traceback" not in done.stderr
    assert (before, config) == (all_files(outside), (server / "config").read_text())


@pytest.mark.parametrize("put", [fifo, folder, sparse])
@pytest.mark.parametrize("name", ["post-receive", "post-commit", "post-merge.before-gpa"])
def test_what_is_no_hook_is_named_and_nobody_waits(server: Path, outside: Path, put: Put, name: str) -> None:
    (server / "hooks" / name).unlink(missing_ok=True)
    put(server / "hooks" / name, outside)
    for verb in ("install", "uninstall"):
        done = subprocess.run(["git-gpa", verb], cwd=server, capture_output=True, timeout=SECONDS, check=False)
        assert (128, True) == (done.returncode, name.encode() in done.stderr), done.stderr


# -- Where a record leads


@pytest.mark.parametrize("name", ["empty", "link", "new.d", "empty/../empty"])
def test_no_folder_outside_is_made_or_removed(server: Path, outside: Path, name: str) -> None:
    git(server, "config", "core.sharedRepository", "0666")
    change_record(server, made_dirs=[str(outside / name)])
    (server / "hooks" / "post-commit").unlink()
    before = sorted(outside.iterdir())
    gpa_any(server, "install")
    assert before == sorted(outside.iterdir())
    gpa_any(server, "uninstall")
    assert before == sorted(outside.iterdir())


def test_a_link_within_leads_nowhere_outside(server: Path, outside: Path) -> None:
    (server / "way").symlink_to(outside)
    change_record(server, made_dirs=[f"{server}/way/empty", f"{server}/way"], hooks_dirs=[f"{server}/way"])
    uninstall(str(server))
    assert (outside / "empty").is_dir()
    assert (server / "way").is_symlink()


def test_hooks_of_another_repository_stay(server: Path, tmp_path: Path) -> None:
    other = init_server(tmp_path / "other.git")
    (other / "hooks").mkdir(exist_ok=True)
    (other / "hooks" / "post-commit").write_text("#!/bin/sh\n")
    install(str(other), program=PROGRAM)
    before = all_files(other)
    change_record(server, hooks_dirs=[f"{other}/hooks", f"{server}/hooks"])
    uninstall(str(server))
    assert before == all_files(other)


def test_the_settings_lead_install_to_no_new_folder_outside(tmp_path: Path, outside: Path) -> None:
    repo = init_server(tmp_path / "new.git")
    git(repo, "config", "core.hooksPath", str(outside / "hooks"))
    with pytest.raises(Refused, match="is not there, and is none of this repository's folders"):
        install(str(repo), program=PROGRAM)
    assert not (outside / "hooks").exists()


# -- Whose record it is


def shared(tmp_path: Path, *, closed: bool) -> Path:
    """A repository of a group; with `closed` only its owner may change settings and hooks."""
    repo = tmp_path / "shared.git"
    git(tmp_path, "init", "--quiet", "--bare", "--shared=group", str(repo))
    (repo / "hooks").mkdir(exist_ok=True)
    if closed:
        for path in (repo, repo / "config", repo / "hooks"):
            path.chmod(path.stat().st_mode & ~0o020)
    install(str(repo), program=PROGRAM)
    return repo


def is_evil(repo: Path) -> bool:
    return "fsmonitor" in (repo / "config").read_text()


def make_evil(repo: Path) -> None:
    record = json.loads((repo / "gpa" / "install.json").read_text())
    change_record(repo, config_before=record["config_before"].replace("[core]", "[core]\n\tfsmonitor = evil", 1))


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes a file of another user")


@needs_root
def test_a_record_of_another_user_is_refused(tmp_path: Path) -> None:
    repo = shared(tmp_path, closed=True)
    make_evil(repo)
    os.chown(repo / "gpa" / "install.json", OTHER_USER, OTHER_USER)
    for verb in (install, uninstall):
        with pytest.raises(Refused, match=f"install.json' belongs to user {OTHER_USER}, who may not write"):
            verb(str(repo))
    assert not is_evil(repo)
    (repo / "gpa" / "install.json").unlink()  # as the hint says
    uninstall(str(repo))
    assert not (repo / "hooks" / "post-receive").exists()


def test_a_record_that_others_may_write_is_refused(tmp_path: Path) -> None:
    repo = shared(tmp_path, closed=True)
    make_evil(repo)
    (repo / "gpa" / "install.json").chmod(0o666)
    with pytest.raises(Refused, match="is not believed"):
        uninstall(str(repo))
    assert not is_evil(repo)


def test_a_record_with_a_second_name_is_refused(tmp_path: Path) -> None:
    repo = shared(tmp_path, closed=True)
    os.link(repo / "gpa" / "install.json", repo / "gpa" / "kept")
    with pytest.raises(Refused, match="is not believed"):
        uninstall(str(repo))


@needs_root
def test_where_the_group_may_write_the_configuration_any_member_s_record_counts(tmp_path: Path) -> None:
    repo = shared(tmp_path, closed=False)
    before = (repo / "config").read_text()
    os.chown(repo / "gpa" / "install.json", OTHER_USER, -1)
    uninstall(str(repo))
    assert before != (repo / "config").read_text()
    assert not (repo / "hooks" / "post-receive").exists()


@pytest.mark.parametrize("closed", [True, False])
def test_hooks_are_open_to_whom_the_configuration_is(tmp_path: Path, closed: bool) -> None:
    repo = shared(tmp_path, closed=closed)
    may_write = (repo / "hooks" / "post-receive").stat().st_mode & 0o020
    assert (0 if closed else 0o020) == may_write


def test_a_damaged_record_says_what_to_do(server: Path) -> None:
    (server / "gpa" / "install.json").write_text("{}")
    with pytest.raises(Corrupt) as caught:
        uninstall(str(server))
    assert "remove it to go on" in caught.value.hint
