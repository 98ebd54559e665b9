"""The tests that docs/promises.md and README.md refer to, and the files they link to, are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROMISES = (ROOT / "docs" / "promises.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/**/*.md")), ROOT / "tests" / "README.md"]


def test_promises_are_numbered_from_1_to_14() -> None:
    assert list(range(1, 15)) == [int(number) for number in re.findall(r"^## I(\d+) ", PROMISES, flags=re.M)]


@pytest.mark.parametrize("node", sorted(set(re.findall(r"`(tests/[\w/]+\.py::\w+)`", PROMISES))))
def test_a_test_that_the_promises_name_exists(node: str) -> None:
    path, _, name = node.partition("::")

    assert f"\ndef {name}(" in (ROOT / path).read_text()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())

    assert [] == [link for link in links if not (document.parent / link).exists()]
