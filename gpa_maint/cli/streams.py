"""The standard streams: the one way by which answers, warnings and errors leave the program.

Nothing that is printed steers a terminal, no character fails because the stream cannot encode it, and a stream that was
closed is replaced by /dev/null, as git does. What cannot be said on standard error is lost; an answer that cannot be
written is an error.
"""

from __future__ import annotations

import codecs
import os
import sys
from contextlib import suppress

from gpa_maint.base.text import printable
from gpa_maint.errors import SystemFailed

SUBSTITUTES = "gpa-substitutes"
"""The name under which substituted() is known to codecs."""

INSTEAD = {"\u2192": "->", "\u2026": "...", "\u2013": "-", "\u00d7": "x"}
"""Arrow, ellipsis, dash, times."""


def prepare_streams() -> None:
    """Open /dev/null in the place of each standard stream that is closed, and let the others encode any character.

    To be called before any other file is opened: that would get the number of a closed stream.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number
            os.set_inheritable(number, True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115 - Python has not opened it
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    codecs.register_error(SUBSTITUTES, substituted)
    for stream, errors in ((sys.stdin, "surrogateescape"), (sys.stdout, SUBSTITUTES), (sys.stderr, SUBSTITUTES)):
        stream.reconfigure(errors=errors)  # type: ignore[union-attr]


def substituted(error: UnicodeError) -> tuple[str, int]:
    """For codecs: characters that the encoding does not have, in ASCII; letters become bytes, as git quotes them."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_as_ascii, error.object[error.start : error.end])), error.end


def _as_ascii(char: str) -> str:
    if char in INSTEAD:
        return INSTEAD[char]
    if "\udc80" <= char <= "\udcff":
        return printable(char)
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogatepass"))


def put(text: str, *, exact: bool = False) -> None:
    """Write lines of an answer to standard output. Control characters are shown as git quotes them.

    `exact`: write the text as it is: JSON, or a picture that has colours.
    """
    with _Writing():
        print(text if exact else printable(text))


def flush_answers() -> None:
    """SystemFailed when what was put cannot be written; BrokenPipeError when nobody reads it any more."""
    with _Writing():
        sys.stdout.flush()


def tell(text: str) -> None:
    """Write lines to standard error, after the answers so far. What cannot be written is lost."""
    with suppress(OSError):  # the end of the command tells
        sys.stdout.flush()
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


class _Writing:
    """What fails in here becomes an error that names standard output."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            number = error.errno or 0
            message = f"cannot write standard output: {os.strerror(number)}"
            raise SystemFailed(message, path="standard output", errno=number) from None
