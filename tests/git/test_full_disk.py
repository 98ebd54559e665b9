"""What is done on a full disk: a small tmpfs, so root is needed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from histories import HistorySpec, pushed_history
from oracle import all_objects, fsck, git, verify_midx
from running import leftovers

SPEC = HistorySpec(pushes=30)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("cannot mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all that is free."""
    path = disk / "filler"
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    assert os.statvfs(disk).f_bavail == 0
    return path


@pytest.fixture
def server(disk: Path, tmp_path: Path) -> Path:
    """A repository with superseded packs, after a run."""
    made = pushed_history(tmp_path / "history", SPEC).server
    repo = disk / "server"
    subprocess.run(["cp", "-r", made, repo], check=True)
    git(repo, "gpa", "repack")
    git(repo, "gpa", "run")
    return repo


def test_expire_frees_room_on_a_full_disk(disk: Path, server: Path) -> None:
    before = all_objects(server)
    count = len(list(server.glob("objects/pack/*.pack")))
    fill(disk)
    done = git(server, "gpa", "expire", "--grace=now", check=False)
    assert (0, "") == (done.returncode, done.stderr)
    assert len(list(server.glob("objects/pack/*.pack"))) < count
    assert os.statvfs(disk).f_bavail > 0
    assert before == all_objects(server)
    fsck(server)
    verify_midx(server)
    assert [] == leftovers(server)


def test_without_its_reserve_expire_says_what_is_missing_and_deletes_nothing(disk: Path, server: Path) -> None:
    (server / "gpa/reserve").unlink()
    before = all_objects(server)
    packs = sorted(server.glob("objects/pack/*.pack"))
    filler = fill(disk)
    done = git(server, "gpa", "expire", "--grace=now", check=False)
    assert 128 == done.returncode
    assert "No space left on device" in done.stderr and f"'{server}" in done.stderr
    assert "hint: no object is lost; a new index and records need about" in done.stderr
    assert packs == sorted(server.glob("objects/pack/*.pack"))
    filler.unlink()
    assert before == all_objects(server)
    git(server, "gpa", "expire", "--grace=now")
    assert [] == leftovers(server)


def test_a_run_that_fails_tells_and_records_the_first_error(disk: Path, server: Path) -> None:
    for number in range(600):
        git(server, "hash-object", "-w", "--stdin", input=f"loose {number}")
        if os.statvfs(disk).f_bavail < 40:
            break
    git(server, "config", "gpa.autoLoose", "5")
    fill(disk)
    done = git(server, "gpa", "run", check=False)
    assert done.returncode in (1, 128)
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr
    assert [] == leftovers(server)
