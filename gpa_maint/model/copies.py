"""Reports about copies of a repository: those in cold storage, and those of `backup`."""

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
    """Packs that a copy in cold storage lacks, and packs that it no longer needs.

    `pages` must be uploaded, whichever program made them. `superseded` are names of uploaded packs whose objects are
    now in other packs: their files may be deleted after `pages` are uploaded. Both are returned until Writer.confirm().
    """

    pages: tuple[SavedPage, ...]
    superseded: tuple[str, ...]


class BackupPlan(NamedTuple):
    """What a backup would copy; nothing was changed. `refs` and `removed_refs` would change."""

    target: str
    packs: tuple[str, ...]
    bytes: int
    loose_objects: int
    refs: int
    removed_refs: int


class BackupResult(NamedTuple):
    """Result of a backup. All `refs` of the copy, HEAD among them, were checked: their objects exist.

    `packs` and `loose_objects` were copied, `bytes` in all. `deleted` are superseded packs of the copy. `left_out`
    names damaged loose objects that no ref needs. `attempts` is more than 1 if the repository changed so much meanwhile
    that the backup began again.
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
