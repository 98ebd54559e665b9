"""Changes of keys: a value, one that is stored already, an addition, or None to delete; and their order."""

from __future__ import annotations

from collections.abc import Callable

from .trees import Objects


class StoredValue(bytes):
    """The id of a blob that holds the value."""


class Append(bytes):
    """What is appended to the value that the key has when it is committed."""


Change = bytes | None
"""Also StoredValue and Append."""


def value_of(change: Change, objects: Objects, before: Callable[[], bytes | None]) -> bytes | None:
    """Return the value after a change; `before` returns the one that it changes."""
    if type(change) is StoredValue:
        return objects.read(change)
    if type(change) is Append:
        return (before() or b"") + change
    return change


def then_append(change: Change, data: bytes, objects: Objects) -> Change:
    """Return the change that is `change`, and then an append. `change` is not None for a key without a change."""
    if type(change) is Append:
        return Append(change + data)
    return (value_of(change, objects, lambda: None) or b"") + data
