"""How many faults were injected, of which kind, and what came of each: printed at the end by conftest.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

INJECTED: Counter[tuple[str, str]] = Counter()
LOST: Counter[tuple[str, str]] = Counter()


@contextmanager
def count_fault(verb: str, fault: str, happened: bool) -> Iterator[None]:
    """Around what must hold after a fault; when it does not, something was lost."""
    INJECTED[verb, fault] += happened
    try:
        yield
    except BaseException:
        LOST[verb, fault] += 1
        raise


def table() -> list[str]:
    """A row for each kind of fault and verb, and their sum; empty when nothing was injected."""
    if not INJECTED.total():
        return []
    rows = [
        f"{fault:<34} {verb:<8} {count:>6} {LOST[verb, fault]:>5}" for (verb, fault), count in sorted(INJECTED.items())
    ]
    sums = f"{'all':<34} {'':<8} {INJECTED.total():>6} {LOST.total():>5}"
    return [f"{'fault':<34} {'verb':<8} {'faults':>6} {'lost':>5}", *rows, sums]
