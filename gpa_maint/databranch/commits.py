"""Commits of a data branch: made, read, and their ancestry, which git is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..base.tuples import NamedTuple
from ..errors import Corrupt, GitFailed
from ..repo.git import run_git
from .trees import Objects

MERGER = "git-gpa <data@git-gpa>"
"""The author of every merge commit: it must not depend on who merges."""

MERGE_MESSAGE = "merge of data branches\n"
TIME = re.compile(rb"^committer [^\n]*> ([0-9]{1,18}) [+-][0-9]{4}$", re.MULTILINE)


class Commit(NamedTuple):
    """A commit's id, tree and parents (hex), and when it was committed, in seconds."""

    oid: str
    tree: str
    parents: tuple[str, ...]
    time: int


def commit_text(tree: str, parents: Iterable[str], who: str, time: int, message: str) -> bytes:
    """Return the content of a commit by `who`, a name with an address."""
    lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
    lines += [f"author {who} {time} +0000", f"committer {who} {time} +0000", "", message.rstrip("\n")]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape")


def merge_text(tree: str, parents: Iterable[Commit], time: int) -> bytes:
    """Return the commit that merges these heads: the same one in every clone."""
    return commit_text(tree, sorted(parent.oid for parent in parents), MERGER, time, MERGE_MESSAGE)


def read_commit(objects: Objects, oid: str) -> Commit:
    """Return a commit. Raises Corrupt if it is none, ObjectMissing if it is not here."""
    raw = objects.read(bytes.fromhex(oid))
    head = raw.partition(b"\n\n")[0]
    lines = head.split(b"\n")
    found = TIME.search(head)
    if not lines[0].startswith(b"tree ") or found is None:
        raise Corrupt(oid, "not a commit")
    parents = [line[7:].decode() for line in lines[1:] if line.startswith(b"parent ")]
    return Commit(oid, lines[0][5:].decode(), tuple(parents), int(found[1]))


def is_ancestor(path: str, old: str, new: str) -> bool:
    """Return whether `new` contains the commit `old`. False if one of them is not here."""
    if old == new:
        return True
    try:
        run_git(["--no-replace-objects", "merge-base", "--is-ancestor", old, new], cwd=path)
    except GitFailed as error:
        if error.status not in (1, 128):
            raise
        return False
    return True


def independent(path: str, heads: Iterable[str]) -> list[str]:
    """Return those heads that no other one contains, sorted."""
    wanted = sorted(set(heads))
    if len(wanted) < 2:
        return wanted
    return sorted(run_git(["--no-replace-objects", "merge-base", "--independent", *wanted], cwd=path).split())


def merge_bases(path: str, head: str, others: Sequence[str]) -> list[str]:
    """Return the best common commits of `head` and a merge of the others."""
    try:
        return run_git(["--no-replace-objects", "merge-base", "--all", head, *others], cwd=path).split()
    except GitFailed as error:
        if error.status != 1:
            raise
        return []


def all_commits(path: str, head: str) -> list[str]:
    """Return a commit and all commits that it contains, children before parents."""
    return run_git(["--no-replace-objects", "rev-list", "--topo-order", head], cwd=path).split()


def marks_of(commits: Sequence[str], most: int = 64) -> list[str]:
    """Return the first commits of a history, and then ever fewer: as bases for clones that branched off earlier."""
    places = [*range(min(most, len(commits)))]
    at = most
    while at < len(commits):
        places.append(at)
        at += max(at // 8, 1)
    return [commits[place] for place in places]
