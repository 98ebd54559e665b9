"""ArchiveRepository: a pygit2 repository whose objects are the values of an archive. Needs pygit2.

The repository on disk lends refs, HEAD and configuration; of the objects there none is seen. New objects wait in the
archive until that is saved. libgit2 calls the C code of the archive itself: no Python is involved.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pygit2
from pygit2.enums import FileMode

from .archive import PagedArchive


class ArchiveRepository(pygit2.Repository):
    """All that pygit2.Repository has, over an archive, and also after that was closed. One thread at a time."""

    def __init__(self, repo_path: str, archive: PagedArchive, *args: Any, **kwargs: Any) -> None:
        """`repo_path`: a repository with the refs. pygit2.GitError when there is none."""
        super().__init__(os.fspath(repo_path), *args, **kwargs)
        # pygit2's extension module: whichever libgit2 it is linked with is the one in use.
        library: str = pygit2._pygit2.__file__
        archive.values.lend_to_libgit2(library, int.from_bytes(self._pointer, "little"))
        self._archive = archive

    @classmethod
    def from_path(cls, repo_path: str, root_path: str, layers: Sequence[str] | None) -> ArchiveRepository:
        """Over the pages `layers` in the folder `root_path`, the newest last; see PagedArchive."""
        return cls(repo_path, PagedArchive(os.path.join(root_path, ""), layers))

    @property
    def backend_archive(self) -> PagedArchive:
        """The archive, whose save() makes lasting what was written."""
        return self._archive


def clone_repo_object(
    source_repo: pygit2.Repository, target_repo: pygit2.Repository, hex: str, *, reachable: bool = False
) -> None:
    """Copy the object of that id from one repository to another: that object alone, as the original does.

    With `reachable` all that it reaches too, what is reached before what reaches it; where the target has an object it
    is taken to have all that it reaches. Submodules' commits are skipped. Raises KeyError if the source lacks an
    object.
    """
    if not reachable:
        _copy(source_repo, target_repo, pygit2.Oid(hex=hex))
        return
    waiting = [(pygit2.Oid(hex=hex), False)]
    while waiting:
        oid, is_entered = waiting.pop()
        if is_entered:
            _copy(source_repo, target_repo, oid)
        elif oid not in target_repo.odb:
            waiting.append((oid, True))
            waiting += ((reached, False) for reached in _reached(source_repo, oid))


def _copy(source: pygit2.Repository, target: pygit2.Repository, oid: pygit2.Oid) -> None:
    kind, content = source.odb.read(oid)
    target.odb.write(kind, content)


def _reached(repo: pygit2.Repository, oid: pygit2.Oid) -> Iterator[pygit2.Oid]:
    """Yield the objects that an object names directly."""
    found = repo[oid]
    if isinstance(found, pygit2.Commit):
        yield from (*found.parent_ids, found.tree_id)
    elif isinstance(found, pygit2.Tag):
        yield found.target
    elif isinstance(found, pygit2.Tree):
        yield from (entry.id for entry in found if entry.filemode != FileMode.COMMIT)
