"""What the verbs on archives answer: frozen values, which print as JSON as those of model/ do."""

from __future__ import annotations

from .._core.v1 import CAPACITY
from ..base.tuples import NamedTuple
from ..model.results import PageInfo, WriteResult


class Finding(NamedTuple):
    """Something wrong with a page, or with one entry of it, whose key (hex) is then in `key`.

    `fault` is one of the words in docs/formats/archive-v1.md. `lost`: nothing else gives what should be there.
    """

    page: str
    fault: str
    reason: str
    key: str = ""
    lost: bool = True


class Unindexed(NamedTuple):
    """Bytes of a page's data that no entry names: values that were set and never saved, or that lost their entry.

    `objects` of them are known to be git objects, which take `object_bytes` of the `size`.
    """

    page: str
    size: int
    objects: int = 0
    object_bytes: int = 0


class VerifyArchiveResult(NamedTuple):
    """Every finding, page by page. `objects` are sound entries, of which `shadowed` have a newer one with their key.

    `strays`: pages in the folder that the list does not name.
    """

    pages: int
    objects: int
    shadowed: int
    findings: tuple[Finding, ...]
    unindexed: tuple[Unindexed, ...] = ()
    strays: tuple[str, ...] = ()


class ImportResult(NamedTuple):
    """What an import did, or with `dry_run` would do.

    Of `entries` in the archive's pages `damaged` are no sound objects and `shadowed` are further copies; `rescued`
    objects were found in bytes that no entry names. `present` were in the repository already.
    `archive_bytes` is what the pages take, `page_bytes` what was written for the `imported` objects.
    """

    archive_pages: int
    archive_bytes: int
    entries: int
    damaged: int
    shadowed: int
    rescued: int
    present: int
    imported: int
    pages: tuple[PageInfo, ...]
    page_bytes: int
    refs: tuple[str, ...] = ()
    refs_left: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    unindexed: tuple[Unindexed, ...] = ()
    strays: tuple[str, ...] = ()
    midx: WriteResult | None = None
    dry_run: bool = False

    @property
    def lost(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.lost)


class ExportResult(NamedTuple):
    """What an export added to an archive. `left_out`: objects (hex ids) too large for a page."""

    directory: str
    pages: tuple[PageInfo, ...]
    objects: int
    present: int
    left_out: tuple[str, ...] = ()
    refs: int = 0


class ArchiveRepackPlan(NamedTuple):
    """Small pages to be merged, oldest first, and why the others are left: (name, reason)."""

    directory: str
    batch: tuple[str, ...]
    entries: int
    left: tuple[tuple[str, str], ...] = ()
    reason: str = ""

    @property
    def page_count(self) -> int:
        """How many pages come out at most."""
        return -(-self.entries // CAPACITY)


class ArchiveRepackResult(NamedTuple):
    """What a repack of an archive merged. The sources stay, out of the list, until expire.

    `indexed`: how many objects the combined index names; `reason` says why nothing was merged.
    """

    merged: tuple[str, ...]
    pages: tuple[PageInfo, ...]
    objects: int
    source_bytes: int
    indexed: int
    index_written: bool
    findings: tuple[Finding, ...] = ()
    reason: str = ""


class ArchiveExpireResult(NamedTuple):
    """What an expire of an archive deleted, or with `dry_run` would; what it kept back, and why: (name, reason)."""

    deleted: tuple[str, ...]
    freed_bytes: int
    waiting: int = 0
    next_due: int | None = None
    kept_back: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    dry_run: bool = False
