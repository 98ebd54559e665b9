"""The API of the page library that git-gpa continues, over the same files: for programs that go on with v1 archives.

`PagedArchive` holds values under keys of 20 bytes; `ArchiveRepository` is a pygit2 repository whose objects they are;
docs/from-paged-archive.md says what has changed, and how to go over to PageStore. Only repositories need pygit2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .archive import PagedArchive
from .errors import (
    ArchiveLibFileReadError,
    ArchiveLibIndexMaxSizeOverflowException,
    ArchiveLibIndexOutOfBoundsException,
    ArchiveLibInvalidArchiveHeaderError,
    ArchiveLibItemNotFoundError,
    ArchiveLibUnknownArchiveVersionError,
)

if TYPE_CHECKING:
    from .repository import ArchiveRepository, clone_repo_object

__all__ = [
    "ArchiveLibFileReadError",
    "ArchiveLibIndexMaxSizeOverflowException",
    "ArchiveLibIndexOutOfBoundsException",
    "ArchiveLibInvalidArchiveHeaderError",
    "ArchiveLibItemNotFoundError",
    "ArchiveLibUnknownArchiveVersionError",
    "ArchiveRepository",
    "PagedArchive",
    "clone_repo_object",
]


def __getattr__(name: str) -> object:
    if name not in ("ArchiveRepository", "clone_repo_object"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(".repository", __name__), name)
    return found
