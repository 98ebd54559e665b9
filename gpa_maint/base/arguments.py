"""Check the arguments of the API. A parameter of one name means the same in each function.

A value of a wrong type raises TypeError, a wrong value ValueError. Both name the expected and the given value.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from functools import update_wrapper

from .tuples import NamedTuple

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any, ParamSpec, TypeAlias, TypeVar

    Given = ParamSpec("Given")
    Answer = TypeVar("Answer")
    StrPath: TypeAlias = str | os.PathLike[str]
    Oid: TypeAlias = bytes | str | Any


class Rule(NamedTuple):
    """The expected value in words, a test for the type, and a test for the value."""

    expected: str
    has_type: Callable[[Any], bool]
    has_value: Callable[[Any], bool] = lambda value: True
    may_be_none: bool = True


def _is_path(value: object) -> bool:
    return isinstance(value, str | os.PathLike) and isinstance(os.fspath(value), str)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_seconds(value: object) -> bool:
    return _is_number(value) or isinstance(value, float)


def _is_collection(value: object) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes)


def _one_of(*values: str, may_be_none: bool = True) -> Rule:
    words = f"{', '.join(map(repr, values[:-1]))} or {values[-1]!r}"
    return Rule(words, lambda value: isinstance(value, str), lambda value: value in values, may_be_none)


def _number(expected: str, least: int, most: int = 1 << 62, *, may_be_none: bool = False) -> Rule:
    return Rule(expected, _is_number, lambda value: least <= value <= most, may_be_none)


PATH = Rule("a str or another path, such as a pathlib.Path", _is_path, lambda value: "\0" not in os.fspath(value))
PATHS = Rule("a list of paths", lambda value: _is_collection(value) and all(map(_is_path, value)), may_be_none=False)
NAME = Rule("a str", lambda value: isinstance(value, str), lambda value: "\0" not in value)
NAMES = Rule(
    "a list or set of names", lambda value: _is_collection(value) and all(isinstance(one, str) for one in value)
)
FLAG = Rule("True or False", lambda value: isinstance(value, bool), may_be_none=False)
FILE = Rule("a file that is open for reading bytes", lambda value: hasattr(value, "read"), may_be_none=False)
COUNT = _number("a number from 0", 0)

RULES: dict[str, Rule] = {
    **dict.fromkeys(("path", "object_dir", "folder", "git_dir", "program", "refs_snapshot"), PATH),
    **dict.fromkeys(("bitmap", "deep", "dry_run", "refs", "verify", "deltas"), FLAG),
    **dict.fromkeys(("batch_bytes", "threads", "cache_bytes", "map_count"), COUNT),
    **dict.fromkeys(("pages_file", "refs_file"), PATH),
    **dict.fromkeys(("raw", "delta", "rescue", "all_refs"), FLAG),
    **dict.fromkeys(("objects_dir", "directory", "target"), PATH._replace(may_be_none=False)),
    "alternates": PATHS,
    "object_format": _one_of("sha1", "sha256"),
    "preferred_pack": NAME,
    **dict.fromkeys(("packs", "revs"), NAMES),
    "map_bytes": _number("a number from 0", 0, may_be_none=True),
    "page_objects": _number("a number from 1 to 2147483647", 1, (1 << 31) - 1, may_be_none=True),
    "page_bytes": _number("a number from 1", 1, may_be_none=True),
    "level": _number("a number from -1 to 9", -1, 9, may_be_none=True),
    "grace_seconds": _number("a number of seconds from 0", 0, may_be_none=True),
    "max_seconds": Rule("a number of seconds from 0", _is_seconds, lambda value: value >= 0),
    "stop": Rule("a Stop", lambda value: hasattr(value, "request") or hasattr(value, "stop")),
    "report": Rule("a function that takes a title and two numbers", callable),
    "system": _one_of("systemd", "cron", may_be_none=False),
    "way": _one_of("file", "config"),
    **dict.fromkeys(("stream", "file"), FILE),
    "size": COUNT,
    "count": _number("a number from 1", 1),
    "data": Rule("bytes", lambda value: isinstance(value, bytes), may_be_none=False),
    "writer": NAME._replace(may_be_none=False),
    "by": _number("a number", -1 << 62),
}
"""Rules by the name of the parameter."""

THREADS = COUNT._replace(may_be_none=True)
"""Rule for `threads` of a store: None and 0 mean one for each processor."""


def path_text(path: StrPath | None) -> str | None:
    """Return a path as a str; None stays None."""
    return None if path is None else os.fspath(path)


def check(name: str, value: object, rule: Rule | None = None) -> None:
    """Raise TypeError or ValueError if the parameter of this name does not accept the value."""
    rule = rule or RULES[name]
    if value is None and rule.may_be_none:
        return
    if not rule.has_type(value):
        raise TypeError(f"{name} is {rule.expected}, not {_kind_of(value)}")
    if not rule.has_value(value):
        raise ValueError(f"{name} is {rule.expected}, not {value!r}")


def check_all(**given: object) -> None:
    """Call check() for each argument."""
    for name, value in given.items():
        check(name, value)


def checked(function: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """Wrap a function: check() looks at each argument that RULES knows before the function begins."""
    code: Any = function
    names = code.__code__.co_varnames

    def call(*given: Given.args, **named: Given.kwargs) -> Answer:
        for name, value in (*zip(names, given, strict=False), *named.items()):
            if name in RULES:
                check(name, value)
        return function(*given, **named)

    update_wrapper(call, function)
    return call


def _kind_of(value: object) -> str:
    return "None" if value is None else type(value).__name__


def content_of(data: object) -> bytes:
    """Return the content of a new object as bytes."""
    try:
        return bytes(memoryview(data))  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"the content of an object is bytes, not {_kind_of(data)}") from None


# ---- ids of objects ----


def raw_oid(oid: Oid, size: int) -> bytes:
    """Return the `size` raw bytes of an id that is raw, hexadecimal `str` or `bytes`, or a pygit2.Oid."""
    given = oid
    if not isinstance(oid, str | bytes):
        oid = getattr(oid, "raw", None) if not isinstance(oid, bytearray | memoryview) else bytes(oid)
        if not isinstance(oid, bytes):
            expected = "raw bytes, hexadecimal text or ASCII, or a pygit2.Oid"
            raise TypeError(f"the id of an object is {expected}, not {_kind_of(given)}")
    if len(oid) == size and isinstance(oid, bytes):
        return oid
    try:
        raw = bytes.fromhex(oid if isinstance(oid, str) else oid.decode("ascii"))
    except ValueError:
        raw = b""
    if len(raw) != size:
        raise ValueError(f"the id of an object has {size} bytes here, or {2 * size} hexadecimal digits: not {given!r}")
    return raw


def hex_prefix(prefix: object, least: int, size: int) -> str:
    """Return hexadecimal digits, at least `least` and at most those of an id of `size` bytes; from str or bytes."""
    given = prefix
    if isinstance(prefix, bytes):
        prefix = prefix.decode("ascii", "replace")
    if not isinstance(prefix, str):
        raise TypeError(f"an abbreviated id is hexadecimal text or ASCII, not {_kind_of(given)}")
    if not least <= len(prefix) <= 2 * size:
        raise ValueError(f"an abbreviated id has {least} to {2 * size} digits, not {len(prefix)}")
    if set(prefix) - set("0123456789abcdefABCDEF"):
        raise ValueError(f"{given!r} is not hexadecimal")
    return prefix
