"""Stopped before the 1st, 2nd, 3rd ... step of PagedArchive.save(), an archive is whole: by the list that its caller
has, and by that in the folder. What was not saved is lost, and nothing else; the next save finishes the work.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import time
from functools import partial
from itertools import count
from pathlib import Path

import archives as a
import pytest
from dying import DONE, KILLED, NOTHING_LOST, killed_at
from faults import count_fault
from test_crash import MOST_STEPS, POWER, failing
from test_crash_archive import copy_of

from gpa_maint import fs
from gpa_maint.archive_v1 import expire_archive, verify_archive
from gpa_maint.errors import GpaError
from gpa_maint.paged_archive import PagedArchive

OLD = dict(a.blobs(50))
NEW = dict(a.blobs(70, seed="new"))
SHAPES = ["empty", "one page", "several", "twice", "full", "shared"]


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives, not to be changed."""
    root = tmp_path_factory.mktemp("ready")
    (root / "empty").mkdir()
    for name in ("one page", "twice", "full", "shared"):
        a.make_archive(root / name, OLD.items(), page_values=50)
    a.make_archive(root / "several", OLD.items(), page_values=20)
    a.make_archive(root / "full", [*OLD.items(), *a.blobs(1950, size=4, seed="full")])
    for name in os.listdir(root / "full"):
        if name not in (*a.read_list(root / "full"), "pages"):
            (root / "full" / name).unlink()
    other = a.make_archive(root / "other", a.blobs(5, seed="other"), seed="other")
    shutil.copy(root / "other" / other[0], root / "shared")
    (root / "shared" / "pages").rename(root / "shared.pages")
    return {shape: root / shape for shape in SHAPES}


def callers_list(ready: dict[str, Path], shape: str) -> list[str]:
    if shape == "empty":
        return []
    return a.read_list(ready[shape]) if shape != "shared" else (ready["one page"] / "pages").read_text().split()


def save_in(folder: Path, names: list[str], shape: str) -> list[str]:
    with PagedArchive(f"{folder}/", names) as archive:
        values = list(NEW.items())
        for key, value in values[:40]:
            archive.set(key, value)
        if shape == "twice":
            archive.save()
        for key, value in values[40:]:
            archive.set(key, value)
        return list(archive.save())


def assert_whole(folder: Path, names: list[str], expected: dict[bytes, bytes]) -> None:
    """By the caller's list all is there that was; by the one in the folder as well, and what was saved too."""
    found = a.read_archive(folder, names)
    assert expected == {key: found[key] for key in expected}
    with PagedArchive(f"{folder}/", names) as archive:
        assert expected == {key: archive[key] for key in expected}
    if (folder / "pages").exists():
        listed = a.read_archive(folder)
        assert expected == {key: listed[key] for key in expected}
        assert {*listed} - {*expected} <= {*NEW}
        assert () == verify_archive(str(folder)).findings


def assert_finishes(folder: Path, names: list[str], shape: str, expected: dict[bytes, bytes]) -> None:
    """The next save does the rest, and leaves nothing that somebody would wonder about."""
    saved = save_in(folder, names, shape)
    found = a.read_archive(folder, saved)
    assert {**expected, **NEW} == {key: found[key] for key in (*expected, *NEW)}
    if shape == "shared":
        assert not (folder / "pages").exists()
        assert [] == [name for name in os.listdir(folder) if name.startswith("tmp")]
        return
    assert saved == a.read_list(folder)
    assert () == verify_archive(str(folder)).strays
    expire_archive(str(folder), grace_seconds=0)
    assert {*saved, "pages"} == set(os.listdir(folder))


@pytest.mark.parametrize("lost", ["nothing", "all", "new"])
@pytest.mark.parametrize("shape", SHAPES)
def test_killed_before_any_step_of_a_save_an_archive_is_whole_by_both_lists(
    ready: dict[str, Path], tmp_path: Path, shape: str, lost: str
) -> None:
    names = callers_list(ready, shape)
    expected = a.read_archive(ready[shape], names)
    cuts = 0
    for number in count(1):
        folder = copy_of(ready[shape], tmp_path / "archive")
        end = killed_at(number, folder, partial(save_in, folder, names, shape), tmp_path, lost)
        cuts += end == KILLED
        if end != NOTHING_LOST:
            with count_fault("save-v1", POWER[lost], end == KILLED):
                # its own second save deletes what it replaced in the first one: by then the caller has the answer
                if end == KILLED and shape != "twice":
                    assert_whole(folder, names, expected)
                # whoever began it, or has its second answer, and got none, has nothing but the list in the folder
                has_list = (folder / "pages").exists() and (end == DONE or shape in ("twice", "empty"))
                assert_finishes(folder, a.read_list(folder) if has_list else names, shape, expected)
        if end == DONE:
            break
        assert number < MOST_STEPS
    assert cuts > (6 if lost == "nothing" else 0)


