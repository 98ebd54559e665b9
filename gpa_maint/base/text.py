"""Sizes and counts as words, as git prints them."""

from __future__ import annotations


def human_size(count: int) -> str:
    """Return a number of bytes as git prints it: 4.10 MiB."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit:
            return f"{count / unit:.2f} {name}"
    return f"{count} bytes"


CONTROLS = {
    **{code: f"\\{code:03o}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"},
    # bytes of a name that is not UTF-8, as os.fsdecode() returns them
    **{0xDC00 + byte: f"\\{byte:03o}" for byte in range(128, 256)},
}


def printable(text: str) -> str:
    r"""Return lines in which control characters are quoted as git does, \033, so that no text controls a terminal.

    Bytes that are not UTF-8 are quoted too.
    """
    return text.translate(CONTROLS)


def one_line(text: str) -> str:
    """Return text as printable() does, and quote newlines and tabs too: for a name within a line."""
    return printable(text).replace("\n", "\\012").replace("\t", "\\011")


def count_of(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
