"""Somebody who may write to the repository puts a link in the place of a folder while we work: nothing outside changes.

The swap is made before a step that makes a name appear or vanish, one step after the other: no race is left to chance.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from histories import HistorySpec, pushed_history
from oracle import git, objects_dir
from running import all_files

from gpa_maint import PageStore, commands, fs
from gpa_maint.base import safe_open
from gpa_maint.errors import GpaError
from gpa_maint.repo.discover import find_object_dir

NAMES = [
    f"{number}-{count}{suffix}" for number in (1, os.getpid()) for count in range(9) for suffix in (".pack", ".new")
]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pushes and a few loose objects; not to be changed."""
    server = pushed_history(tmp_path_factory.mktemp("pushed"), HistorySpec(pushes=6, files=8)).server
    for key, value in (("gpa.autoPages", "2"), ("gpa.expireGrace", "now"), ("gpa.autoLoose", "1")):
        git(server, "config", key, value)
    git(server, "config", "core.sharedRepository", "group")
    for number in range(3):
        git(server, "hash-object", "-w", "--stdin", input=f"unique {number}")
    return server


@pytest.fixture
def repo(pushed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pushed, tmp_path / "server"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder whose files are called as ours are."""
    folder = tmp_path / "outside"
    (folder / "tmp").mkdir(parents=True)
    for name in ("log", "lock", "state.json", "next", "last-run.json", "precious", *NAMES):
        (folder / name).write_text("precious")
        (folder / "tmp" / name).write_text("precious")
    folder.chmod(0o700)
    return folder


def state_of(folder: Path) -> tuple[dict[str, bytes], list[int]]:
    """Contents and modes."""
    paths = sorted([folder, *folder.rglob("*")])
    return all_files(folder), [path.stat().st_mode for path in paths]


def put_link(place: Path, target: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        place.rename(f"{place}-away")
        place.symlink_to(target)


@pytest.fixture
def before_step(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, Callable[[], None]], list[int]]]:
    """Call it with a number and an action for just before that step; the list it gives counts the steps."""

    def set_up(number: int, action: Callable[[], None]) -> list[int]:
        steps = [0]

        def count(_operation: str, _path: str) -> None:
            steps[0] += 1
            if steps[0] == number:
                action()

        monkeypatch.setattr(fs.door, "before_step", count)
        return steps

    yield set_up


@pytest.mark.parametrize("place", ["gpa", "gpa/tmp", "objects/pack"])
def test_a_folder_that_becomes_a_link_before_any_step_changes_nothing_outside(
    pushed: Path,
    tmp_path: Path,
    outside: Path,
    place: str,
    before_step: Callable[[int, Callable[[], None]], list[int]],
) -> None:
    if place == "objects/pack":  # a fork, with packs of the same names
        shutil.copytree(objects_dir(pushed) / "pack", outside, dirs_exist_ok=True)
    before = state_of(outside)
    number, last = 1, 2
    while number <= last:
        repo = Path(shutil.copytree(pushed, tmp_path / f"server-{number}"))
        (repo / "gpa" / "tmp").mkdir(parents=True)
        (repo / "gpa" / "tmp" / "1-1.pack").touch()
        steps = before_step(number, lambda repo=repo: put_link(repo / place, outside))  # type: ignore[misc]
        with contextlib.suppress(GpaError, OSError):  # it says so, or did not need the folder any more
            commands.maintain(str(repo))
        assert before == state_of(outside), f"step {number}"
        last = max(last, steps[0]) if number == 1 else last
        shutil.rmtree(repo)
        number += 3


@pytest.mark.parametrize("name", ["17", "3c"])
def test_a_folder_of_loose_objects_that_becomes_a_link_loses_none_elsewhere(
    repo: Path, outside: Path, name: str, before_step: Callable[[int, Callable[[], None]], list[int]]
) -> None:
    oids = []
    for number in range(2000):
        oids += git(repo, "hash-object", "-w", "--stdin", input=f"{number}").stdout.split() if len(oids) < 40 else []
    folder = next(path for path in objects_dir(repo).iterdir() if len(path.name) == 2)
    shutil.copytree(folder, outside, dirs_exist_ok=True)
    before = state_of(outside)

    def swap() -> None:
        put_link(folder, outside)

    for number in (20, 40, 60):
        before_step(number, swap)
        with contextlib.suppress(GpaError, OSError):
            commands.add_loose(str(repo))
        assert before == state_of(outside)


def test_a_leftover_folder_in_which_a_link_appears_is_cleared_here_only(repo: Path, outside: Path) -> None:
    """As deep as it is nested, and with links in it from the beginning."""
    find_object_dir(str(repo))  # from now on no link is followed there
    top = objects_dir(repo) / "tmp_objdir"
    here = top
    for _ in range(30):
        here = here / "inner"
        here.mkdir(parents=True)
        (here / "file").touch()
        (here / "link").symlink_to(outside)
    before = state_of(outside)
    assert fs.remove_leftover(str(top))
    assert not top.exists()
    assert before == state_of(outside)


def test_a_leftover_may_be_nested_deeper_than_python_recurses(repo: Path) -> None:
    find_object_dir(str(repo))
    top = objects_dir(repo) / "tmp_objdir"
    top.mkdir()
    fd = os.open(top, os.O_RDONLY)
    for _ in range(2 * sys.getrecursionlimit()):
        os.mkdir("d", dir_fd=fd)
        inner = os.open("d", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    assert fs.remove_leftover(str(top))
    assert not top.exists()


@pytest.mark.parametrize("name", ["log", "history", "lock", "state.json", "next", "last-run.json", "totals.json"])
def test_a_file_with_a_second_name_is_not_written_through(repo: Path, outside: Path, name: str) -> None:
    (repo / "gpa").mkdir(exist_ok=True)
    os.link(outside / "precious", repo / "gpa" / name)
    (outside / "precious").chmod(0o600)
    before = state_of(outside)
    commands.maintain(str(repo))
    assert before == state_of(outside)


RECOVER = """
import os, sys
from gpa_maint import PageStore, fs
def cut(operation, path, size):
    if os.path.exists(sys.argv[2]):
        os.truncate(sys.argv[2], 100)
    return 0, size
fs.door.before_core_step = cut
with PageStore.for_repository(sys.argv[1]) as store:
    print(store.writer().recovered)
"""


def test_a_journal_that_is_cut_short_while_it_is_recovered_costs_no_process(repo: Path) -> None:
    """It is cut when the first page of it is made; what was not read by then is lost."""
    journal = repo / "gpa" / "journal" / "99999-00000001-0.journal"
    journal.parent.mkdir(parents=True)
    content = bytearray(struct.pack(">III", 0x4750414A, 1, 1))
    for number in range(3000):
        data = random.Random(number).randbytes(1000)
        size = len(data)
        head = bytes([0xB0 | size & 15, size >> 4 & 127]) if size < 2048 else b""
        entry = head + zlib.compress(data, 0)
        content += struct.pack(">II", len(entry), zlib.crc32(entry)) + entry
    journal.write_bytes(content)
    words = [sys.executable, "-c", RECOVER, str(repo), str(journal)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    found = re.search(r"objects=(\d+), known=0, cut_bytes=\d+, problem=''", done.stdout)
    assert found is not None and 0 < int(found[1]) < 3000
    assert not journal.exists()


def test_a_record_longer_than_any_writer_s_takes_no_memory(repo: Path) -> None:
    journal = repo / "gpa" / "journal" / "99999-00000001-0.journal"
    journal.parent.mkdir(parents=True)
    journal.write_bytes(struct.pack(">III", 0x4750414A, 1, 1) + struct.pack(">II", (1 << 32) - 1, 1))
    os.truncate(journal, 8 << 30)
    with PageStore.for_repository(repo) as store:
        (found,) = store.writer().recovered
        assert (0, (8 << 30) - 12) == (found.objects, found.cut_bytes)


def test_a_writer_makes_no_journal_by_way_of_a_link(repo: Path, outside: Path) -> None:
    with PageStore.for_repository(repo) as store:
        writer = store.writer()
        put_link(repo / "gpa" / "journal", outside)
        before = state_of(outside)
        with pytest.raises(GpaError):
            writer.add("blob", b"x" * 100)
        assert before == state_of(outside)
        (repo / "gpa" / "journal").unlink()
        (repo / "gpa" / "journal-away").rename(repo / "gpa" / "journal")


@pytest.mark.parametrize("path", ["gpa/../outside", "gpa/tmp/../../outside"])
def test_a_path_that_leads_up_is_refused(repo: Path, path: str) -> None:
    find_object_dir(str(repo))
    (repo / "gpa" / "tmp").mkdir(parents=True)
    with pytest.raises(OSError, match="Invalid argument"):
        safe_open.open_folder(f"{repo}/{path}/x")
