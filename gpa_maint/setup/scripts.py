"""The hook script: its text, and the places for copies of it.

A copy contains the checksum of its own text. So a changed copy is recognised without a record.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re

from gpa_maint.base import safe_open
from gpa_maint.base.tuples import NamedTuple
from gpa_maint.errors import Refused

EVENTS = ("post-receive", "post-commit", "post-merge", "post-rewrite")
"""Events after which there may be new objects. git has no hook after a plain fetch."""

ASIDE = ".before-gpa"
"""hook.sh runs the file of its own name with this suffix first."""

MARK = b"#!/bin/sh\n# git-gpa hook "


def render(program: str) -> bytes:
    """Return the script that starts `program` (an absolute path; empty: git-gpa in PATH)."""
    import shlex

    with open(os.path.join(os.path.dirname(__file__), "hook.sh"), "rb") as file:
        body = file.read().removeprefix(MARK + b"@SUM@\n")
    body = body.replace(b"@PROGRAM@", os.fsencode(shlex.quote(program)))
    return MARK + _sum(body) + b"\n" + body


def _sum(body: bytes) -> bytes:
    return hashlib.sha256(body).hexdigest()[:16].encode()


class Place(NamedTuple):
    """Path of the script for an event, the existing file, and the file with the name of a hook set aside.

    Both are the file's bytes, the target of a symbolic link, or None. Files with equal bytes are equal here.
    """

    name: str
    path: str
    now: bytes | None
    aside: bytes | None

    @property
    def aside_path(self) -> str:
        return self.path + ASIDE

    @property
    def is_marked(self) -> bool:
        return self.now is not None and self.now.startswith(MARK)

    @property
    def is_ours(self) -> bool:
        """Whether any version of ours wrote it, and it is unchanged."""
        if self.now is None or not self.is_marked:
            return False
        found, _, body = self.now.removeprefix(MARK).partition(b"\n")
        return found == _sum(body)

    @property
    def is_edited(self) -> bool:
        return self.is_marked and not self.is_ours

    @property
    def is_foreign(self) -> bool:
        return self.now is not None and not self.is_marked

    @property
    def asks_for_its_name(self) -> bool:
        """Whether the existing hook seems to depend on its own name, which changes when it is set aside."""
        return self.now is not None and re.search(rb"basename.*\$\{?0\b|\$PROGRAM_NAME|__FILE__", self.now) is not None


def place_for(hooks_dir: str, event: str) -> Place:
    """Return the place for the script of `event`.

    If the existing hook runs all files of <event>.d/ (those of some servers do, and depend on their own name), it
    stays, and our script is put into that folder.
    """
    place = _look(hooks_dir, event)
    inner = f"{event}.d"
    if place.is_foreign and b".d/" in (place.now or b"") and os.path.isdir(os.path.join(hooks_dir, inner)):
        return _look(hooks_dir, f"{inner}/gpa")
    return place


def places_of_ours(hooks_dir: str) -> list[Place]:
    """Return the places that may have a script of ours, or a hook that was set aside."""
    names = [name for event in EVENTS for name in (event, f"{event}.d/gpa")]
    found = [_look(hooks_dir, name) for name in names]
    return [place for place in found if place.is_marked or place.aside is not None]


def look_at(path: str) -> Place:
    return Place(os.path.basename(path), path, _content(path), _content(path + ASIDE))


def _look(hooks_dir: str, name: str) -> Place:
    return look_at(os.path.join(hooks_dir, name))._replace(name=name)


def _content(path: str) -> bytes | None:
    try:
        if os.path.islink(path):
            return b"link to " + os.fsencode(os.readlink(path))
        if os.path.isdir(path):
            raise Refused(f"'{path}' is a directory, not a hook")
        return safe_open.read_whole(path)[0]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EINVAL, errno.EFBIG, errno.ENXIO):
            raise
        raise Refused(
            f"'{path}' is not a regular file of at most {safe_open.MOST_BYTES >> 20} MiB, so no hook"
        ) from None