@pytest.mark.parametrize(("error", "once"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["one step", "all further"])
@pytest.mark.parametrize("shape", SHAPES)
def test_after_an_error_in_any_step_the_values_wait_and_the_same_archive_saves_them(
    ready: dict[str, Path], tmp_path: Path, shape: str, error: int, once: bool
) -> None:
    names = callers_list(ready, shape)
    expected = a.read_archive(ready[shape], names)
    told = 0
    for number in count(1):
        folder = copy_of(ready[shape], tmp_path / "archive")
        with PagedArchive(f"{folder}/", names) as archive:
            for key, value in NEW.items():
                archive.set(key, value)
            fs.door.before_step = failing(number, error, once=once)
            try:
                archive.save()
                failed = False
            except OSError as failure:
                failed = True
                assert error == failure.errno
                assert isinstance(failure, GpaError | OSError)
            finally:
                fs.door.before_step = None
            told += failed
            assert {**expected, **NEW} == {key: archive[key] for key in (*expected, *NEW)}
            with count_fault("save-v1", os.strerror(error), failed):
                assert_whole(folder, names, expected)
                assert archive.unsaved[0] in ((0, len(NEW)) if failed else (0,))
                answer = archive.save()
                saved = list(answer)
                assert {name: failed and name not in names for name in saved} == answer
                found = a.read_archive(folder, saved)
                assert {**expected, **NEW} == {key: found[key] for key in (*expected, *NEW)}
                if shape != "shared":
                    assert saved == a.read_list(folder)
                    assert () == verify_archive(str(folder)).strays
        if not failed:
            break
        assert number < MOST_STEPS
    assert told > 5


def test_killed_at_any_moment_only_what_was_not_saved_is_lost(tmp_path: Path) -> None:
    """kill -9 from outside: each answer that the child gave has to hold."""
    rng = random.Random("moments")
    for number in range(int(os.environ.get("GPA_TEST_KILLS", "30")) // 2):
        folder = tmp_path / str(number)
        folder.mkdir()
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            _save_for_ever(folder, writing)
        os.close(writing)
        time.sleep(rng.uniform(0, 0.15))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        with open(reading) as pipe:
            answers = pipe.read().split("\n")[:-1]
        saved = answers[-1].split() if answers else []
        values = dict(a.blobs(10 * len(answers), size=10))
        found = a.read_archive(folder, saved)
        with count_fault("save-v1", "killed at any moment", True):
            assert values == {key: found[key] for key in values}
            with PagedArchive(f"{folder}/", saved) as archive:
                assert values == {key: archive[key] for key in values}
                archive[bytes(20)] = b"\3\0\0\0 on"
                found = a.read_archive(folder, list(archive.save()))
                assert values == {key: found[key] for key in values}
            assert not [name for name in os.listdir(folder) if name.startswith("tmp") or name.endswith(".new")]


def _save_for_ever(folder: Path, writing: int) -> None:
    try:
        archive = PagedArchive(f"{folder}/", [])
        values = a.blobs(1_000_000, size=10)
        while True:
            for _ in range(10):
                archive.set(*next(values))
            os.write(writing, f"{' '.join(archive.save())}\n".encode())
    finally:
        os._exit(1)


def test_killed_in_the_second_save_too_a_third_one_finishes(ready: dict[str, Path], tmp_path: Path) -> None:
    names = callers_list(ready, "one page")
    for first in (3, 6, 9):
        for number in range(1, 14):
            folder = copy_of(ready["one page"], tmp_path / "archive")
            killed_at(first, folder, partial(save_in, folder, names, ""), tmp_path, "nothing")
            killed_at(number, folder, partial(save_in, folder, names, ""), tmp_path, "nothing")
            assert_whole(folder, names, OLD)
            assert_finishes(folder, names, "one page", OLD)
