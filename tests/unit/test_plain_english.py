"""Phrases that make a reader stop, with the plain words to use instead: in docstrings, comments, README and docs.

ruff's D rules see to the form of docstrings. These phrases no rule of ruff knows. csrc has a list of its own
(test_csrc_rooms.py).
"""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PHRASES = {
    r"\b(is|are|was|were) told of\b": "is reported",
    r"\bwhoever\b": "the caller, the process, the program, the user",
    r"\blets? go of\b": "releases",
    r"\bmakes? young\b|\bmade young\b": "sets the mtime to now",
    r"\bha(s|ve) not the\b": "does not have the",
    r"\bbut for\b": "except",
    r"\bof theirs\b": "their",
    r"\bhands? on\b": "passes",
    r"\bby way of\b": "through",
    r"\bamiss\b": "wrong, a problem",
    r"\bshall\b": "must, should, will",
    r"\bpass(ed|es)? over\b": "skips, ignores",
    r"\btakes? back what\b": "undoes",
    r"\bwhat is there\b": "the existing files, the current state",
    r"\bthe same without\b": "the noun that it means",
    r"^gives\b|\. Gives\b": "returns",
    r"\bwith an owner more\b": "with one more owner",
}
PATTERN = re.compile("|".join(f"(?P<p{number}>{phrase})" for number, phrase in enumerate(PHRASES)), re.IGNORECASE)


def texts_of_python(path: Path) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        text = token.string.lstrip("rR")
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and text.startswith('"""')):
            for number, line in enumerate(token.string.split("\n")):
                yield token.start[0] + number, line.strip().lstrip('#"').strip()


def texts_of_markdown(path: Path) -> Iterator[tuple[int, str]]:
    in_code = False
    for number, line in enumerate(path.read_text().split("\n"), 1):
        in_code ^= line.startswith("```")
        if not in_code and not line.startswith("    "):
            yield number, line.strip()


def complaints(path: Path, texts: Iterator[tuple[int, str]]) -> Iterator[str]:
    for number, text in texts:
        for match in PATTERN.finditer(text):
            better = list(PHRASES.values())[int(str(match.lastgroup)[1:])]
            yield f"{path.name}:{number}: '{match[0]}': say {better}"


@pytest.mark.parametrize("folder", sorted(path.name for path in (ROOT / "gpa_maint").iterdir() if path.is_dir()))
def test_docstrings_and_comments_are_in_plain_english(folder: str) -> None:
    files = sorted((ROOT / "gpa_maint" / folder).rglob("*.py"))
    assert [] == [line for path in files for line in complaints(path, texts_of_python(path))]


def test_documents_are_in_plain_english() -> None:
    files = [ROOT / "README.md", ROOT / "tests" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    assert 15 < len(files)
    assert [] == [line for path in files for line in complaints(path, texts_of_markdown(path))]


def test_each_phrase_is_found() -> None:
    found = ["it is told of.", "whoever", "lets go of", "made young", "has not the", "but for", "of theirs", "hands on"]
    found += ["by way of", "amiss", "shall", "passed over", "takes back what", "what is there", "The same without"]
    found += ["Gives it.", "with an owner more"]
    assert len(PHRASES) == len(found)
    assert found == [text for text in found if PATTERN.search(text)]
