"""Stopped before the 1st, 2nd, 3rd ... step, an archive of v1 pages is whole, and a second run finishes. An independent
reader judges that; and git does of a repository into which an archive is imported.

As in test_crash.py: nothing is lost but the process, or what was not synced too.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

import archives as a
import pytest
from dying import DONE, KILLED, NOTHING_LOST, in_child, killed_at
from oracle import all_objects, fsck, git, verify_midx
from test_crash import MOST_STEPS, failing

from gpa_maint import fs
from gpa_maint.archive_v1 import Archive, expire_archive, export_archive, import_archive, repack_archive, verify_archive
from gpa_maint.archive_v1.listing import INDEX_NAME
from gpa_maint.cli.main import main as cli

VALUES = dict(a.blobs(90))
Work = Callable[[Path], object]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each verb an archive, not to be changed, and beside them a repository with more objects than the archive."""
    root = tmp_path_factory.mktemp("ready")
    a.make_archive(root / "repack", VALUES.items(), page_values=30)
    shutil.copytree(root / "repack", root / "expire")
    repack_archive(str(root / "expire"))
    more = [a.object_value("blob", b"%d" % number) for number in range(6)]
    a.make_archive(root / "again", [*VALUES.items(), *more], page_values=30, seed="again")
    repack_archive(str(root / "again"))
    before = a.read_list(root / "again")
    late = a.make_archive(root / "again", [a.object_value("blob", b"late")], seed="late")
    a.write_list(root / "again", [*before, *late])
    a.make_archive(root / "export", list(VALUES.items())[:40], page_values=30)
    git(root, "init", "--quiet", "--bare", "repo.git")
    import_archive(str(root / "repack"), path=str(root / "repo.git"))
    return {verb: root / verb for verb in ("repack", "expire", "again", "export", "repo.git")}


def works(ready: dict[str, Path]) -> dict[str, Work]:
    return {
        "repack": lambda folder: repack_archive(str(folder)),
        "again": lambda folder: repack_archive(str(folder)),
        "expire": lambda folder: expire_archive(str(folder), grace_seconds=0),
        "export": lambda folder: export_archive(str(folder), path=str(ready["repo.git"])),
    }


def copy_of(folder: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    return Path(shutil.copytree(folder, target, symlinks=True))


def assert_whole(folder: Path, expected: dict[bytes, bytes]) -> None:
    """All pages of the list are there, and an independent reader finds all values in them; so do we."""
    found = a.read_archive(folder)
    assert expected == {key: found.get(key) for key in expected}
    assert () == verify_archive(str(folder)).findings
    with Archive(folder) as archive:
        assert expected == {key: archive.get(key) for key in expected}


def assert_finishes(folder: Path, work: Work, expected: dict[bytes, bytes]) -> None:
    """The same again does the rest, and then nothing is there that somebody would wonder about."""
    work(folder)
    assert_whole(folder, expected)
    listed = set(a.read_list(folder))
    waiting = set(os.listdir(folder)) - listed - {"pages", INDEX_NAME}
    expire_archive(str(folder), grace_seconds=0)
    assert {*listed, "pages"} == set(os.listdir(folder)) - {INDEX_NAME}, waiting
    assert_whole(folder, expected)


@pytest.mark.parametrize("lost", ["nothing", "all", "new"])
@pytest.mark.parametrize("verb", ["repack", "again", "expire", "export"])
def test_killed_before_any_step_an_archive_is_whole_and_a_second_run_finishes(
    ready: dict[str, Path], tmp_path: Path, verb: str, lost: str
) -> None:
    work, expected = works(ready)[verb], a.read_archive(ready[verb])
    cuts = 0
    for number in count(1):
        folder = copy_of(ready[verb], tmp_path / "archive")
        end = killed_at(number, folder, partial(work, folder), tmp_path, lost)
        cuts += end == KILLED
        if end != NOTHING_LOST:
            assert_whole(folder, expected)
            final = {**expected, **(VALUES if verb == "export" else {})}
            assert_finishes(folder, work, final)
        if end == DONE:
            break
        assert number < MOST_STEPS
    assert cuts > (4 if lost == "nothing" else 0)


@pytest.mark.parametrize("first", [3, 6, 12])
def test_killed_in_the_second_run_too_a_third_one_finishes(ready: dict[str, Path], tmp_path: Path, first: int) -> None:
    work, expected = works(ready)["repack"], a.read_archive(ready["repack"])
    for number in range(1, 16):
        folder = copy_of(ready["repack"], tmp_path / "archive")
        assert KILLED == killed_at(first, folder, partial(work, folder), tmp_path, "nothing")
        killed_at(number, folder, partial(work, folder), tmp_path, "nothing")
        assert_whole(folder, expected)
        assert_finishes(folder, work, expected)


@pytest.mark.parametrize(("error", "once"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["one step", "all further"])
@pytest.mark.parametrize("verb", ["repack", "expire", "export"])
def test_an_error_in_any_step_is_told_and_a_second_run_finishes(
    ready: dict[str, Path], tmp_path: Path, verb: str, error: int, once: bool
) -> None:
    work, expected = works(ready)[verb], a.read_archive(ready[verb])
    told = 0
    for number in count(1):
        folder = copy_of(ready[verb], tmp_path / "archive")

        def run(folder: Path = folder, number: int = number) -> int:
            os.chdir(ready["repo.git"])
            fs.door.before_step = failing(number, error, once=once)
            return cli([f"{verb}-v1", str(folder), *(["--grace=now"] if verb == "expire" else [])])

        status, said = in_child(run)
        assert "Traceback" not in said, f"step {number}: {said}"
        assert status in (0, 128), f"step {number}: {status} {said}"
        assert (status == 128) == (os.strerror(error) in said)
        told += status == 128
        assert_whole(folder, expected)
        assert_finishes(folder, work, {**expected, **(VALUES if verb == "export" else {})})
        if status == 0:
            break
        assert number < MOST_STEPS
    assert told > 4


@pytest.mark.parametrize("delta", [False, True])
def test_an_import_that_is_killed_before_any_step_goes_on_where_it_was(
    ready: dict[str, Path], tmp_path: Path, delta: bool
) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "empty.git")
    git(tmp_path / "empty.git", "config", "gpa.pageObjects", "40")
    expected = {key.hex() for key in VALUES}
    seen = set()
    for number in count(1):
        repo = copy_of(tmp_path / "empty.git", tmp_path / "repo.git")
        (repo / "objects" / "pack").mkdir(exist_ok=True)

        def work(repo: Path) -> object:
            return import_archive(str(ready["repack"]), path=str(repo), delta=delta)

        end = killed_at_step(number, lambda repo=repo: work(repo))  # type: ignore[misc]
        there = len(all_objects(repo))
        seen.add(there)
        fsck(repo)
        result = import_archive(str(ready["repack"]), path=str(repo), delta=delta)
        assert (there, 90 - there) == (result.present, result.imported)
        assert expected == set(all_objects(repo))
        fsck(repo)
        if result.imported:
            verify_midx(repo)
            assert [] == list((repo / "gpa" / "tmp").iterdir())
        if end == DONE:
            break
        assert number < MOST_STEPS
    assert {0, 40, 80, 90} == seen


def killed_at_step(number: int, work: Callable[[], object]) -> int:
    def run() -> int:
        left = iter(range(number - 1, -1, -1))

        def before_step(_operation: str, _path: str) -> None:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        fs.door.before_step = before_step
        work()
        return DONE

    status, said = in_child(run)
    assert status in (DONE, -signal.SIGKILL), said
    return KILLED if status < 0 else DONE
