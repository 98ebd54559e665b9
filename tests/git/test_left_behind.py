"""What is left when packs are gone: an index that names only these, files beside them, files that could not go."""

from __future__ import annotations

import errno
import os
import shutil
import time
from pathlib import Path

import pytest
from histories import HistorySpec, pushed_history
from oracle import content_digest, fsck, git, pack_dir, packs
from running import gpa, gpa_any, gpa_json, index_path

from gpa_maint import commands
from gpa_maint.fs import door

DAY = 86400


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pushed_history(tmp_path_factory.mktemp("pushed"), HistorySpec(pushes=4, files=4)).server


@pytest.fixture
def repo(pushed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pushed, tmp_path / "server"))


def age(path: Path, seconds: int) -> None:
    os.utime(path, (time.time() - seconds,) * 2)


# ---- an index whose packs are all gone


@pytest.mark.parametrize("verb", ["write", "run"])
@pytest.mark.parametrize("suffixes", [("pack", "idx"), ("pack",)])
def test_an_index_of_packs_that_are_all_gone_goes_too(repo: Path, verb: str, suffixes: tuple[str, ...]) -> None:
    gpa(repo, "write")
    for suffix in suffixes:
        for path in pack_dir(repo).glob(f"*.{suffix}"):
            path.unlink()
    told = gpa_any(repo, verb)
    assert (0, "removed the index: none of the packs that it named is there\n") == (told.returncode, told.stdout)
    assert not index_path(repo).exists()
    assert "dropped" not in gpa_any(repo, "write").stderr


def test_an_index_is_not_removed_for_packs_that_were_not_asked_for(repo: Path) -> None:
    gpa(repo, "write")
    gpa_any(repo, "write", "--stdin-packs", input="pack-of-another-name.idx\n")
    assert index_path(repo).exists()


# ---- any folder can be verified


@pytest.mark.parametrize("options", [[], ["--deep"]])
def test_verify_takes_any_folder_as_git_does(repo: Path, tmp_path: Path, options: list[str]) -> None:
    folder = tmp_path / "copies"
    shutil.copytree(pack_dir(repo), folder / "pack")
    gpa(repo, "verify", *options, f"--object-dir={folder}")
    path = next((folder / "pack").glob("*.idx"))
    path.chmod(0o644)
    path.write_bytes(b"no idx")
    assert bool(options) == gpa_any(repo, "verify", *options, f"--object-dir={folder}").returncode
    assert 128 == gpa_any(repo, "write", f"--object-dir={folder}").returncode


# ---- files beside packs that are gone


@pytest.mark.parametrize("suffix", [".rev", ".bitmap", ".mtimes", ".promisor"])
def test_a_file_whose_pack_is_gone_is_named_and_in_the_end_removed(repo: Path, suffix: str) -> None:
    orphan = pack_dir(repo) / f"pack-{7:040d}{suffix}"
    orphan.touch()
    assert "orphan" not in codes(repo)
    age(orphan, 3 * DAY)
    assert orphan.name in gpa(repo, "status").stdout
    gpa(repo, "run")
    assert orphan.exists()
    age(orphan, 15 * DAY)
    assert "removed 1 file" in gpa(repo, "run").stdout
    assert not orphan.exists()
    fsck(repo)


@pytest.mark.parametrize("beside", [".pack", ".idx", ".keep"])
def test_a_file_whose_pack_may_come_yet_is_left_alone(repo: Path, beside: str) -> None:
    file = pack_dir(repo) / f"pack-{7:040d}.rev"
    file.touch()
    file.with_suffix(beside).touch()
    age(file, 15 * DAY)
    assert "orphan" not in codes(repo)
    gpa_any(repo, "run")
    assert file.exists()


def codes(repo: Path) -> list[str]:
    return [warning["code"] for warning in gpa_json(repo, "status")["warnings"]]


# ---- an I/O error while one file of a pack is unlinked


@pytest.mark.parametrize("suffix", [".idx", ".pack", ".rev", ".bitmap"])
def test_a_file_that_could_not_be_unlinked_once_does_not_stay(
    repo: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    digest = content_digest(repo)
    for name in packs(repo):
        for beside in (".rev", ".bitmap"):
            (pack_dir(repo) / f"{name}{beside}").touch()
    old = set(packs(repo))
    commands.repack(str(repo))
    stuck = min(old)

    def fail(operation: str, path: str) -> None:
        if operation == "unlink" and path.endswith(f"{stuck}{suffix}"):
            raise door.failed(operation, path, OSError(errno.EIO, ""))

    monkeypatch.setattr(door, "before_step", fail)
    result = commands.expire(str(repo), grace_seconds=0)
    assert old - {stuck} <= set(result.deleted)
    assert bool(result.complaints) == (suffix in (".idx", ".pack"))
    monkeypatch.setattr(door, "before_step", None)
    gpa(repo, "expire", "--grace=now")
    for path in pack_dir(repo).glob(f"{stuck}*"):
        age(path, 15 * DAY)
    gpa(repo, "run")
    assert [] == list(pack_dir(repo).glob(f"{stuck}*"))
    assert digest == content_digest(repo)
    git(repo, "multi-pack-index", "verify")
