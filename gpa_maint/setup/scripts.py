"""The hook script: its text, how a copy of ours is known, and what lies where it belongs.

A copy carries the checksum of its own text, so that ours and one that somebody changed are told apart without a record.
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
"""When objects may have come. git has no hook after a plain fetch."""

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

    Both are the file's bytes, where a symbolic link leads, or None. Files of equal bytes are equal here.
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
        """Written by us, in whatever version, and unchanged since."""
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
        """The hook there seems to look at the name it is called by, which is another one when it is set aside."""
        return self.now is not None and re.search(rb"basename.*\$\{?0\b|\$PROGRAM_NAME|__FILE__", self.now) is not None


def place_for(hooks_dir: str, event: str) -> Place:
    """Where the script for `event` is to be put.

    A hook that runs all that lies in <event>.d/ (those of some servers do, and look at their own name) stays where
    it is, and ours is put there.
    """
    place = _look(hooks_dir, event)
    inner = f"{event}.d"
    if place.is_foreign and b".d/" in (place.now or b"") and os.path.isdir(os.path.join(hooks_dir, inner)):
        return _look(hooks_dir, f"{inner}/gpa")
    return place


def places_of_ours(hooks_dir: str) -> list[Place]:
    """Where a script of ours may lie, or a hook that was set aside for one."""
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
