"""Read, check and create refs. git does it, so every kind of ref storage works."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..base.tuples import NamedTuple
from ..errors import GitFailed
from .git import run_git, run_git_aloud

MOST_NAMED = 20
"""Largest number of broken refs that are reported; finding each takes some walks over the objects of refs."""


class Ref(NamedTuple):
    """A ref, the object that it names ("" for none), and for a symbolic ref its target."""

    name: str
    oid: str
    target: str = ""


class Refs(NamedTuple):
    """All refs of a repository except HEAD; HEAD; and the names of the refs that git cannot read."""

    all: tuple[Ref, ...]
    head: Ref
    unreadable: tuple[str, ...]

    @property
    def tips(self) -> dict[str, str]:
        """Return the object that each ref names, HEAD too."""
        named = {ref.name: ref.oid for ref in self.all}
        return {**named, "HEAD": self.head.oid} if self.head.oid else named


def read_refs(path: str | None) -> Refs:
    """Return the refs of the repository at `path`, each as it was at some moment of the call."""
    answer, complaint = run_git_aloud(["for-each-ref", "--format=%(objectname) %(refname) %(symref)"], cwd=path)
    found = []
    for line in answer.split("\n")[:-1]:
        oid, name, target = line.split(" ")
        found.append(Ref(name, oid, target))
    words = "warning: ignoring broken ref "
    unreadable = [line.removeprefix(words) for line in complaint.split("\n") if line.startswith(words)]
    return Refs(tuple(found), _read_head(path), tuple(unreadable))


def _read_head(path: str | None) -> Ref:
    target = _answer(["symbolic-ref", "--quiet", "HEAD"], path)
    return Ref("HEAD", _answer(["rev-parse", "--verify", "--quiet", "HEAD"], path), target)


def _answer(words: list[str], path: str | None) -> str:
    """Return git's answer, or "" if git has none and exits with 1."""
    try:
        return run_git(words, cwd=path).strip()
    except GitFailed as error:
        if error.status != 1:
            raise
        return ""


def commit_named(path: str | None, name: str) -> str:
    """Return the commit (hex) that git means by a name, or "" if there is none."""
    return _answer(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"], path)


def heads_of_worktrees(path: str | None) -> dict[str, str]:
    """Return the HEAD of each linked worktree, by the worktree's path."""
    heads, worktree = {}, ""
    for line in run_git(["worktree", "list", "--porcelain"], cwd=path).split("\n"):
        word, _, value = line.partition(" ")
        if word == "worktree":
            worktree = value
        elif word == "HEAD" and value.strip("0"):
            heads[worktree] = value
    return heads


# ---- connectivity ----


def find_broken(path: str | None, tips: dict[str, str], *, partial: bool = False) -> list[str]:
    """Return a line for each ref from which a missing object is reachable; at most MOST_NAMED lines.

    This is git's own connectivity check: each object must exist, and commits, trees and tags are read. Replace refs are
    ignored. In a `partial` clone promised objects may be missing.
    """
    by_oid: dict[str, str] = {}
    for name, oid in tips.items():
        by_oid.setdefault(oid, name)
    found: list[str] = []
    todo = [list(by_oid)]
    while todo and len(found) < MOST_NAMED:
        oids = todo.pop()
        words = walk(path, oids, partial=partial) if oids else ""
        if words and len(oids) > 1:
            middle = len(oids) // 2
            todo += [oids[middle:], oids[:middle]]
        elif words:
            found.append(f"ref '{by_oid[oids[0]]}' is not whole: {words}")
    return found


def walk(path: str | None, oids: Iterable[str], *, partial: bool = False, more: Iterable[str] = ()) -> str:
    """Walk over everything reachable from these objects. Return "" if all of it exists, else git's message."""
    words = ["--no-replace-objects", "rev-list", "--objects", "--quiet", "--stdin", *more]
    try:
        run_git([*words, *(["--exclude-promisor-objects"] if partial else ())], cwd=path, stdin="\n".join(oids))
    except GitFailed as error:
        lines = [line for line in error.stderr.split("\n") if line.startswith(("fatal: ", "error: "))]
        return lines[0].partition(": ")[2] if lines else str(error)
    return ""


class RefsMade(NamedTuple):
    """Refs that were created, and those that were not, each with its reason."""

    created: tuple[str, ...]
    left: tuple[str, ...]


def current_refs(path: str | None) -> dict[str, str]:
    lines = run_git(["for-each-ref", "--format=%(objectname) %(refname)"], cwd=path).split("\n")[:-1]
    return {ref: oid for oid, _, ref in (line.partition(" ") for line in lines)}


def make_refs(path: str | None, refs: Mapping[str, str], has: Callable[[str], bool]) -> RefsMade:
    """Create refs in the repository at `path`, except those that exist or whose object is missing."""
    there = current_refs(path)
    left = [f"{ref}: it is there with another value" for ref, oid in refs.items() if there.get(ref, oid) != oid]
    new = {ref: oid for ref, oid in refs.items() if ref not in there}
    missing = [ref for ref, oid in new.items() if not has(oid)]
    left += [f"{ref}: its object {new.pop(ref)} is missing" for ref in missing]
    created, refused = _create(path, new)
    return RefsMade(tuple(created), tuple(left + refused))


def _create(path: str | None, refs: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Create all refs at once, or, if git refuses that, one by one."""
    if not refs:
        return [], []
    try:
        run_git(
            ["update-ref", "--stdin", "-z"],
            cwd=path,
            stdin="".join(f"create {ref}\0{oid}\0" for ref, oid in refs.items()),
        )
    except GitFailed as error:
        if len(refs) == 1:
            return [], [f"{ref}: {error}" for ref in refs]
        parts = [_create(path, {ref: oid}) for ref, oid in refs.items()]
        return [ref for created, _ in parts for ref in created], [text for _, left in parts for text in left]
    return list(refs), []
