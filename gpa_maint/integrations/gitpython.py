"""GitPython over PageStore: `PagedRepo(path)` is a git.Repo that reads through a store, and writes pages.

Objects wait in an open page, so that related objects get into one page. It is sealed, and every process sees it, before
an index file names its objects, before a git process of this repository starts, and for each commit and tag.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..store.page_store import PageStore
from .gitdb import PagedDB

try:
    from git import Git, IndexFile, Repo
except ImportError as error:
    raise ImportError(f"gpa_maint.integrations.gitpython needs GitPython: {error}") from error


class _SealingGit(Git):
    """Starts git processes, each of which sees all objects that were stored before."""

    odb: PagedDB | None = None

    def execute(self, command: str | Sequence[Any], *args: Any, **options: Any) -> Any:
        self._seal()
        return super().execute(command, *args, **options)

    def get_object_header(self, ref: str | bytes) -> tuple[str, str, int]:
        self._seal()  # a process that was started earlier may answer
        return super().get_object_header(ref)

    def stream_object_data(self, ref: str | bytes) -> tuple[str, str, int, Git.CatFileContentStream]:
        self._seal()
        return super().stream_object_data(ref)

    def _seal(self) -> None:
        if self.odb is not None:
            self.odb.seal()


class _SealingIndex(IndexFile):
    def write(self, *args: Any, **options: Any) -> None:
        if isinstance(self.repo, PagedRepo):
            self.repo.odb.seal()
        super().write(*args, **options)


class PagedRepo(Repo):
    """git.Repo over a PagedDB. Use it in a `with`, or close it.

    Its index seals, `repo.index`; an IndexFile that is made in another way does not, and neither does a git process
    that is started in another way: call `repo.odb.seal()` before.
    """

    GitCommandWrapperType = _SealingGit
    git: _SealingGit
    odb: PagedDB

    def __init__(self, *args: Any, store: PageStore | None = None, **options: Any) -> None:
        """As git.Repo; `store`: what to read from and write to, else one is opened. `odbt` is of no account."""
        super().__init__(*args, **options)
        self.odb = PagedDB(self.odb.root_path(), store, seal=False)
        self.git.odb = self.odb

    @property
    def index(self) -> IndexFile:
        return _SealingIndex(self)

    def close(self) -> None:
        """Close what is open, and let every process see what was stored."""
        super().close()
        self.odb.close()
