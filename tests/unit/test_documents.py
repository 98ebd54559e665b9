"""What the documents say of verbs and options is true: each `git gpa ...` in them can be parsed."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from gpa_maint.cli.main import VERBS
from gpa_maint.repo import config

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
KEYS = {key for key, *_ in config.KEYS}


def commands(text: str) -> list[str]:
    """What follows `git gpa` in code, to the end of the code or of the line."""
    inline = re.findall(r"`git gpa ([^`]+)`", text)
    blocks = re.findall(r"^(?: {4}|\$ ).*?git (?:-C \S+ )?gpa ([^\n#&|]+)", text, flags=re.M)
    return [found.strip() for found in inline + blocks]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_names_a_verb_and_options_that_there_are(document: Path) -> None:
    for command in commands(document.read_text()):
        verb, *options = shlex.split(command)
        if verb.startswith("-") or verb == "<verb>":
            continue
        assert verb in VERBS, command
        known = (
            importlib.import_module(f"gpa_maint.cli.{verb.replace('-', '_')}").parser().full()._option_string_actions
        )
        for option in options:
            name = option.partition("=")[0]
            assert not name.startswith("-") or name in known, command


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_is_one_that_there_is(document: Path) -> None:
    named = set(re.findall(r"`(gpa\.[a-z][A-Za-z]+)`", document.read_text()))
    assert named <= KEYS


def test_there_is_a_command_to_check_in_most_of_them() -> None:
    assert 8 < sum(bool(commands(document.read_text())) for document in DOCUMENTS)
