"""How two values of a key become one: pure functions of (base, older, newer), the same in every clone.

`older` is the value of the side with the older newest commit, so a driver may prefer one side and every clone
prefers the same one. `base` is None where both sides added the key. A result is canonical: merging it with itself
changes nothing. Deleted keys never come here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from ..base.arguments import checked
from ..errors import Unsupported

Driver = Callable[["bytes | None", bytes, bytes], bytes]

ENTRY_POINTS = "gpa_maint.merge_drivers"
DEFAULT = "latest"
STAMP = re.compile(rb"([0-9]{1,18})(?:\.([0-9]{1,9}))?s")
DAY_NS = 86_400 * 1_000_000_000


def latest(base: bytes | None, older: bytes, newer: bytes) -> bytes:
    """Return the value of the side with the newer commit."""
    return newer


def union(base: bytes | None, older: bytes, newer: bytes) -> bytes:
    """Return the lines of both sides, sorted, each once; a line that one side removed stays."""
    return _joined(_lines(older) | _lines(newer))


def merge_set(base: bytes | None, older: bytes, newer: bytes) -> bytes:
    """Return the lines of both sides without those that one side removed; a line added by one side stays."""
    before, one, other = _lines(base or b""), _lines(older), _lines(newer)
    return _joined((one & other) | ((one | other) - before))


def presence(base: bytes | None, older: bytes, newer: bytes) -> bytes:
    """Return git-annex's location log of both: the newest line `<time>s <status> <id>` for each id."""
    return _newest_lines(older + b"\n" + newer, 2)


def newest(base: bytes | None, older: bytes, newer: bytes) -> bytes:
    """Return the newest line `<time>s <id> <rest>` for each id."""
    return _newest_lines(older + b"\n" + newer, 1)


def counter(base: bytes | None, older: bytes, newer: bytes) -> bytes:
    """Return the greatest counts of each writer, lines `<writer> <added> <taken>`. counter_value() is their sum."""
    counts = counts_of(older)
    for writer, (plus, minus) in counts_of(newer).items():
        before = counts.get(writer, (0, 0))
        counts[writer] = (max(plus, before[0]), max(minus, before[1]))
    return format_counts(counts)


def merge_json(base: bytes | None, older: bytes, newer: bytes) -> bytes:
    """Merge JSON objects field by field; where both sides changed one, the newer commit's value holds.

    A value that is no JSON is taken whole from the newer side.
    """
    try:
        one, other = json.loads(older), json.loads(newer)
        before = json.loads(base) if base is not None else None
    except (ValueError, RecursionError):
        return newer
    return json.dumps(_merge_fields(before, one, other), sort_keys=True, ensure_ascii=False).encode() + b"\n"


def _merge_fields(base: Any, older: Any, newer: Any) -> Any:
    if not (isinstance(older, dict) and isinstance(newer, dict)):
        return older if base is not None and newer == base else newer
    before = base if isinstance(base, dict) else {}
    merged = {}
    for name in {**older, **newer}:
        was, one, other = (side.get(name, _ABSENT) for side in (before, older, newer))
        if one == other or other == was:
            value = one
        elif one == was:
            value = other
        elif one is _ABSENT or other is _ABSENT:  # one side changed what the other one deleted
            value = other if one is _ABSENT else one
        else:
            value = _merge_fields(None if was is _ABSENT else was, one, other)
        if value is not _ABSENT:
            merged[name] = value
    return merged


_ABSENT: Any = object()

BUILT_IN: dict[str, Driver] = {
    "latest": latest,
    "union": union,
    "set": merge_set,
    "presence": presence,
    "newest": newest,
    "counter": counter,
    "json": merge_json,
}


