"""The options of a verb: plain ones are read here, and argparse reads all others.

The import of argparse and its parser cost a tenth of a command's start. Scripts and hooks write plain options: spelled
out, each one word. argparse handles help, mistakes, abbreviations and operands.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from gpa_maint.base.tuples import NamedTuple
from gpa_maint.cli.streams import put, tell

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any, NoReturn

USAGE_STATUS = 129

Namespace = SimpleNamespace
"""The values of the options, by name."""

NOT_PLAIN = frozenset(("nargs", "choices", "required", "excludes"))
"""Keywords of options that only argparse can read."""


class _Plain(NamedTuple):
    """An option: the name of its value, and the value itself, or, for `<option>=<text>`, the conversion of the text."""

    target: str
    value: object = None
    convert: Callable[[str], object] | None = None


class Parser:
    """Options are declared as for argparse, and kept until it is known who reads them."""

    def __init__(self, prog: str, description: str) -> None:
        self._prog = prog
        self._description = description
        self._declared: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        self._plain: dict[str, _Plain] = {}
        self._defaults: dict[str, object] = {}
        self._is_plain = True

    def add_argument(self, *names: str, **how: Any) -> None:
        """Add an argument, as argparse does.

        In addition: `action="switch"` for --[no-]<name>; `excludes`, the same word for options of which only one may be
        given; `type`, whose ValueError is the message.
        """
        self._declared.append((names, how))
        if NOT_PLAIN & how.keys() or not names[-1].startswith("-"):
            self._is_plain = False
            return
        target = names[-1].lstrip("-").replace("-", "_")
        action = how.get("action")
        self._defaults[target] = how.get("default", False if action == "store_true" else None)
        if action is None:
            self._plain[names[-1]] = _Plain(target, convert=how.get("type", str))
            return
        for name in names:
            self._plain[name] = _Plain(target, value=True)
        if action == "switch":
            self._plain[f"--no-{names[-1][2:]}"] = _Plain(target, value=False)

    def parse_args(self, words: list[str]) -> Namespace:
        """Return the values by name. End the program for help and after a mistake, as argparse does."""
        return self._read_plain(words) or self.full().parse_args(words, Namespace())

    def _read_plain(self, words: list[str]) -> Namespace | None:
        """Return the values; None if not all words are plain options."""
        if not self._is_plain:
            return None
        values = dict(self._defaults)
        for word in words:
            name, equals, text = word.partition("=")
            option = self._plain.get(name)
            if option is None or bool(equals) != bool(option.convert):
                return None
            try:
                values[option.target] = option.convert(text) if option.convert else option.value
            except ValueError:
                return None
        return Namespace(**values)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the options, and end with git's status for it."""
        self.full().error(message)

    def full(self) -> ArgumentParser:
        """Return an argparse parser with the same arguments."""
        import argparse

        class Git(argparse.ArgumentParser):
            """Usage errors end with git's status 129."""

            def error(self, message: str) -> NoReturn:
                tell(f"error: {message}\n{self.format_usage().rstrip()}")
                raise SystemExit(USAGE_STATUS)

        class Help(argparse.Action):
            """-h prints one screen, and ends with 129 too."""

            def __call__(self, parser: ArgumentParser, *_: object) -> NoReturn:
                put(parser.format_help().removesuffix("\n"))
                raise SystemExit(USAGE_STATUS)

        def layout(prog: str) -> argparse.HelpFormatter:
            return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=96)

        made = Git(prog=self._prog, description=self._description, add_help=False, formatter_class=layout)
        made.add_argument("-h", nargs=0, action=Help, default=argparse.SUPPRESS, help="show this")
        groups: dict[str, Any] = {}
        for names, how in self._declared:
            settings = dict(how)
            word = settings.pop("excludes", "")
            if word and word not in groups:
                groups[word] = made.add_mutually_exclusive_group()
            if settings.get("action") == "switch":
                settings["action"] = argparse.BooleanOptionalAction
            if "type" in settings:
                settings["type"] = _telling(settings["type"])
            groups.get(word, made).add_argument(*names, **settings)
        return made


def _telling(convert: Callable[[str], object]) -> Callable[[str], object]:
    """Wrap a conversion for argparse, which shows a message only if it is an error of its own class."""
    from argparse import ArgumentTypeError

    def converted(text: str) -> object:
        try:
            return convert(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return converted


def new_parser(verb: str, description: str) -> Parser:
    """Return a parser with the options that every verb has."""
    parser = Parser(f"git gpa {verb}", description)
    parser.add_argument(
        "--object-dir", metavar="<dir>", help="the repository's object directory, or one of its alternates"
    )
    parser.add_argument("--progress", action="switch", help="show progress (default: on a terminal)")
    parser.add_argument("-q", "--quiet", action="store_true", help="no summary line, no progress")
    return parser
