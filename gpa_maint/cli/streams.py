"""The standard streams: all answers, warnings and errors go through this module.

No output controls a terminal, no character fails because the stream cannot encode it, and a closed stream is replaced
by /dev/null, as in git. A message that cannot be written to standard error is lost; an answer that cannot be written is
an error.
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
    """Replace each closed standard stream by /dev/null, and let the others encode any character.

    Call it before any other file is opened, which would get the number of a closed stream.
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
    """Error handler for codecs: replace characters that the encoding lacks by ASCII; letters are quoted as git does."""
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
    """Flush the answer. Raise SystemFailed if it cannot be written, BrokenPipeError if its reader is gone."""
    with _Writing():
        sys.stdout.flush()


def tell(text: str) -> None:
    """Write lines to standard error, after the answers so far. What cannot be written is lost."""
    with suppress(OSError):  # the end of the command tells
        sys.stdout.flush()
    with suppress(OSError):
        print(printable(text), file=sys.stderr, flush=True)


class _Writing:
    """Turn an error of the block into one that names standard output."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            number = error.errno or 0
            message = f"cannot write standard output: {os.strerror(number)}"
            raise SystemFailed(message, path="standard output", errno=number) from None