def driver_named(name: str) -> Driver:
    """Return a driver by its name: one of these, or an entry point of the group gpa_maint.merge_drivers.

    Raises Unsupported if this installation has none of that name. Then nothing is merged, because another rule here
    than elsewhere would make the clones differ for ever.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    for found in entry_points(group=ENTRY_POINTS, name=name):
        driver: Driver = found.load()
        return driver
    raise Unsupported(
        f"the branch names the merge driver '{name}', which is not installed here",
        hint=f"install the package that has it as an entry point of '{ENTRY_POINTS}'",
    )


# ---- lines ----


def _lines(data: bytes) -> set[bytes]:
    return {line for line in data.split(b"\n") if line}


def _joined(lines: set[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in sorted(lines))


def stamp_ns(word: bytes) -> int | None:
    """Return the nanoseconds of a timestamp such as `1796070180.98299689s`; None if it is none."""
    found = STAMP.fullmatch(word)
    return int(found[1]) * 1_000_000_000 + int((found[2] or b"").ljust(9, b"0")) if found else None


def format_stamp(ns: int) -> bytes:
    seconds, rest = divmod(ns, 1_000_000_000)
    return f"{seconds}.{rest:09d}".rstrip("0").rstrip(".").encode() + b"s"


def _newest_lines(data: bytes, place: int) -> bytes:
    """Return the newest line of each id, which is the word at `place`; sorted by id, malformed lines after them."""
    kept: dict[bytes, tuple[int, bytes]] = {}
    malformed = set()
    for line in _lines(data):
        words = line.split(b" ", 2)
        at = stamp_ns(words[0])
        if at is None or len(words) <= place:
            malformed.add(line)
        elif words[place] not in kept or kept[words[place]] < (at, line):
            kept[words[place]] = (at, line)
    return b"".join(kept[one][1] + b"\n" for one in sorted(kept)) + _joined(malformed)


def present_in(log: bytes) -> dict[str, int]:
    """Return id -> nanoseconds of its line, for the ids that a presence log has as here."""
    found = {}
    for line in presence(None, log, b"").split(b"\n"):
        words = line.split(b" ", 2)
        if len(words) == 3 and words[1] == b"1" and (at := stamp_ns(words[0])) is not None:
            found[words[2].decode("utf-8", "replace")] = at
    return found


def presence_line(log: bytes, who: str, status: bytes, now_ns: int) -> tuple[bytes, int]:
    """Return the log with a new line for an id, and how many nanoseconds the line is ahead of `now_ns`.

    The new timestamp is greater than the one that it replaces, whatever the clock says.
    """
    name = who.encode()
    at = now_ns
    for line in _lines(log):
        words = line.split(b" ", 2)
        if len(words) == 3 and words[2] == name and (before := stamp_ns(words[0])) is not None:
            at = max(at, before + 1)
    added = b" ".join((format_stamp(at), status, name))
    return presence(None, log, added), at - now_ns


def counts_of(data: bytes) -> dict[bytes, tuple[int, int]]:
    """Return writer -> (added, taken) of a counter's value. Lines of another form are skipped."""
    counts: dict[bytes, tuple[int, int]] = {}
    for line in data.split(b"\n"):
        found = re.fullmatch(rb"(\S+) ([0-9]{1,18}) ([0-9]{1,18})", line)
        if found:
            before = counts.get(found[1], (0, 0))
            counts[found[1]] = (max(before[0], int(found[2])), max(before[1], int(found[3])))
    return counts


def format_counts(counts: dict[bytes, tuple[int, int]]) -> bytes:
    return b"".join(b"%s %d %d\n" % (writer, *counts[writer]) for writer in sorted(counts))


@checked
def counter_value(data: bytes) -> int:
    """Return the value of a counter: all that was added less all that was taken."""
    return sum(plus - minus for plus, minus in counts_of(data).values())


@checked
def counter_add(data: bytes, writer: str, by: int) -> bytes:
    """Return a counter's value after `writer` added `by`, which may be negative."""
    counts, name = counts_of(data), writer.encode()
    plus, minus = counts.get(name, (0, 0))
    counts[name] = (plus + max(by, 0), minus + max(-by, 0))
    return format_counts(counts)
