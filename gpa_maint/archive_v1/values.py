"""Results of the verbs on archives: frozen values, which print as JSON like those of model/."""

from __future__ import annotations

from .._core.v1 import CAPACITY
from ..base.tuples import NamedTuple
from ..model.results import PageInfo, WriteResult


class Finding(NamedTuple):
    """Something wrong with a page, or with one entry of it, whose key (hex) is then in `key`.

    `fault` is one of the words in docs/formats/archive-v1.md. `lost`: there is no other copy.
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
    """Result of an import, or with `dry_run` the expected result.

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
    """Result of an export. `left_out`: objects (hex ids) too large for a page."""

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
        """Largest number of new pages."""
        return -(-self.entries // CAPACITY)


class ArchiveRepackResult(NamedTuple):
    """Result of a repack of an archive. The sources stay, outside the list, until expire.

    `indexed`: number of objects in the combined index; `reason` says why nothing was merged.
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
    """Result of an expire of an archive, or with `dry_run` the expected one; pages that stay: (name, reason)."""

    deleted: tuple[str, ...]
    freed_bytes: int
    waiting: int = 0
    next_due: int | None = None
    kept_back: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    dry_run: bool = False
