"""The examples of docs/writing-from-python.md run, one after the other, in one program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from histories import HistorySpec, pushed_history
from oracle import fsck, git, git_line

pytest.importorskip("dulwich.porcelain")  # it keeps the stderr of its first import, which a test's own is not for long
PAGE = Path(__file__).resolve().parents[2] / "docs" / "writing-from-python.md"


def test_the_examples_run_and_leave_a_sound_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed_history(tmp_path / "history", HistorySpec(pushes=5)).server.rename(tmp_path / "repo.git")
    git(tmp_path / "repo.git", "symbolic-ref", "HEAD", "refs/heads/main")
    git(tmp_path, "clone", "-q", "repo.git", "work")
    git(tmp_path / "work", "config", "user.name", "A")
    git(tmp_path / "work", "config", "user.email", "a@example.com")
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
    assert "by dulwich" == git_line(tmp_path / "repo.git", "log", "-1", "--format=%s", "dulwich")
    assert "changed" == git_line(tmp_path / "work", "show", "HEAD:new")
    for objects in (tmp_path / "repo.git" / "objects", tmp_path / "work" / ".git" / "objects"):
        assert [] == [path for path in objects.glob("??/*") if path.is_file()]
    fsck(tmp_path / "work")
