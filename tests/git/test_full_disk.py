"""What is done on a full disk: a small tmpfs, so root is needed."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from file_system_shim import build, environment
from histories import HistorySpec, init_server, pushed_history
from oracle import all_objects, fsck, git, verify_midx
from packwriter import Whole, add_pack
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


def test_expire_deletes_first_what_the_index_does_not_name(disk: Path) -> None:
    """Pages outside the index go without a new index, for which there is no room and no reserve."""
    repo = init_server(disk / "server")
    for number in range(3):
        add_pack(repo, [Whole(kind="blob", content=b"old %d, %d\n" % (number, entry)) for entry in range(500)])
    git(repo, "gpa", "repack")
    git(repo, "config", "gpa.autoPages", "2")
    for number in range(6):
        add_pack(repo, [Whole(kind="blob", content=b"%d, %d\n" % (number, entry)) for entry in range(200)])
    git(repo, "gpa", "run")
    found = json.loads(git(repo, "gpa", "expire", "-n", "--grace=now", "--json").stdout)
    outside = {pack["name"] for pack in found["doomed"] if pack["referenced"] is None}
    assert outside and len(outside) < len(found["doomed"])
    before = all_objects(repo)
    (repo / "gpa/reserve").unlink()
    leave(disk, 16 << 10)
    done = git(repo, "gpa", "expire", "--grace=now", "--json", check=False)
    deleted = json.loads(done.stdout)["deleted"]
    assert outside == set(deleted[: len(outside)])
    assert before == all_objects(repo)
    git(repo, "gpa", "expire", "--grace=now")
    assert before == all_objects(repo)
    fsck(repo)
    assert [] == leftovers(repo)


def leave(disk: Path, count: int) -> None:
    """Fill the disk but for so many bytes."""
    filler = fill(disk)
    os.truncate(filler, filler.stat().st_size - count)
    assert count == os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize


@pytest.fixture
def pushed(disk: Path) -> Path:
    """A repository with 40 packs of 10 KB that do not compress, on an almost full disk."""
    repo = init_server(disk / "server")
    for number in range(40):
        add_pack(repo, [Whole(kind="blob", content=Random(number).randbytes(10_000))])
    git(repo, "config", "gpa.autoPages", "2")
    git(repo, "config", "gpa.expireGrace", "2.weeks.ago")
    leave(disk, 200 << 10)
    return repo


@pytest.mark.parametrize("verb", ["run", "repack"])
def test_what_fits_is_merged_and_what_is_missing_told(disk: Path, pushed: Path, verb: str) -> None:
    before = all_objects(pushed)
    done = git(pushed, "gpa", verb, check=False)
    assert 1 == done.returncode
    (left,) = re.findall(r"error: left as it is: (\d+) of 40 packs to be merged: .*: No space left", done.stderr)
    assert 0 < int(left) < 39
    (missing,) = re.findall(r": (\d+) bytes are missing$", done.stderr, re.MULTILINE)
    assert int(left) * 10_000 - (200 << 10) < int(missing) < 40 * 10_200
    assert os.statvfs(disk).f_bavail > 0
    assert f"merged {40 - int(left)} packs" in done.stdout
    assert before == all_objects(pushed)
    fsck(pushed)
    verify_midx(pushed)
    assert [] == leftovers(pushed)
    (disk / "filler").unlink()
    git(pushed, "gpa", verb)
    assert before == all_objects(pushed)


def test_a_run_that_can_delete_goes_on_with_the_rest(disk: Path, pushed: Path) -> None:
    """What was merged and deleted makes room for the next batch."""
    git(pushed, "config", "gpa.expireGrace", "now")
    before = all_objects(pushed)
    done = git(pushed, "gpa", "run", check=False)
    assert re.search(r"merged 40 packs in \d steps", done.stdout) and "deleted 40 superseded pages" in done.stdout
    assert before == all_objects(pushed)
    assert 5 > len(list(pushed.glob("objects/pack/*.pack")))
    fsck(pushed)
    assert [] == leftovers(pushed)


@pytest.mark.parametrize("verb", ["run", "add-loose"])
def test_loose_objects_are_packed_as_far_as_they_fit(disk: Path, verb: str) -> None:
    repo = init_server(disk / "server")
    for number in range(40):
        (disk / "content").write_bytes(Random(number).randbytes(10_000))
        git(repo, "hash-object", "-w", disk / "content")
    git(repo, "config", "gpa.autoLoose", "0" if verb == "add-loose" else "2")
    leave(disk, 200 << 10)
    before = all_objects(repo)
    done = git(repo, "gpa", verb, check=False)
    if verb == "run":  # the files that were removed make room for the rest
        assert (0, "") == (done.returncode, done.stderr)
    else:
        assert 1 == done.returncode
        assert re.search(r"left as it is: \d+ of 40 loose objects: .*No space left .*: \d+ bytes are m", done.stderr)
        (disk / "filler").unlink()
        git(repo, "gpa", verb)
    assert [] == list(repo.glob("objects/[0-9a-f][0-9a-f]/*"))
    assert before == all_objects(repo)
    assert [] == leftovers(repo)


def test_a_quota_that_is_used_up_is_told_with_what_is_needed(tmp_path: Path) -> None:
    """Each write fails: nothing fits, and nobody knows how much is left."""
    made = pushed_history(tmp_path / "history", SPEC).server
    repo = made.rename(tmp_path / "server")
    git(repo, "config", "gpa.autoPages", "2")
    before = all_objects(repo)
    packs = sorted(repo.glob("objects/pack/*.pack"))
    env = environment(build(tmp_path), "write", errno.EDQUOT, repo)
    for verb in ("run", "repack"):
        done = subprocess.run(
            [sys.executable, "-m", "gpa_maint.cli.main", verb], cwd=repo, env=env, capture_output=True, text=True
        )
        assert done.returncode in (1, 128), done.stderr
        assert re.search(r"'.*/server/.*': Disk quota exceeded", done.stderr)
        assert ", more than the quota leaves" in done.stderr
        assert "Traceback" not in done.stderr
        assert packs == sorted(repo.glob("objects/pack/*.pack"))
        assert [] == leftovers(repo)
    assert before == all_objects(repo)


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
