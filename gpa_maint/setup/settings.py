"""The settings of install. git itself reads and edits its configuration file, on a copy.

The copy replaces the file in one step (replace_config), so that either all settings change or none. Values are those of
the repository's own file, without included files.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence

from gpa_maint.base.tuples import NamedTuple
from gpa_maint.fs.installing import read_bytes, scratch_file
from gpa_maint.repo.git import run_git

SETTINGS: tuple[tuple[str, str, str], ...] = (
    # key, value, reason
    ("gc.auto", "0", "gc merges all packs into one, pages too"),
    ("receive.autogc", "false", "no gc after each push"),
    ("maintenance.auto", "false", "no maintenance after commits and fetches"),
    ("maintenance.geometric-repack.auto", "0", "nor the repacking that git 2.54 does instead"),
    ("receive.unpackLimit", "1", "a push leaves one pack, not loose objects"),
    ("fetch.unpackLimit", "1", "so does a fetch"),
)

COMMAND, EVENT = "hook.gpa.command", "hook.gpa.event"
"""Keys in the order of writing: git dies of an event without a command."""

REASONS = {key: reason for key, _value, reason in SETTINGS} | {
    COMMAND: "what starts maintenance",
    EVENT: "after what it is started",
}

Values = Mapping[str, tuple[str | None, ...]]
"""Key -> its values in order. None is a key without a value, which git reads as true."""


class Setting(NamedTuple):
    """One value as `git config --list` shows it; the last value of a key counts."""

    scope: str
    origin: str
    key: str
    value: str | None


def effective_settings(cwd: str | None) -> list[Setting]:
    """Return all settings that git reads in this repository, in its order, keys in lower case."""
    words = run_git(["config", "--list", "--show-scope", "--show-origin", "-z"], cwd=cwd).split("\0")
    found = []
    for scope, origin, item in zip(words[::3], words[1::3], words[2::3], strict=False):
        key, newline, value = item.partition("\n")
        found.append(Setting(scope, origin, key, value if newline else None))
    return found


def values_in(content: bytes) -> Values:
    """Return the values in the content of a configuration file, keys in lower case. Raise GitFailed if it is none."""
    text = run_git(["config", "--file", "-", "--no-includes", "-z", "--list"], stdin=os.fsdecode(content))
    found: dict[str, tuple[str | None, ...]] = {}
    for item in filter(None, text.split("\0")):
        key, newline, value = item.partition("\n")
        found[key] = (*found.get(key, ()), value if newline else None)
    return found


def wanted_values(command: str, events: Collection[str]) -> Values:
    """Return the values that install sets. Without `command` there is no hook in the configuration."""
    found: dict[str, tuple[str | None, ...]] = {key: (value,) for key, value, _reason in SETTINGS}
    return found | {COMMAND: (command,) if command else (), EVENT: tuple(events) if command else ()}


def differing(now: Values, wanted: Values) -> Values:
    """Return the values of `wanted` that differ from those of `now`."""
    return {key: values for key, values in wanted.items() if now.get(key.lower(), ()) != values}


def undone(now: Values, before: Values, afters: Sequence[Values]) -> tuple[Values, list[str]]:
    """Return the values that undo the change from `before` to any of `afters`, and the keys that were changed since."""
    back: dict[str, tuple[str | None, ...]] = {}
    left = []
    for key in REASONS:
        was, is_now, *made = (values.get(key.lower(), ()) for values in (before, now, *afters))
        if is_now == was:
            continue
        if is_now in made:
            back[key] = was
        else:
            left.append(key)
    return back, left


NO_VALUE = "gpa-placeholder-for-no-value"


def edited(content: bytes, values: Values, scratch: str) -> bytes:
    """Return `content` with these values for these keys; git edits it in a file beside `scratch`."""
    if not values:
        return content
    there = values_in(content)
    with scratch_file(scratch, content) as path:
        edit = ["config", "--file", path]
        for key, wanted in values.items():
            if not wanted and key.lower() in there:
                run_git([*edit, "--unset-all", key])
            for number, value in enumerate(wanted):
                # git config cannot write a key without a value
                run_git(
                    [*edit, "--add" if number else "--replace-all", "--", key, NO_VALUE if value is None else value]
                )
        return read_bytes(path).replace(f" = {NO_VALUE}".encode(), b"")
