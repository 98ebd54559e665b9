"""gpa/saved.json: the packs in cold storage, by Writer.confirm(). Without it, save() returns all packs again."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from .. import fs
from ..base import safe_open
from ..errors import Locked
from ..repo.objdir import ObjectDir
from .paths import SAVED, SAVED_LOCK, path_of
from .superseded import UNREADABLE

LOCK_SECONDS = 30
"""Seconds that a process waits for another one that changes the record."""


def read_saved(objdir: ObjectDir) -> frozenset[str]:
    """Return the packs whose upload was confirmed and not revoked."""
    try:
        return frozenset(str(name) for name in json.loads(safe_open.read_text(path_of(objdir, SAVED)))["packs"])
    except UNREADABLE:
        return frozenset()


def change_saved(objdir: ObjectDir, *, saved: Collection[str], gone: Collection[str]) -> None:
    """Record durably that the packs `saved` are in cold storage, and the packs `gone` are not, with many processes.

    Raises Locked if another process holds the record for longer than LOCK_SECONDS.
    """
    with _saved_lock(objdir):
        before = read_saved(objdir)
        after = (before - frozenset(gone)) | frozenset(saved)
        if after != before:
            content = json.dumps({"version": 1, "packs": sorted(after)}).encode() + b"\n"
            fs.replace_locked(objdir, path_of(objdir, SAVED), content)


@contextmanager
def _saved_lock(objdir: ObjectDir) -> Iterator[None]:
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            with fs.flock(objdir, SAVED_LOCK, "another process says what it has saved"):
                yield
                return
        except Locked as error:
            if not error.path.endswith(SAVED_LOCK) or time.monotonic() > until:
                raise
            time.sleep(0.005)
