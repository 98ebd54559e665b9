"""What a look at an object directory finds: an Inventory of packs, index and loose objects.

A frozen value without open files, which prints as JSON: a saved one is a complete bug report. A pack is named by its
file name without suffix (`pack-<checksum>`); times are whole seconds since the epoch, sizes are bytes.
"""

from __future__ import annotations

from ..base.tuples import NamedTuple

LONGEST_HOLD = 14 * 86400
"""How many seconds a page is held at most for packs that it replaces: somebody may keep one of them for ever."""


class PackInfo(NamedTuple):
    """One pack with its idx, as the directory and the index tell it.

    object_count is None when the idx cannot be read; `referenced` (objects whose winner is this pack) is None when
    the index does not name it. `superseded_since`: when a run first saw that nothing points to it, or, of a pack the
    index does not name, when its objects were merged into a page. `doomed`: an expire that was killed had proved it
    superseded and was about to delete it. `returned`: expire deleted a pack of this name lately, and it is back.
    `fault`: why it cannot be used, with the path of the file; such a pack stays where it is, unmerged.
    `made_ns`: the mtime of its idx in nanoseconds, which nobody sets later, unlike that of the pack.

    `held`: it has a .keep of ours (fs/holds.py), "new" or "merged", else "". `held_for`: how many of the packs that it
    replaces are there. `kept` is said of the .keep files of others.
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
        """Nothing is read from it any more: it only waits for expire."""
        return self.referenced == 0 or (self.referenced is None and (self.doomed or self.superseded_since is not None))

    @property
    def is_protected(self) -> bool:
        """I8: never merged and never deleted."""
        return self.kept or self.promisor or self.cruft

    def hold_is_over(self, keep_new: int, now: int) -> bool:
        """I14: whether its hold may end at `now`; one of new objects lasts for `keep_new` seconds."""
        age = now - self.mtime
        if not self.held or (self.held_for and age < LONGEST_HOLD):
            return False
        return self.held != "new" or age >= keep_new

    @property
    def live_count(self) -> int:
        """Objects it is read for: all of them while no index says otherwise."""
        return (self.object_count or 0) if self.referenced is None else self.referenced

    @property
    def expected_size(self) -> int:
        """Share of the file that its live objects take, as git-multi-pack-index(1) estimates it."""
        return self.size * self.live_count // self.object_count if self.object_count else 0


class IndexInfo(NamedTuple):
    """The combined index on disk. `trailer` (hex) names this very content."""

    trailer: str
    size: int
    object_count: int
    pack_names: tuple[str, ...]
    referenced: tuple[int, ...]
    has_bitmap_chunks: bool = False


class Inventory(NamedTuple):
    """An object directory at one moment. `packs` are in directory order, which decides git's ties.

    `loose_count`, `loose_refs` and `git_leftovers` (temporary files of killed git processes, below objects/) are looked
    for only where maintenance as a whole is asked about. `unreadable`: a line about each file or folder that could not
    be read and is passed over. `orphans`: files of packs that are gone, below objects/.
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
