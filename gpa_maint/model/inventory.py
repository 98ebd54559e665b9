"""Inventory of an object directory: packs, index and loose objects.

It is a frozen value without open files, and prints as JSON; a saved one is a complete bug report. A pack's name is its
file name without suffix (`pack-<checksum>`); times are whole seconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

from ..base.tuples import NamedTuple

LONGEST_HOLD = 14 * 86400
"""Largest number of seconds for which a page is held for packs that it replaces, since one may stay for ever."""


class PackInfo(NamedTuple):
    """One pack with its idx, by the directory and the index.

    object_count is None if the idx cannot be read; `referenced` (objects whose winner is this pack) is None if the
    index does not name the pack. `superseded_since`: when a run first found that no winner is in it, or, for a pack
    outside the index, when its objects were merged into a page. `doomed`: a killed expire had proved it superseded, and
    was about to delete it. `returned`: expire recently deleted a pack of this name, and it came back. `fault`: why it
    cannot be used, with the path of the file; such a pack stays, unmerged. `made_ns`: the mtime (ns) of its idx, which
    no program changes later, unlike that of the pack.

    `held`: kind of its hold (fs/holds.py), "new" or "merged", else "". `held_for`: number of existing packs that it
    replaces. `kept`: it has a .keep of another program.
    """

    name: str
    size: int
    mtime: int
    object_count: int | None
    referenced: int | None
    kept: bool = False
    promisor: bool = False
    cruft: bool = False
    superseded_since: int | None = None
    doomed: bool = False
    returned: bool = False
    fault: str = ""
    made_ns: int = 0
    held: str = ""
    held_for: int = 0

    @property
    def is_indexed(self) -> bool:
        return self.referenced is not None

    @property
    def is_superseded(self) -> bool:
        """Whether no reader needs it any more, and it only waits for expire."""
        return self.referenced == 0 or (self.referenced is None and (self.doomed or self.superseded_since is not None))

    @property
    def is_protected(self) -> bool:
        """I8: whether it must never be merged or deleted."""
        return self.kept or self.promisor or self.cruft

    def hold_is_over(self, keep_new: int, now: int) -> bool:
        """I14: Return whether its hold may end at `now`; a hold of new objects lasts for `keep_new` seconds."""
        age = now - self.mtime
        if not self.held or (self.held_for and age < LONGEST_HOLD):
            return False
        return self.held != "new" or age >= keep_new

    @property
    def live_count(self) -> int:
        """Number of objects that are read from it: all of them unless an index says otherwise."""
        return (self.object_count or 0) if self.referenced is None else self.referenced

    @property
    def expected_size(self) -> int:
        """Bytes of the file that its live objects take, as git-multi-pack-index(1) estimates them."""
        return self.size * self.live_count // self.object_count if self.object_count else 0


class IndexInfo(NamedTuple):
    """The combined index on disk. `trailer` (hex) identifies its content."""

    trailer: str
    size: int
    object_count: int
    pack_names: tuple[str, ...]
    referenced: tuple[int, ...]
    has_bitmap_chunks: bool = False


class Inventory(NamedTuple):
    """An object directory at one moment. `packs` are in directory order, which decides git's ties.

    `loose_count`, `loose_refs` and `git_leftovers` (temporary files of killed git processes, below objects/) are filled
    only for maintenance as a whole. `unreadable`: a line about each file or folder that could not be read and is
    skipped. `orphans`: files of deleted packs, below objects/.
    """

    object_format: str
    midx: IndexInfo | None
    packs: tuple[PackInfo, ...]
    vanished: tuple[str, ...] = ()
    idx_without_pack: tuple[str, ...] = ()
    bitmaps: tuple[str, ...] = ()
    has_chain: bool = False
    temporary_files: int = 0
    loose_count: int = 0
    loose_refs: int = 0
    git_leftovers: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()

    def pack(self, name: str) -> PackInfo | None:
        return next((pack for pack in self.packs if pack.name == name), None)


class LooseObject(NamedTuple):
    """A loose object file: hex id, bytes on disk, mtime in nanoseconds since the epoch."""

    oid: str
    size: int
    mtime_ns: int
