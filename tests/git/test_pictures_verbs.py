"""git gpa map and git gpa history, on a repository after real pushes."""

from __future__ import annotations

import os
import pty
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest
from histories import History, HistorySpec
from oracle import git, packs
from running import gpa, gpa_any, gpa_json

HistoryFactory = Callable[[HistorySpec], History]


@pytest.fixture
def server(history: HistoryFactory) -> Path:
    repo = history(HistorySpec(pushes=12)).server
    git(repo, "config", "gpa.autoPages", "4")
    return repo


def test_the_map_shows_every_pack(server: Path, tmp_path: Path) -> None:
    assert "12 packs" in gpa(server, "map").stdout
    assert set(packs(server)) == {cell["name"] for cell in gpa_json(server, "map")["cells"]}
    target = tmp_path / "map.svg"
    assert f"wrote '{target}'\n" == gpa(server, "map", "-o", target).stdout
    root = ElementTree.fromstring(target.read_text())
    assert 12 == len(root.findall("{http://www.w3.org/2000/svg}g"))


def on_a_terminal(repo: Path, **env: str) -> bytes:
    ours, theirs = pty.openpty()
    command = ["git", "gpa", "map"]
    subprocess.run(command, cwd=repo, stdout=theirs, check=True, env={**os.environ, "TERM": "xterm", **env})
    os.close(theirs)
    said = b""
    try:
        while piece := os.read(ours, 65536):
            said += piece
    except OSError:  # the end, on Linux
        pass
    os.close(ours)
    return said


def test_the_map_is_in_colour_on_a_terminal_alone(server: Path) -> None:
    assert b"\x1b[" in on_a_terminal(server)
    assert b"\x1b[" not in on_a_terminal(server, NO_COLOR="1")
    assert b"\x1b[" not in on_a_terminal(server, TERM="dumb")
    assert "\x1b[" not in gpa(server, "map").stdout


def test_the_history_tells_of_each_run_that_did_something(server: Path, tmp_path: Path) -> None:
    assert "server: no run has been noted here yet\n" == gpa(server, "history").stdout
    assert [] == gpa_json(server, "history")["moments"]
    gpa(server, "run")
    gpa(server, "run")  # does nothing
    (moment,) = gpa_json(server, "history")["moments"]
    assert moment["written_bytes"] > 0
    assert moment["pushed_bytes"] > 0
    assert "1 run\n" in gpa(server, "history").stdout
    gpa(server, "history", "-o", tmp_path / "history.svg")
    ElementTree.fromstring((tmp_path / "history.svg").read_text())


def test_the_history_tells_of_a_run_with_nothing_to_do(server: Path, tmp_path: Path) -> None:
    gpa(server, "repack")
    assert "nothing to do" in gpa(server, "run").stdout
    gpa(server, "run")  # leaves all as it was
    (moment,) = gpa_json(server, "history")["moments"]
    assert 1 == moment["packs"]
    assert "server: 1 run\n" in gpa(server, "history").stdout
    gpa(server, "history", "-o", tmp_path / "history.svg")
    assert 3 == len(ElementTree.parse(tmp_path / "history.svg").findall("{http://www.w3.org/2000/svg}circle"))


def test_a_picture_has_the_name_of_the_repository_and_not_its_path(server: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", server, "my work")
    for repo, name in ((server, "server"), (tmp_path / "my work", "my work")):
        assert gpa(repo, "map").stdout.startswith(f"{name}: ")
        gpa(repo, "map", "-o", tmp_path / "map.svg")
        assert os.fspath(tmp_path) not in (tmp_path / "map.svg").read_text()


def test_pictures_of_an_empty_repository_say_so(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "new.git")
    assert "new.git: there are no packs\n" == gpa(tmp_path / "new.git", "map").stdout
    for verb in ("map", "history"):
        gpa(tmp_path / "new.git", verb, "-o", tmp_path / "new.svg")
        ElementTree.parse(tmp_path / "new.svg")


def test_lines_of_the_history_that_cannot_be_read_are_passed_over(server: Path) -> None:
    gpa(server, "run")
    with (server / "gpa" / "history").open("a") as file:
        file.write('{"at": 1e999}\nno json\n[]\n' + "[" * 5000 + "\n" + '{"at": -1, "packs": 1}\n')
    assert 1 == len(gpa_json(server, "history")["moments"])


def test_a_picture_that_cannot_be_written_is_one_clear_error(server: Path, tmp_path: Path) -> None:
    told = gpa_any(server, "map", "-o", tmp_path / "no" / "map.svg")
    assert 128 == told.returncode
    assert told.stderr.startswith("fatal: cannot access")
