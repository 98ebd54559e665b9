"""The repository that dulwich.py opens. Its index file never names objects that other processes do not see.

Imported by it alone. Objects wait in an open page until they are sealed; dulwich adds blobs first, then writes the
index.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dulwich.index import Index
from dulwich.repo import Repo
from dulwich.worktree import WorkTree

if TYPE_CHECKING:
    from dulwich.config import Config
    from dulwich.objects import ObjectID


class PagedRepo(Repo):
    """dulwich's Repo over a PagedObjectStore."""

    # After a commit it would merge 50 packs, in memory, while the committer waits: pages are merged by `git gpa run`.
    _autogc_disabled = True

    def open_index(self, config: Config | None = None) -> Index:
        """As Repo's; before it is written, the store is sealed."""
        return _SealingIndex(super().open_index(config), self.seal)

    def get_worktree(self) -> WorkTree:
        """As Repo's; the same holds for it."""
        return _SealingWorkTree(self, self.path)

    def seal(self) -> None:
        """Let every process see what was added so far."""
        seal: Callable[[], None] | None = getattr(self.object_store, "seal", None)
        if seal is not None:  # dulwich makes such a repository over its own store, as in PagedRepo.init()
            seal()


class _SealingIndex(Index):
    def __init__(self, plain: Index, seal: Callable[[], None]) -> None:
        vars(self).update(vars(plain))
        self._seal = seal

    def write(self) -> None:
        self._seal()
        super().write()


class _SealingWorkTree(WorkTree):
    def reset_index(self, tree: ObjectID | None = None, config: Config | None = None) -> None:
        if isinstance(self._repo, PagedRepo):
            self._repo.seal()
        super().reset_index(tree, config)
