"""What is wrong with a data branch, or does not fit it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from ..errors import GpaError
from .drivers import driver_named
from .heads import State
from .layout import SETTINGS, records_of
from .trees import Trees

FULL_LEAF, FULL_FOLDER = 256, 4096
SHOWN = 20


def check_branch(trees: Trees, state: State, fitting: Callable[[int], str]) -> list[str]:
    """Return a line for each finding. Reads every tree, and in a table every blob."""
    findings = [line for _, name in state.settings.rules if (line := _missing_driver(name))]
    leaves: Counter[bytes] = Counter()
    count = 0
    layout = state.layout
    for path, oid in trees.walk(state.snapshot.root):
        if path == SETTINGS.encode():
            continue
        folder = path if layout.is_table else path.rpartition(b"/")[0]
        for key in records_of(trees.objects.read(oid)) if layout.is_table else [layout.key(path)]:
            count += 1
            leaves[folder] += 1
            if not _lies_at(state, key, path):
                findings.append(f"'{path.decode('utf-8', 'replace')}' is not where the layout {layout.name} has a key")
    findings = [*findings[:SHOWN], *([f"and {len(findings) - SHOWN} more"] if len(findings) > SHOWN else [])]
    return findings + [line for line in [_fit(state, count, leaves, fitting)] if line]


def _missing_driver(name: str) -> str:
    try:
        driver_named(name)
    except GpaError as error:
        return str(error)
    return ""


def _lies_at(state: State, key: str | None, path: bytes) -> bool:
    try:
        return key is not None and b"/".join(state.layout.path(key)) == path
    except GpaError:
        return False


def _fit(state: State, count: int, leaves: Counter[bytes], fitting: Callable[[int], str]) -> str:
    """Return a warning where a commit rewrites far larger trees, or far more of them, than it has to."""
    largest = max(leaves.values(), default=0)
    if state.layout.name == "git-annex" or largest <= (FULL_FOLDER if state.layout.name == "path" else FULL_LEAF):
        return ""
    wanted = fitting(count)
    return f"the layout {state.layout.name} has {largest} keys in one place: {wanted} fits {count} keys"
