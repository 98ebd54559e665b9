"""Code that all verbs share: values of options, sizes and counts in words, progress on the terminal."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from gpa_maint.base.text import count_of, human_size, one_line, printable
from gpa_maint.cli.parser import Namespace
from gpa_maint.cli.streams import flush_answers, put, tell
from gpa_maint.repo.config import BadValue, parse_size, parse_time

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import IO, Any


def size_option(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError:
        raise ValueError("expects a non-negative integer value with an optional k/m/g suffix") from None


def count_option(text: str) -> int:
    number = size_option(text)
    if not 1 <= number < 1 << 31:
        raise ValueError("expects a number from 1 to 2147483647")
    return number


def time_option(text: str) -> int:
    try:
        return parse_time(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a time such as now, 90.minutes or 2.weeks") from None


def when(second: int) -> str:
    """Return a second since 1970 as local date and time."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
    except (OverflowError, ValueError, OSError):  # a time beyond the calendar
        return f"second {second}"


def say(args: Namespace, line: str) -> None:
    """Print the answer of a command: one line on standard output."""
    if not args.quiet:
        put(line)


def warn(line: str) -> None:
    tell(f"warning: {line}")


def complain(line: str) -> None:
    tell(f"error: {line}")


def hint(line: str) -> None:
    tell(f"hint: {line}")


class _Screen:
    """Standard error for tqdm. tqdm begins a line with a carriage return; this ends it with one, as git does.

    So earlier output stays, and a file has no empty first line.
    """

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):  # its reader is gone
            self._file.write(f"{text[1:]}\r" if text.startswith("\r") else text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def bar_place() -> dict[str, Any]:
    """Return the stream and the width for tqdm: the terminal's current width, or 80 columns if it is unknown."""
    has_width = True
    with suppress(OSError):
        has_width = not sys.stderr.isatty() or os.get_terminal_size(sys.stderr.fileno()).columns > 0
    return {"file": _Screen(sys.stderr), **({"dynamic_ncols": True} if has_width else {"ncols": 80})}


def complain_of(complaints: Iterable[str]) -> int:
    """Print which files could not be used, and return the exit status for it."""
    status = 0
    for line in complaints:
        complain(f"left as it is: {line}")
        status = 1
    return status


@contextmanager
def progress(args: Namespace) -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield a report function that draws a bar on stderr, or None if progress is off."""
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
            unit = f" {title.split()[-1]}"  # the last word is the unit
            bars[title] = tqdm(total=total, desc=title, unit=unit, **bar_place())
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
    "complain_of",
    "count_of",
    "count_option",
    "flush_answers",
    "hint",
    "human_size",
    "one_line",
    "printable",
    "progress",
    "put",
    "say",
    "size_option",
    "tell",
    "time_option",
    "warn",
    "when",
]
