"""The manual says what the program does: options and keys are compared with the code, both ways."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import gpa_maint
from gpa_maint import __version__
from gpa_maint.cli.main import VERBS, usage
from gpa_maint.repo import config

PAGE = Path(__file__).parents[2] / "docs" / "man" / "git-gpa.1"
SECTIONS = "NAME SYNOPSIS DESCRIPTION OPTIONS CONFIGURATION EXIT STATUS EXAMPLES FILES NOTES SEE ALSO"
OPTION = re.compile(r"(?<![\w-])--?[a-z][a-z-]*")
SCREEN_LINES, SCREEN_COLUMNS = 24, 96


def _parser(verb: str) -> argparse.ArgumentParser:
    made: argparse.ArgumentParser = importlib.import_module(f"gpa_maint.cli.{verb.replace('-', '_')}").parser().full()
    return made


def _section(title: str) -> list[str]:
    """The lines below `.SH title`, with roff's \\- as a hyphen and without fonts."""
    body = PAGE.read_text().split(f"\n.SH {title}\n")[1].split("\n.SH ")[0]
    return re.sub(r"\\f.", "", body.replace("\\-", "-")).splitlines()


def _tags(lines: list[str]) -> Iterator[str]:
    """What each .TP paragraph is about: the line after the macro, without its font macro."""
    for before, line in pairwise(lines):
        if before == ".TP":
            yield re.sub(r"^\.\w+ ", "", line)


def _documented_options(title: str) -> set[str]:
    """The options that are explained below `.SS title`."""
    text = "\n".join(_section("OPTIONS"))
    lines = re.split(rf"^\.SS {title}$", text, flags=re.M)[1].split("\n.SS ")[0].splitlines()
    return {option for tag in _tags(lines) for option in OPTION.findall(tag)}


def _synopsis(verb: str) -> str:
    text = " ".join(_section("SYNOPSIS"))
    return " ".join(part.split("git gpa")[0] for part in re.split(rf"git gpa {verb}(?![\w-])", text)[1:])


def test_the_manual_has_the_sections_of_a_git_manual_in_their_order() -> None:
    assert SECTIONS == " ".join(re.findall(r"^\.SH (.*)", PAGE.read_text(), flags=re.M))


def test_the_manual_names_the_version() -> None:
    assert f'"git\\-gpa {__version__}"' in PAGE.read_text()


@pytest.mark.parametrize("verb", VERBS)
def test_the_manual_explains_exactly_the_options_of(verb: str) -> None:
    explained = _documented_options("Every verb") | _documented_options(verb)
    if verb == "cat-file":
        explained.remove("--json")  # it answers as git does

    assert set(_parser(verb)._option_string_actions) == explained


@pytest.mark.parametrize("verb", VERBS)
def test_the_synopsis_names_only_options_of(verb: str) -> None:
    named = set(OPTION.findall(_synopsis(verb).replace("[no-]", "")))

    assert named <= set(_parser(verb)._option_string_actions)
    assert _documented_options(verb) - named <= {"--dry-run", "--no-bitmap", "--output"}


def test_the_manual_explains_exactly_the_verbs_there_are() -> None:
    explained = re.findall(r"^\.SS ([\w-]+)$", "\n".join(_section("OPTIONS")), flags=re.M)

    assert list(VERBS) == explained


def test_the_manual_names_the_codes_of_all_warnings() -> None:
    sources = "".join(path.read_text() for path in (Path(gpa_maint.__file__).parent).rglob("*.py"))
    text = "\n".join(_section("OPTIONS")).split("tells the kind:\n")[1].split("\n.SS")[0]

    assert sorted(set(re.findall(r'StatusWarning\("([a-z-]+)"', sources))) == re.findall(
        r"^\.BR ([a-z-]+)", text, flags=re.M
    )


def test_the_manual_explains_exactly_the_keys_there_are() -> None:
    assert [key for key, *_ in config.KEYS] == list(_tags(_section("CONFIGURATION")))


@pytest.mark.parametrize(("key", "default"), [(key, default) for key, _field, _kind, default, _meaning in config.KEYS])
def test_the_manual_says_the_default_of(key: str, default: str) -> None:
    paragraph = "\n".join(_section("CONFIGURATION")).split(f".B {key}\n")[1].split(".TP")[0]

    assert f"The default is {default}." in paragraph


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_one_screen(verb: str) -> None:
    lines = _parser(verb).format_help().splitlines()

    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= SCREEN_COLUMNS


def test_the_list_of_verbs_fits_one_screen() -> None:
    lines = usage().splitlines()

    assert len(lines) <= SCREEN_LINES
    assert max(map(len, lines)) <= SCREEN_COLUMNS
