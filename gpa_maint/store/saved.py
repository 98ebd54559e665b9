"""Find the packs that a copy in cold storage needs, and those that it has: for Writer.save() and Writer.confirm().

gpa/saved.json names the packs whose upload was confirmed. If it is lost, save() returns all packs again, and no object
is lost. A pack is left out only after a proof that other returned packs have all its objects (I7).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any

from .. import fs
from .._core.format import idx_object_counts
from ..apply.expire import prove_doomed
from ..errors import Corrupt, GpaError, Refused, StalePlan, Unsupported
from ..look.inventory import TEMPORARY, loose_objects, take_inventory
from ..model.copies import SavedPage, SaveReport
from ..plan.expire import plan_expire
from ..repo.objdir import ObjectDir
from ..state.saved import read_saved
from ..state.superseded import read_state

COMPANIONS = (".promisor", ".mtimes")
"""Files beside a pack that change what it means."""

SUFFIXES = (".pack", ".idx", *COMPANIONS)


class Known:
    """Packs in cold storage, by the caller's list: names of packs, or of their files, with or without a folder.

    A pack named without suffix counts as complete. Named by files, it counts only if none of its files is missing.
    """

    def __init__(self, names: Iterable[str | os.PathLike[str]]) -> None:
        given = {os.path.basename(os.fspath(name)) for name in names}
        self._files = {name for name in given if name.endswith(SUFFIXES)}
        self._packs = given - self._files

    @property
    def names(self) -> set[str]:
        """Return the packs of which at least one file is in cold storage."""
        return self._packs | {os.path.splitext(name)[0] for name in self._files}

    def has(self, objdir: ObjectDir, name: str) -> bool:
        """Return whether all files of a pack are in cold storage."""
        return name in self._packs or all(os.path.basename(path) in self._files for path in files_of(objdir, name))


def report(objdir: ObjectDir, known: Known | None) -> SaveReport:
    """Return the packs that a copy with the `known` packs lacks; by default the packs with a confirmed upload."""
    before: set[str] | None = None
    while True:
        live, recorded = live_packs(objdir), read_saved(objdir)
        lacked = live - recorded if known is None else {name for name in live if not known.has(objdir, name)}
        # A known name that this repository never had may belong to another repository in the same cold storage.
        spare = recorded if known is None else known.names & packs_of_ours(objdir)
        try:
            return SaveReport(describe(objdir, sorted(lacked)), tuple(sorted(spare - live)))
        except FileNotFoundError:
            # maintenance has just deleted a page, and another one has its objects
            if live == before:
                raise
            before = live


# ---- packs of the repository ----


def live_packs(objdir: ObjectDir) -> set[str]:
    """Return the packs, without those all of whose objects are proved to be in other returned packs."""
    names = os.listdir(objdir.pack_dir)
    there = set(names)
    packs = {name[:-4] for name in names if name.endswith(".idx") and f"{name[:-4]}.pack" in there}
    return {name for name in packs if not name.startswith(TEMPORARY)} - _proved_superseded(objdir)


def packs_of_ours(objdir: ObjectDir) -> set[str]:
    """Return the packs that are in this repository, or were in it by our records."""
    there = {name[:-4] for name in os.listdir(objdir.pack_dir) if name.endswith(".idx")}
    return there | read_state(objdir).dropped.keys() | read_saved(objdir)


def _proved_superseded(objdir: ObjectDir) -> set[str]:
    """Return the names of superseded packs, proved anew, because the packs with their objects may have been deleted."""
    try:
        inventory = take_inventory(objdir, counts=False)
        keep_new = objdir.settings.keep_new
        plan = plan_expire(inventory, grace_seconds=0, keep_new=keep_new, now=int(time.time()))
        return set(prove_doomed(objdir, plan).doomed) if plan.doomed else set()
    except (Corrupt, Refused, StalePlan, Unsupported, FileNotFoundError):
        return set()  # then they are uploaded once more


def files_of(objdir: ObjectDir, name: str) -> list[str]:
    """Return the paths of a pack's files: .pack, .idx, and what changes its meaning."""
    marks = [path for suffix in COMPANIONS if os.path.lexists(path := objdir.pack_path(name, suffix))]
    return [objdir.pack_path(name), objdir.pack_path(name, ".idx"), *marks]


def describe(objdir: ObjectDir, names: list[str]) -> tuple[SavedPage, ...]:
    """Return the files to copy for each pack. Raise FileNotFoundError if one vanishes meanwhile."""
    counts = idx_object_counts(objdir.pack_dir, names, objdir.object_format)
    pages = []
    for name, count in zip(names, counts, strict=True):
        paths = files_of(objdir, name)
        sums = [_sha256(path) for path in paths]
        digests = tuple(digest for _, digest in sums)
        pages.append(SavedPage(name, tuple(paths), count or 0, sum(size for size, _ in sums), digests))
    return tuple(pages)


def _sha256(path: str) -> tuple[int, str]:
    with fs.reading(path) as file:
        digest: Any = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()


def loose_ids(objdir: ObjectDir) -> Iterator[bytes]:
    """Yield the raw ids of all loose objects."""
    return (bytes.fromhex(loose.oid) for loose in loose_objects(objdir))


def pack_name(name: str) -> str:
    """Return a pack's name for Writer.confirm(). Raise GpaError for a file name, which says nothing of other files."""
    if name.endswith(SUFFIXES) or "/" in name:
        raise GpaError(f"'{name}' is not the name of a pack, such as SavedPage.name")
    return name
