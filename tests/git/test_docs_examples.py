"""The examples of docs/reading-from-python.md run, one after the other, in one program."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from histories import HistorySpec, pushed_history
from oracle import git, git_line

pytest.importorskip("dulwich.porcelain")  # it keeps the stderr of its first import, which a test's own is not for long
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reading-from-python.md"
NEEDED = {"libgit2": "gpa_maint.integrations.libgit2"}
"""a word in an example, and the module that has to be there to run it"""


def examples() -> list[str]:
    """The blocks of Python, each padded so that its line numbers are those of the page."""
    text = PAGE.read_text()
    return [
        "\n" * text.count("\n", 0, found.start(1)) + found[1]
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A bare repository `repo.git`, and a clone `work`."""
    history = pushed_history(tmp_path / "history", HistorySpec(kind="tree", pushes=12))
    history.server.rename(tmp_path / "repo.git")
    git(tmp_path / "repo.git", "symbolic-ref", "HEAD", "refs/heads/main")
    git(tmp_path, "clone", "-q", "repo.git", "work")
    monkeypatch.chdir(tmp_path)
    yield tmp_path


def test_the_examples_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those for a module that is not there are left out. The abbreviated id is one of the repository."""
    blob = git_line(folder / "repo.git", "rev-parse", git_line(folder / "work", "ls-files", "-s").split()[1])
    names: dict[str, object] = {}
    for example in examples():
        if all(importlib.util.find_spec(module) for word, module in NEEDED.items() if word in example):
            source = example.replace("1c0a4e7b", blob[:8])
            exec(compile(source, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    assert blob in said
    assert git_line(folder / "work", "rev-parse", "HEAD") in said
    assert "no object 0123456789abcdef0123456789abcdef01234567" in said


def test_every_section_has_an_example_that_compiles() -> None:
    for section in PAGE.read_text().split("\n## ")[1:-1]:
        assert "```python\n" in section, section.splitlines()[0]
    for example in examples():
        compile(example, str(PAGE), "exec")
