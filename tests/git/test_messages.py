"""What people see who mistype a verb, whose run fails, and who watch the progress."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from histories import History, HistorySpec
from oracle import git
from running import gpa, gpa_any

from gpa_maint.cli.main import VERBS

HistoryFactory = Callable[[HistorySpec], History]

MISTYPED = {
    "rpack": ["repack", "repack-v1"],
    "stats": ["status"],
    "exprie": ["expire", "expire-v1", "explain"],
    "verfy": ["verify", "verify-v1"],
    "unistall": ["uninstall", "install"],
    "mapp": ["map"],
    "hist": ["history"],
    "Repack": ["repack", "repack-v1"],
    "cat_file": ["cat-file"],
}


@pytest.mark.parametrize(("mistyped", "expected"), MISTYPED.items())
def test_a_mistyped_verb_gets_those_that_are_similar(tmp_path: Path, mistyped: str, expected: list[str]) -> None:
    done = gpa_any(tmp_path, mistyped)
    assert (129, "") == (done.returncode, done.stdout)
    first, empty, intro, *similar = done.stderr.splitlines()
    assert f"git gpa: '{mistyped}' is not a git gpa command. See 'git gpa -h'." == first
    assert ("", expected) == (empty, [line.removeprefix("\t") for line in similar])
    assert intro == f"The most similar command{'s are' if len(expected) > 1 else ' is'}"


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_is_found_with_a_letter_too_few(tmp_path: Path, verb: str) -> None:
    done = gpa_any(tmp_path, verb[:-2] + verb[-1])
    assert f"\n\t{verb}\n" in done.stderr


def test_a_verb_that_is_like_none_gets_the_list_of_all(tmp_path: Path) -> None:
    done = gpa_any(tmp_path, "\x1bfrobnicate")
    assert 129 == done.returncode
    assert "'\\033frobnicate' is not a git gpa command" in done.stderr
    assert "usage: git gpa" in done.stderr


def test_a_failed_run_has_one_clear_line_in_the_log_and_in_status(history: HistoryFactory) -> None:
    server = history(HistorySpec(kind="tree", pushes=12)).server
    git(server, "config", "gpa.autoPages", "4")
    limited = ["sh", "-c", "ulimit -f 4; exec git gpa run"]  # 2 KiB or 4: no page fits, our records do
    failed = subprocess.run(limited, cwd=server, capture_output=True, text=True)
    assert (128, "fatal: ") == (failed.returncode, failed.stderr[:7])
    reason = failed.stderr.removeprefix("fatal: ").splitlines()[0]
    (line,) = (server / "gpa" / "log").read_text().splitlines()
    (last,) = [line for line in gpa(server, "status").stdout.splitlines() if line.startswith("last run ")]
    for told in (line, last):
        assert f"failed: {reason}" in told
        assert "nothing to do" not in told
        assert ";;" not in told.replace(" ", "")


# ---- progress ----


def on_a_terminal(repo: Path, columns: int, *words: str) -> bytes:
    """What a terminal of that width shows; a width of 0 is that of one which does not tell."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = ["git", "gpa", *words]
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    with subprocess.Popen(command, cwd=repo, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        said = b""
        try:
            while piece := os.read(ours, 65536):
                said += piece
        except OSError:  # the end, on Linux
            pass
    os.close(ours)
    assert 0 == process.returncode, said
    return said


@pytest.mark.parametrize("columns", [0, 40, 100])
@pytest.mark.parametrize("words", [["repack"], ["verify", "--deep"], ["write"], ["run"], ["expire", "--grace=now"]])
def test_progress_begins_with_no_empty_line_and_has_none(
    history: HistoryFactory, words: list[str], columns: int
) -> None:
    server = history(HistorySpec(pushes=12)).server
    if words == ["expire", "--grace=now"]:
        gpa(server, "repack")
    shown = on_a_terminal(server, columns, *words).decode()
    lines = shown.replace("\r\n", "\n").replace("\r\n", "\n").removesuffix("\n").split("\n")
    assert [] == [line for line in lines if not line.strip("\r ")], shown
    assert not shown.startswith("\r")
    told = gpa_any(server, *words, "--progress", "--object-dir=objects").stderr
    assert not told.startswith(("\r", "\n"))
