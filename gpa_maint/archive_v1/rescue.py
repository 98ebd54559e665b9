"""Find git objects in bytes that no entry names: those of a writer that was killed before it saved.

Values lie back to back, each a type and a content, without a length and without a key. So all bytes from one place
that may be a type to another are hashed, and those are objects whose id somebody names: a ref, a sound object of the
archive, or an object that was found in this way. Commits and tags that nobody names are known by their form alone. That
does not prove each of their bytes: they are taken only when it is asked for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Literal

from .._core.v1 import BEHIND, TYPE_SIZE, Entry
from ..base.tuples import NamedTuple

KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
Order = Literal["little", "big"]
TYPE_PATTERNS: dict[Order, re.Pattern[bytes]] = {
    "little": re.compile(rb"(?=[\1-\4]\0\0\0)"),
    "big": re.compile(rb"(?=\0\0\0[\1-\4])"),
}
COMMIT = re.compile(rb"tree ([0-9a-f]{40})\n((?:parent [0-9a-f]{40}\n)*)author [^\0\n]*\ncommitter [^\0\n]*\n[^\0]*")
TAG = re.compile(rb"object ([0-9a-f]{40})\ntype (?:commit|tree|blob|tag)\ntag [^\0\n]+\n[^\0]*")

MOST_STARTS = 100_000
MOST_ENDS = 64
"""Largest number of ends tried for a value; with more, random bytes that look like a type would cost too much."""
HASHED_LEAST = 64 << 20
HASHED_TIMES = 16
"""How many bytes are hashed at most: so many times those that are searched, and at least the other."""


class Gap(NamedTuple):
    """Bytes of a page's data, from `start` to `end`, that no entry names. It holds whole values."""

    page: int
    start: int
    end: int


class _Piece(NamedTuple):
    """Bytes that are an object of some id, if they are one. `is_root`: they have the form of a commit or a tag."""

    entry: Entry
    content: memoryview
    is_root: bool


class Rescued(NamedTuple):
    """Objects that were found, each once, and all the bytes that are such objects, without overlap."""

    entries: tuple[Entry, ...]
    spans: tuple[Gap, ...]


def rescue_objects(
    gaps: Iterable[tuple[Gap, memoryview]],
    named: Callable[[Collection[bytes]], Iterable[bytes]],
    *,
    unnamed: bool,
) -> Rescued:
    """Return the objects in the gaps. `named` takes ids and returns those that some object names.

    With `unnamed` also commits and tags that nobody names, and what they reach.
    """
    pieces: dict[bytes, list[_Piece]] = {}
    for gap, content in gaps:
        for order in TYPE_PATTERNS:
            for piece in _pieces(gap, content, order):
                pieces.setdefault(piece.entry.key, []).append(piece)
    waiting = list(named(pieces.keys())) if pieces else []
    if unnamed:
        waiting += [key for key, places in pieces.items() if any(piece.is_root for piece in places)]
    found: dict[bytes, Entry] = {}
    while waiting:
        key = waiting.pop()
        if key in found or key not in pieces:
            continue
        piece = pieces[key][0]
        found[key] = piece.entry
        waiting += references(piece.entry.type, bytes(piece.content))
    entries = tuple(sorted(found.values(), key=lambda entry: (entry.page, entry.offset)))
    return Rescued(entries, _spans(piece.entry for key in found for piece in pieces[key]))


def _spans(entries: Iterable[Entry]) -> tuple[Gap, ...]:
    """Return the number of bytes of the entries; an object may be inside another one, or stored several times."""
    spans: list[Gap] = []
    for page, start, end in sorted((entry.page, entry.offset, entry.offset + entry.size) for entry in entries):
        if spans and spans[-1].page == page and start < spans[-1].end:
            spans[-1] = Gap(page, spans[-1].start, max(end, spans[-1].end))
        else:
            spans.append(Gap(page, start, end))
    return tuple(spans)


def _pieces(gap: Gap, content: memoryview, order: Order) -> Iterator[_Piece]:
    """All that might be an object, within the limits above."""
    starts = [match.start() for match in TYPE_PATTERNS[order].finditer(content)]
    if not starts or starts[0] != 0 or len(starts) > MOST_STARTS:
        return
    ends = [*starts[1:], len(content)]
    left = max(HASHED_LEAST, HASHED_TIMES * len(content))
    for number, start in enumerate(starts):
        kind = KINDS[int.from_bytes(content[start : start + TYPE_SIZE], order)]
        for end in ends[number : number + MOST_ENDS]:
            if end < start + TYPE_SIZE:
                continue
            left -= end - start
            if left < 0:
                return
            yield _piece(gap, kind, start, content[start + TYPE_SIZE : end], is_last=end == len(content))


def _piece(gap: Gap, kind: str, start: int, content: memoryview, *, is_last: bool) -> _Piece:
    digest = hashlib.sha1(b"%b %d\0" % (kind.encode(), len(content)), usedforsecurity=False)
    digest.update(content)
    entry = Entry(digest.digest(), gap.page, BEHIND, gap.start + start, TYPE_SIZE + len(content), kind, "", True)
    form = {"commit": COMMIT, "tag": TAG}.get(kind)
    # The last one may have been cut short: only the end of a line says that it was not.
    is_whole = not is_last or bytes(content[-1:]) == b"\n"
    return _Piece(entry, content, form is not None and is_whole and form.fullmatch(content) is not None)


def references(kind: str, content: bytes) -> list[bytes]:
    """Return the raw ids that an object names; none if it is malformed."""
    if kind == "commit":
        found = COMMIT.fullmatch(content)
        names = [found[1], *found[2].split()[1::2]] if found else []
        return [bytes.fromhex(name.decode()) for name in names]
    if kind == "tag":
        found = TAG.fullmatch(content)
        return [bytes.fromhex(found[1].decode())] if found else []
    return list(_tree_ids(content)) if kind == "tree" else []


def _tree_ids(content: bytes) -> Iterator[bytes]:
    at = 0
    while True:
        at = content.find(b"\0", at) + 1
        if not at or at + 20 > len(content):
            return
        yield content[at : at + 20]
        at += 20
