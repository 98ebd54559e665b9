"""The gpa.* settings and the few of git's own that matter here: one table of name, type, default and meaning.

Values come from `git config --list -z` (git.py), read in one go; later values win, as in git. A value that does not
parse is an error that names the key.
"""

from __future__ import annotations

from collections.abc import Mapping

from ..base.tuples import NamedTuple
from ..errors import GpaError

KEYS: tuple[tuple[str, str, str, str, str], ...] = (
    # key, field, type, default, meaning
    ("gpa.pageObjects", "page_objects", "count", "2000", "objects in a full page"),
    ("gpa.pageBytes", "page_bytes", "size", "512m", "a page is closed before it grows beyond this many bytes"),
    ("gpa.depth", "depth", "count", "50", "longest chain of deltas in a page"),
    ("gpa.expireGrace", "expire_grace", "time", "1.hour", "how long a superseded page stays before expire deletes it"),
    ("gpa.keepNew", "keep_new", "time", "2.weeks", "how long a page of new objects keeps its .keep"),
    ("gpa.keepExpire", "keep_expire", "time", "1.day", "how long the .keep of a push or fetch that died stays"),
    ("gpa.autoLoose", "auto_loose", "limit", "500", "run puts loose objects into pages from this many on; 0: never"),
    ("gpa.autoPages", "auto_pages", "limit", "64", "run merges small packs when there are more than this many"),
    ("gpa.autoUnindexed", "auto_unindexed", "limit", "100", "run indexes when more packs than this are not indexed"),
    ("gpa.maxPages", "max_pages", "limit", "200", "run folds full pages into larger ones when there are more"),
    ("gpa.autoRefs", "auto_refs", "limit", "1000", "run packs refs from this many loose ones on; 0: never"),
    ("gpa.sealDeltas", "seal_deltas", "bool", "false", "writers may store trees and blobs as deltas"),
)

FORMAT_VERSION = 1
"""Version of the JSON that `git gpa config` prints."""

KNOWN = frozenset(key.lower() for key, *_ in KEYS)

UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
SECONDS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 7 * 86400,
    "month": 30 * 86400,
    "year": 365 * 86400,
}
NEVER = 1 << 62


class BadValue(GpaError):
    """A setting or an option's value that does not parse."""


class Settings(NamedTuple):
    """Parsed settings; times in seconds, sizes in bytes. `shared` is core.sharedRepository as git writes it.

    `unknown` are unknown gpa.* keys, in lower case as git prints them.
    """

    page_objects: int = 2000
    page_bytes: int = 512 << 20
    depth: int = 50
    expire_grace: int = 3600
    keep_new: int = 14 * 86400
    keep_expire: int = 86400
    auto_loose: int = 500
    auto_pages: int = 64
    auto_unindexed: int = 100
    max_pages: int = 200
    auto_refs: int = 1000
    seal_deltas: bool = False
    compression: int = -1
    shared: str = ""
    precious_objects: bool = False
    unknown: tuple[str, ...] = ()
    durability: str = "page"
    fsync_method: str = "fsync"


def parse_size(text: str) -> int:
    """Return `<n>[kmg]` as a number of bytes. Raise ValueError for others."""
    word = text.strip().lower()
    unit = word[-1:] if word[-1:] in ("k", "m", "g") else ""
    digits = word[: len(word) - len(unit)]
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(text)
    number = int(digits) * UNITS[unit]
    if number >= 1 << 64:
        raise ValueError(text)
    return number


def parse_time(text: str) -> int:
    """Return a span such as `now`, `90`, `1.hour`, `2.weeks.ago` or `never` in seconds. Raise ValueError for others."""
    word = text.strip().lower().removesuffix(".ago").removesuffix(" ago")
    if word in ("now", "all"):
        return 0
    if word in ("never", "false"):
        return NEVER
    number, _, unit = word.replace(" ", ".").partition(".")
    unit = unit.removesuffix("s") or "second"
    if not (number.isascii() and number.isdigit()) or unit not in SECONDS:
        raise ValueError(text)
    return int(number) * SECONDS[unit]


