"""Refs of an archive: the original kept them in a bare repository beside the pages, here a packed-refs file of it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping

from ..base import safe_open
from ..base.tuples import NamedTuple
from ..errors import GitFailed, GpaError
from ..repo.git import run_git

LINE = re.compile(r"([0-9a-f]{40}) (refs/[^ ]+)")
MOST_BYTES = 1 << 30
"""Of a packed-refs file: ten million refs."""
HEADER = "# pack-refs with: sorted \n"


class RefsMade(NamedTuple):
    """Refs that were created, and those that were not, each with its reason."""

    created: tuple[str, ...]
    left: tuple[str, ...]


def read_packed_refs(path: str) -> dict[str, str]:
    """Ref -> id (hex) of a packed-refs file; GpaError when it is not there or is something else."""
    if not os.path.isfile(path):
        raise GpaError(f"packed-refs file '{path}' does not exist")
    refs = {}
    for line in os.fsdecode(safe_open.read_bytes(os.path.realpath(path), MOST_BYTES)).split("\n"):
        if not line or line.startswith(("#", "^")):
            continue
        found = LINE.fullmatch(line)
        if not found:
            raise GpaError(f"'{path}' is not a packed-refs file: '{line}'")
        refs[found[2]] = found[1]
    return refs


def packed_refs(refs: Mapping[str, str]) -> bytes:
    lines = [f"{oid} {ref}\n" for ref, oid in sorted(refs.items(), key=lambda item: os.fsencode(item[0]))]
    return os.fsencode("".join([HEADER, *lines]))


def current_refs(path: str | None) -> dict[str, str]:
    lines = run_git(["for-each-ref", "--format=%(objectname) %(refname)"], cwd=path).split("\n")[:-1]
    return {ref: oid for oid, _, ref in (line.partition(" ") for line in lines)}


def make_refs(path: str | None, refs: Mapping[str, str], has: Callable[[str], bool]) -> RefsMade:
    """Create refs in the repository at `path`, but for those that are there or whose object is missing."""
    there = current_refs(path)
    left = [f"{ref}: it is there with another value" for ref, oid in refs.items() if there.get(ref, oid) != oid]
    new = {ref: oid for ref, oid in refs.items() if ref not in there}
    missing = [ref for ref, oid in new.items() if not has(oid)]
    left += [f"{ref}: its object {new.pop(ref)} is missing" for ref in missing]
    created, refused = _create(path, new)
    return RefsMade(tuple(created), tuple(left + refused))


def _create(path: str | None, refs: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """All at once, or where git refuses that, one by one."""
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


def follow_head(path: str | None, refs_file: str) -> None:
    """Where HEAD names a branch that is not born, let it name the one that the HEAD beside a packed-refs file names."""
    beside = os.path.join(os.path.dirname(os.path.abspath(refs_file)), "HEAD")
    try:
        target = os.fsdecode(safe_open.read_bytes(beside, 4096)).strip()
    except OSError:
        return  # there is none, or none that may be read
    if not target.startswith("ref: refs/heads/") or target[5:] not in current_refs(path):
        return
    try:
        run_git(["rev-parse", "--verify", "--quiet", "HEAD"], cwd=path)
    except GitFailed:
        run_git(["symbolic-ref", "HEAD", target[5:]], cwd=path)
