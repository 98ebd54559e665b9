"""The file .gpa-data in the root of a branch: layout and rules for merging (docs/formats/data-branch.md)."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable

from ..base.tuples import NamedTuple
from ..errors import Corrupt, Unsupported
from .layout import SETTINGS

VERSION = "1"
WORDS = ("version", "layout", "serial", "epoch", "forgot")


class BranchSettings(NamedTuple):
    """What .gpa-data says.

    `serial` grows with each change of the file, and the greatest one wins a merge. `epoch` grows when history is
    forgotten; `forgot` are commits (hex) of the history that was, the newest first. `rules` are (glob, driver)
    pairs, of which the first that matches a key holds.
    """

    layout: str
    serial: int = 1
    epoch: int = 0
    forgot: tuple[str, ...] = ()
    rules: tuple[tuple[str, str], ...] = ()


def format_settings(settings: BranchSettings) -> bytes:
    lines = [f"version {VERSION}", f"layout {settings.layout}", f"serial {settings.serial}", f"epoch {settings.epoch}"]
    lines += [f"forgot {' '.join(settings.forgot)}"] if settings.forgot else []
    lines += [f"merge {glob} {driver}" for glob, driver in settings.rules]
    return "".join(f"{line}\n" for line in lines).encode()


def parse_settings(data: bytes) -> BranchSettings:
    """Return what the file says. Raises Corrupt, or Unsupported for another version and for unknown words."""
    values: dict[str, str] = {}
    rules: list[tuple[str, str]] = []
    for number, line in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        word, _, rest = line.partition(" ")
        if word == "merge" and (pair := re.fullmatch(r"(\S.*) (\S+)", rest)):
            rules.append((pair[1], pair[2]))
        elif word in WORDS and rest and word not in values:
            values[word] = rest
        elif word in (*WORDS, "merge"):
            raise Corrupt(SETTINGS, f"line {number} is '{line}'")
        else:
            raise Unsupported(f"'{SETTINGS}' has a line that is not known here: '{line}'")
    if values.get("version") != VERSION:
        raise Unsupported(f"'{SETTINGS}' has version '{values.get('version', '')}', expected {VERSION}")
    numbers = [values.get("serial", "1"), values.get("epoch", "0")]
    if "layout" not in values or not all(re.fullmatch(r"[0-9]{1,9}", text) for text in numbers):
        raise Corrupt(SETTINGS, "layout, serial or epoch is missing or no number")
    serial, epoch = map(int, numbers)
    return BranchSettings(values["layout"], serial, epoch, tuple(values.get("forgot", "").split()), tuple(rules))


def newest_settings(given: Iterable[BranchSettings]) -> BranchSettings:
    """Return the one with the greatest epoch and serial; of equal ones that with the greater text."""
    return max(given, key=lambda one: (one.epoch, one.serial, format_settings(one)))


class Rules:
    """Which driver merges a key."""

    def __init__(self, rules: Iterable[tuple[str, str]], default: str) -> None:
        self._rules = [(re.compile(fnmatch.translate(glob)), driver) for glob, driver in rules]
        self._default = default

    def driver(self, key: str) -> str:
        """Return the name of the driver of the first glob that matches."""
        for glob, driver in self._rules:
            if glob.match(key):
                return driver
        return self._default
