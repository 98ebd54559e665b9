"""`git gpa run --all`: which repositories it takes, and that one of them never stands in the way of the others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from histories import HistorySpec, init_server, pushed_history
from oracle import git
from running import gpa_any

from gpa_maint.commands import Stop
from gpa_maint.errors import GpaError
from gpa_maint.verbs import run_many
from gpa_maint.verbs.run_many import Outcome, find_repositories, maintain_all

SECONDS = 30


def found(folder: Path) -> list[str]:
    return [os.path.relpath(path, folder) for path in find_repositories(str(folder))]


# -- Which repositories


def test_a_work_tree_is_not_looked_into(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "site")
    init_server(tmp_path / "site" / "docs")
    init_server(tmp_path / "own.git")
    assert ["own.git", "site/.git"] == found(tmp_path)
    assert [".git"] == found(tmp_path / "site")


def test_the_work_tree_of_a_submodule_or_linked_one_is_not_looked_into(tmp_path: Path) -> None:
    init_server(tmp_path / "tree" / "docs")
    (tmp_path / "tree" / ".git").write_text("gitdir: ../elsewhere\n")
    assert [] == found(tmp_path)


@pytest.mark.parametrize("name", ["objects", "objects/pack", "refs"])
def test_a_repository_that_borrows_another_s_folder_is_not_taken(tmp_path: Path, name: str) -> None:
    init_server(tmp_path / "real.git")
    init_server(tmp_path / "trap.git")
    folder = tmp_path / "trap.git" / name
    folder.rename(tmp_path / "away")
    folder.symlink_to(tmp_path / "real.git" / name)
    assert ["real.git"] == found(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    init_server(tmp_path / "away" / "real.git")
    (tmp_path / "srv").mkdir()
    (tmp_path / "srv" / "link.git").symlink_to(tmp_path / "away" / "real.git")
    (tmp_path / "srv" / "loop").symlink_to(tmp_path / "srv")
    assert [] == found(tmp_path / "srv")


def test_folders_may_be_nested_deeper_than_python_recurses(tmp_path: Path) -> None:
    depth = 2 * sys.getrecursionlimit()
    init_server(tmp_path / "srv" / "z.git")
    here = os.open(tmp_path / "srv", os.O_RDONLY)
    for name in ["b", *["d"] * depth]:
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    try:
        assert ["z.git"] == found(tmp_path / "srv")
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "srv" / "b"], check=True)


# -- One after the other


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Three servers; the one in the middle is not as it should be."""
    folder = tmp_path / "srv"
    for name in "amz":
        server = pushed_history(tmp_path / name, HistorySpec(pushes=6, files=4)).server
        git(server, "config", "gpa.autoPages", "2")
        folder.mkdir(exist_ok=True)
        server.rename(folder / f"{name}.git")
    return folder


def maintained(folder: Path) -> list[str]:
    return sorted(path.parent.parent.name for path in folder.glob("*/gpa/last-run.json"))


def run_all(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git-gpa", "run", f"--all={folder}", *words], capture_output=True, text=True, timeout=SECONDS, check=False
    )


def fifo_in_config(repo: Path) -> None:
    os.mkfifo(repo / "more")
    git(repo, "config", "include.path", "more")


def endless_config(repo: Path) -> None:
    git(repo, "config", "include.path", "/dev/ptmx")


@pytest.mark.parametrize("hang", [fifo_in_config, endless_config])
def test_a_repository_whose_settings_never_end_is_given_up_after_the_time_limit(three: Path, hang: object) -> None:
    assert callable(hang)
    hang(three / "m.git")
    done = run_all(three, "--keep-going", "--max-runtime=2")
    assert 1 == done.returncode
    assert "m.git" in done.stderr and "was ended: time limit" in done.stderr
    assert ["a.git", "z.git"] == maintained(three)


def test_one_run_too_is_given_up_after_the_time_limit(three: Path) -> None:
    fifo_in_config(three / "m.git")
    words = ["git-gpa", "run", "--max-runtime=1"]
    done = subprocess.run(words, cwd=three / "m.git", capture_output=True, text=True, timeout=SECONDS, check=False)
    assert (128, True) == (done.returncode, "was ended: time limit" in done.stderr)


@pytest.mark.parametrize("error", [RecursionError, MemoryError, ValueError, OSError, GpaError])
def test_whatever_goes_wrong_with_one_the_others_get_their_turn(
    three: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    maintain = run_many.maintain

    def fail(path: str, **options: object) -> object:
        if path.endswith("m.git"):
            raise error("what went wrong")
        return maintain(path, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(run_many, "maintain", fail)
    told: list[Outcome] = []
    outcomes = maintain_all(find_repositories(str(three)), keep_going=True, told=told.append)
    assert [False, True, False] == [outcome.has_failed for outcome in outcomes]
    assert outcomes == told


def test_a_time_limit_is_each_repository_s_own(three: Path) -> None:
    stop = Stop()
    outcomes = maintain_all(find_repositories(str(three)), stop=stop, max_seconds=0.0)
    assert 3 == len(outcomes)
    assert "" == stop.why


def test_a_plan_that_fails_does_not_hide_the_others(three: Path) -> None:
    git(three / "m.git", "config", "gpa.pageObjects", "-1")
    done = run_all(three, "-n", "--keep-going")
    assert 1 == done.returncode
    assert "m.git" in done.stderr and "gpa.pageobjects" in done.stderr.lower()
    assert [f"{three}/a.git:", f"{three}/z.git:"] == [line for line in done.stdout.splitlines() if line.startswith("/")]


def test_a_deep_ref_stops_neither_a_run_nor_status(three: Path) -> None:
    deep = "refs/heads/" + "a/" * 1200 + "b"
    git(three / "m.git", "update-ref", deep, "refs/heads/main")
    git(three / "m.git", "config", "gpa.autoRefs", "1")
    done = run_all(three, "--keep-going")
    assert (0, "") == (done.returncode, done.stderr)
    assert 0 == gpa_any(three / "m.git", "status").returncode
    assert deep in git(three / "m.git", "for-each-ref", "--format=%(refname)").stdout


# -- What it says


def test_what_the_names_of_folders_say_steers_no_terminal(tmp_path: Path) -> None:
    names = ["esc\x1b[31m.git", "new\nline.git", "bell\x07.git"]
    for name in names:
        server = pushed_history(tmp_path / f"made-{names.index(name)}", HistorySpec(pushes=6, files=4)).server
        git(server, "config", "gpa.autoPages", "2")
        (tmp_path / "srv").mkdir(exist_ok=True)
        server.rename(tmp_path / "srv" / name)
    for words in (["--keep-going"], ["-n", "--keep-going"]):
        done = run_all(tmp_path / "srv", *words)
        text = done.stdout + done.stderr
        assert not any(ord(one) < 32 and one != "\n" for one in text), text
        assert not any(line.startswith("line.git") for line in text.splitlines())
