"""The examples of docs/writing-from-python.md run, one after the other, in one program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from histories import HistorySpec, pushed_history
from oracle import fsck, git, git_line

PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-from-python.md"


def test_the_examples_run_and_leave_a_sound_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed_history(tmp_path / "history", HistorySpec(pushes=5)).server.rename(tmp_path / "repo.git")
    git(tmp_path / "repo.git", "symbolic-ref", "HEAD", "refs/heads/main")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        exec(compile(example, str(PAGE), "exec"), names)
    said = capsys.readouterr().out
    assert "1000 blobs, 21 bytes" in said
    assert said.endswith("commit restored\n")
    for repo in (tmp_path / "repo.git", tmp_path / "restored.git"):
        fsck(repo)
        assert "changed" == git_line(repo, "cat-file", "-p", "documents:two")
        assert 2 == len(git(repo, "rev-list", "documents").stdout.split())
    assert [] == [path for path in (tmp_path / "repo.git" / "objects").glob("??/*") if path.is_file()]