def parse_bool(text: str) -> bool:
    """Return a bool as git reads it; an empty value is false. A key without a value has been read as "true"."""
    return text.lower() in ("true", "yes", "on", "1")


def _parse_own_bool(text: str) -> bool:
    if text.lower() not in ("false", "no", "off", "0", "") and not parse_bool(text):
        raise ValueError(text)
    return parse_bool(text)


def _parse(kind: str, text: str) -> int:
    if kind == "size":
        return parse_size(text)
    if kind == "time":
        return parse_time(text)
    if kind == "bool":
        return _parse_own_bool(text)
    number = parse_size(text)
    if not (kind == "limit" or number) or number >= 1 << 31:
        raise ValueError(text)
    return number


def _compression(values: Mapping[str, str]) -> int:
    for key in ("pack.compression", "core.compression"):
        if key in values:
            try:
                level = int(values[key])
            except ValueError:
                raise BadValue(f"bad numeric config value '{values[key]}' for '{key}'") from None
            if not -1 <= level <= 9:
                raise BadValue(f"bad pack compression level {level}")
            return level
    return -1


FSYNC_PARTS: dict[str, frozenset[str]] = {
    "loose-object": frozenset({"loose-object"}),
    "pack": frozenset({"pack"}),
    "pack-metadata": frozenset({"pack-metadata"}),
    "commit-graph": frozenset(),
    "index": frozenset(),
    "reference": frozenset(),
    "objects": frozenset({"loose-object", "pack"}),
    "derived-metadata": frozenset({"pack-metadata"}),
    "committed": frozenset({"loose-object", "pack"}),
    "added": frozenset({"loose-object", "pack"}),
    "all": frozenset({"loose-object", "pack", "pack-metadata"}),
}
"""Components of core.fsync that concern objects."""


def _durability(values: Mapping[str, str]) -> str:
    """Return what a writer of pages syncs: "none", "page", or "journal" if git would sync each loose object.

    core.fsync is read as git reads it: "none" removes the default, and negative words are applied before positive ones.
    """
    current = frozenset({"pack", "pack-metadata"})
    added: set[str] = set()
    taken: set[str] = set()
    for word in values.get("core.fsync", "").lower().replace(",", " ").split():
        if word == "none":
            current = frozenset()
        elif word.startswith("-"):
            taken |= FSYNC_PARTS.get(word[1:], frozenset())
        else:
            added |= FSYNC_PARTS.get(word, frozenset())
    parts = (current - taken) | added
    if not parts >= {"pack", "pack-metadata"}:
        return "none"
    return "journal" if "loose-object" in parts or parse_bool(values.get("core.fsyncobjectfiles", "")) else "page"


def _fsync_method(text: str) -> str:
    """Return the method for fsync. git warns about an unknown method, and uses fsync."""
    return text if text in ("writeout-only", "batch") else "fsync"


def settings_from(values: Mapping[str, str]) -> Settings:
    """Return the settings in git's values (keys in lower case, as git lists them). Raise BadValue for a bad value."""
    found: dict[str, int] = {}
    for key, field, kind, _default, _meaning in KEYS:
        text = values.get(key.lower())
        if text is None:
            continue
        try:
            found[field] = _parse(kind, text)
        except ValueError:
            raise BadValue(f"bad {kind} '{text}' for '{key}'") from None
    seal_deltas = bool(found.pop("seal_deltas", False))
    return Settings(
        seal_deltas=seal_deltas,
        compression=_compression(values),
        shared=values.get("core.sharedrepository", ""),
        precious_objects=parse_bool(values.get("extensions.preciousobjects", "false")),
        unknown=tuple(sorted(key for key in values if key.startswith("gpa.") and key not in KNOWN)),
        durability=_durability(values),
        fsync_method=_fsync_method(values.get("core.fsyncmethod", "")),
        **found,
    )


def in_effect(settings: Settings) -> dict[str, int]:
    """Return the value that holds for each key: counts, bytes, seconds, bools."""
    return {key: getattr(settings, field) for key, field, *_ in KEYS}
