"""What the verbs share: options, sizes and counts as words, progress on the terminal."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from gpa_maint.config import BadValue, parse_size, parse_time
from gpa_maint.words import count_of, human_size, printable

USAGE_STATUS = 129


class Parser(argparse.ArgumentParser):
    """Usage errors end with git's status 129, and -h prints one screen and ends with it too."""

    def error(self, message: str) -> NoReturn:
        print(f"error: {message}", file=sys.stderr)
        self.print_usage(sys.stderr)
        raise SystemExit(USAGE_STATUS)


class _Help(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        parser.print_help()
        raise SystemExit(USAGE_STATUS)


def new_parser(verb: str, description: str) -> Parser:
    """A parser with the options that every verb has."""
    formatter = lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=96)  # noqa: E731
    parser = Parser(prog=f"git gpa {verb}", description=description, add_help=False, formatter_class=formatter)
    parser.add_argument("-h", nargs=0, action=_Help, help="show this")
    parser.add_argument(
        "--object-dir", metavar="<dir>", help="the repository's object directory, or one of its alternates"
    )
    parser.add_argument(
        "--progress", action=argparse.BooleanOptionalAction, default=None, help="show progress (default: on a terminal)"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no summary line, no progress")
    return parser


def size_option(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError:
        raise argparse.ArgumentTypeError("expects a non-negative integer value with an optional k/m/g suffix") from None


def count_option(text: str) -> int:
    number = size_option(text)
    if not 1 <= number < 1 << 31:
        raise argparse.ArgumentTypeError("expects a number from 1 to 2147483647")
    return number


def time_option(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a time such as now, 90.minutes or 2.weeks") from None


def when(second: int) -> str:
    """A second since 1970 as date and time of day here."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
    except (OverflowError, ValueError, OSError):  # a time that no calendar has
        return f"second {second}"


def say(args: argparse.Namespace, line: str) -> None:
    """The answer of a command: one line on standard output."""
    if not args.quiet:
        print(printable(line))


def warn(line: str) -> None:
    print(f"warning: {printable(line)}", file=sys.stderr)


def complain(line: str) -> None:
    print(f"error: {printable(line)}", file=sys.stderr)


@contextmanager
def progress(args: argparse.Namespace) -> Iterator[Callable[[str, int, int], None] | None]:
    """A report function that draws a bar on stderr, or None when there shall be no progress."""
    wanted = sys.stderr.isatty() if args.progress is None else args.progress
    if not wanted or args.quiet:
        yield None
        return
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def report(title: str, done: int, total: int) -> None:
        if title not in bars:
            for bar in bars.values():
                bar.close()
            unit = f" {title.split()[-1]}"  # the last word says what is counted
            bars[title] = tqdm(total=total, desc=title, unit=unit, file=sys.stderr, dynamic_ncols=True)
        bar = bars[title]
        bar.total = total
        bar.update(done - bar.n)

    try:
        yield report
    finally:
        for bar in bars.values():
            bar.close()


__all__ = [
    "BadValue",
    "complain",
    "count_of",
    "count_option",
    "human_size",
    "new_parser",
    "printable",
    "progress",
    "say",
    "size_option",
    "time_option",
    "warn",
    "when",
]
