"""The examples of docs/from-paged-archive.md run, one after the other, in one program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from oracle import fsck, git_line

PAGE = Path(__file__).resolve().parents[2] / "docs" / "from-paged-archive.md"


def test_the_examples_run_and_leave_sound_repositories(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(example, str(PAGE), "exec"), names)
    said = capsys.readouterr().out.splitlines()
    assert [
        "[True]",
        "b'a document\\n' 3 objects",
        "b'a document\\n'",
        "3 objects imported, 0 findings",
        "('blob', b'a document\\n') 2 pages to carry away",
    ] == said
    assert "first" == git_line(tmp_path / "other.git", "log", "--format=%s", "main")
    fsck(tmp_path / "other.git")
    assert "first" == git_line(tmp_path / "repo.git", "log", "--format=%s", "main")
    fsck(tmp_path / "repo.git")
