"""What a data branch was: the commits that changed a key, those to keep, and what git-annex has in its own journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from ..base import safe_open
from ..repo.git import run_git
from .heads import State
from .trees import Objects


def changes_of(path: str, state: State, key: str, read: Callable[[str], State]) -> Iterator[tuple[str, bytes | None]]:
    """Yield (commit in hex, value) for each commit that changed a key, the newest first; None where it was deleted."""
    if not state.oid:
        return
    place = b"/".join(state.layout.path(key))
    words = ["--literal-pathspecs", "log", "--format=%H", state.oid, "--", os.fsdecode(place)]
    commits = run_git(words, cwd=path).split()
    found = [(oid, read(oid).snapshot.get(key)) for oid in commits]
    older = [value for _, value in found[1:]] + [None]
    for (oid, value), before in zip(found, older, strict=True):
        if value != before:
            yield oid, value


def kept_commits(path: str, head: str, cutoff: int | None) -> list[str]:
    """Return the commits since a second, the oldest first, each the first parent of the next; none without `cutoff`."""
    if cutoff is None:
        return []
    return run_git(["rev-list", "--first-parent", "--reverse", f"--since={cutoff}", head], cwd=path).split()


def message_of(objects: Objects, oid: str) -> str:
    return objects.read(bytes.fromhex(oid)).partition(b"\n\n")[2].decode("utf-8", "replace")


def annex_journal(common_dir: str) -> dict[str, bytes | None]:
    """Return what git-annex has written and not committed to its branch, by file name."""
    folder = os.path.join(common_dir, "annex", "journal")
    found: dict[str, bytes | None] = {}
    try:
        names = safe_open.names_in(folder)
    except OSError:
        return {}
    for name in sorted(names):
        path = name.replace("__", "\0").replace("_", "/").replace("\0", "_")
        try:
            found[path.rpartition("/")[2]] = safe_open.read_bytes(f"{folder}/{name}", 1 << 26)
        except OSError:
            continue  # committed just now
    return found
