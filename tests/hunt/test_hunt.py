"""The hunter itself: it finds faults that are planted, and none in stock git alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def hunt(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.hunt", f"--folder={folder}", "--shorten=8", *args]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)


def test_a_pack_that_is_deleted_is_found_with_the_seed_and_a_shortened_sequence(tmp_path: Path) -> None:
    done = hunt(tmp_path / "h", "--seconds=60", "--seed=3", "--stock", "--only=sequences", "--fault=delete-a-pack")
    assert 1 == done.returncode, done.stdout + done.stderr
    assert "FOUND with seed 3, round 1: lost" in done.stdout
    shortened = re.search(r"the (\d+) steps that are enough:\n((?:    \S.*\n)+)", done.stdout)
    assert shortened, done.stdout
    assert int(shortened[1]) <= 6
    assert "delete-a-pack:1\n" in shortened[2]
    kept = re.search(r"the repository is '([^']*)'", done.stdout)
    assert kept and Path(kept[1], "objects").is_dir()


def test_an_index_whose_pack_is_away_for_a_moment_is_found(tmp_path: Path) -> None:
    done = hunt(
        tmp_path / "h", "--seconds=90", "--seed=3", "--stock", "--only=overlaps", "--fault=publish-without-a-pack"
    )
    assert 1 == done.returncode, done.stdout + done.stderr
    assert "FOUND with seed 3" in done.stdout
    assert "the last steps, and the last changes of packs and indexes:" in done.stdout


def test_nothing_is_lost_where_git_gpa_and_git_work_side_by_side(tmp_path: Path) -> None:
    """I1, I2, I7: for some seconds; `make hunt` goes on for as long as one likes."""
    done = hunt(tmp_path / "h", "--seconds=15", "--seed=7")
    assert 0 == done.returncode, done.stdout + done.stderr
    assert ", 0 lost, 0 bad" in done.stdout


def test_stock_git_by_itself_is_not_blamed(tmp_path: Path) -> None:
    done = hunt(tmp_path / "h", "--seconds=8", "--seed=5", "--stock")
    assert 0 == done.returncode, done.stdout + done.stderr
    assert ", 0 lost, 0 bad" in done.stdout
