"""What copies of a repository have and lack: those in cold storage, and those of `backup`."""

from __future__ import annotations

from ..base.tuples import NamedTuple


class ImportedObjects(NamedTuple):
    """Result of import-objects.

    The numbers of objects in the input and of new ones, the pages, and git's lines about objects that it lacks.
    """

    object_count: int
    added_count: int
    page_count: int
    missing: tuple[str, ...] = ()


class SavedPage(NamedTuple):
    """A pack to be copied: `paths` of its files, .pack and .idx first, and their SHA-256 (hex) in the same order."""

    name: str
    paths: tuple[str, ...]
    objects: int
    bytes: int
    sha256: tuple[str, ...]


class SaveReport(NamedTuple):
    """What a copy in cold storage lacks, and what it does not need any more.

    `pages` are to be uploaded, whoever made them. `superseded` are names of packs that were uploaded, and whose objects
    are in others now: their files may go once `pages` are there. Both are named again until Writer.confirm() is told.
    """

    pages: tuple[SavedPage, ...]
    superseded: tuple[str, ...]


class BackupPlan(NamedTuple):
    """What a backup would copy now; nothing was changed. `refs` and `removed_refs` are those that would change."""

    target: str
    packs: tuple[str, ...]
    bytes: int
    loose_objects: int
    refs: int
    removed_refs: int


class BackupResult(NamedTuple):
    """What a backup did. All `refs` of the copy, HEAD among them, were checked: what they name is there.

    `packs` and `loose_objects` were copied, `bytes` in all. `deleted` packs of the copy were superseded by others.
    `left_out` names damaged loose objects, which no ref needs. `attempts` is more than 1 where the repository changed
    so much meanwhile that the backup began again.
    """

    target: str
    packs: tuple[str, ...]
    loose_objects: int
    bytes: int
    deleted: tuple[str, ...]
    refs: int
    changed_refs: int
    removed_refs: int
    left_out: tuple[str, ...]
    attempts: int
    reason: str = ""
