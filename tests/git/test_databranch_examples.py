"""The tutorial of docs/data-branch.md runs, one example after the other, in one program."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from oracle import fsck, git_line

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data-branch.md"


def test_the_tutorial_runs_and_both_machines_agree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    tutorial = PAGE.read_text().partition("\n## Tutorial")[2].partition("\n## Changing")[0]
    for example in re.findall(r"^```python\n(.*?)^```$", tutorial, re.MULTILINE | re.DOTALL):
        exec(compile(example, str(PAGE), "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert '{"mail": "ann@example.com", "name": "Ann", "phone": "2"}' == lines[0]
    assert " ['people/ann'] True" == lines[1]
    assert [["None"], ['b\'{"name":', '"Bob"}\\n\'']] == [line.split()[1:] for line in lines[2:4]]
    assert "None []" == lines[4]
    heads = {git_line(tmp_path / name, "rev-parse", "meta") for name in ("server.git", "laptop", "desk")}
    assert 1 == len(heads)
    fsck(tmp_path / "server.git")
