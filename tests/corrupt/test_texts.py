"""Texts that are read from a repository: whatever is in them, the answer is a value or one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest
import texts

CHANGES = 200


@pytest.mark.parametrize("target", texts.TARGETS)
def test_a_changed_text_is_read_or_refused(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    changes = CHANGES // 10 if target == "objects" else CHANGES
    assert (changes + 1) * len(texts.CORPUS[target]) == texts.fuzz(target, texts.Place(tmp_path), changes, 1)
