"""Refs of an archive: the original kept them in a bare repository beside the pages, here in a packed-refs file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..base import safe_open
from ..errors import GitFailed, GpaError
from ..repo.git import run_git
from ..repo.refs import current_refs

LINE = re.compile(r"([0-9a-f]{40}) (refs/[^ ]+)")
MOST_BYTES = 1 << 30
"""Largest size of a packed-refs file (bytes): ten million refs."""
HEADER = "# pack-refs with: sorted \n"


def read_packed_refs(path: str) -> dict[str, str]:
    """Return ref -> id (hex) of a packed-refs file. Raise GpaError if it is missing or malformed."""
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


def follow_head(path: str | None, refs_file: str) -> None:
    """If HEAD names an unborn branch, set it to the branch of the HEAD beside a packed-refs file."""
    beside = os.path.join(os.path.dirname(os.path.abspath(refs_file)), "HEAD")
    try:
        target = os.fsdecode(safe_open.read_bytes(beside, 4096)).strip()
    except OSError:
        return  # it is missing or unreadable
    if not target.startswith("ref: refs/heads/") or target[5:] not in current_refs(path):
        return
    try:
        run_git(["rev-parse", "--verify", "--quiet", "HEAD"], cwd=path)
    except GitFailed:
        run_git(["symbolic-ref", "HEAD", target[5:]], cwd=path)
