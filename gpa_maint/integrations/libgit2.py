"""pygit2 repositories that read and write through a PageStore.

Any number of repositories and threads may share one store, and be closed in any order. libgit2 calls the C code of the
store directly: no Python runs when it reads.

libgit2 hashes each object that it reads; for larger ones that takes longer than reading them. pygit2 can end it for the
whole process, `pygit2.option(pygit2.enums.Option.ENABLE_STRICT_HASH_VERIFICATION, False)`; a store that was opened with
`verify=True` hashes several times as fast.
"""

from __future__ import annotations

import os
from types import ModuleType
from typing import TYPE_CHECKING, Literal
from weakref import WeakKeyDictionary

from ..base.arguments import PATH, check
from ..errors import Unsupported
from ..store.page_store import PageStore, expect_store

if TYPE_CHECKING:
    import pygit2

# What a fork has to know of lives as long as the repository: its reader, and its writer, which seals at its end.
_LENT: WeakKeyDictionary[pygit2.Repository, list[object]] = WeakKeyDictionary()


def attach(
    repo: pygit2.Repository,
    store: PageStore,
    *,
    mode: Literal["replace", "add"] = "replace",
    new_objects: Literal["pages", "loose"] = "pages",
) -> None:
    """Let `repo` read and write through `store`: before other threads use it, and before objects are taken from it.

    "replace": the store is the whole object database, with loose objects and the alternates that it knows now. New
    objects go to the store's writer. When the call for a commit or tag returns, it and all objects written before are
    in a page that every git process sees. Other objects get into a page then, or with `store.writer().seal()`, or when
    the store is closed, the repository freed, or the program ends. With new_objects="loose", or if the repository is
    read-only, libgit2 writes loose objects. A fetch writes packs. "add": the store is asked first, then the existing
    backends, which also do all writing. Each object is listed once.

    Raises Unsupported if pygit2's libgit2 is not 1.7 to 1.9, and for a store of SHA-256 objects.
    """
    if not isinstance(repo, _pygit2().Repository):
        raise TypeError(f"repo is a pygit2.Repository, not {type(repo).__name__}")
    expect_store(store)
    _check_ways(mode, new_objects)
    if store.object_format != "sha1":
        raise Unsupported(f"libgit2 reads SHA-1 repositories only, and '{store.path}' is {store.object_format}")
    replace = mode == "replace"
    write = replace and new_objects == "pages" and os.access(store.path, os.W_OK)
    address = int.from_bytes(repo._pointer, "little")
    lent = store._lend_to_libgit2(_library(), address, replace=replace, write=write, fsync=_syncs(repo))
    _LENT.setdefault(repo, []).append(lent)


def open_repository(
    path: str | os.PathLike[str],
    store: PageStore | None = None,
    *,
    mode: Literal["replace", "add"] = "replace",
    new_objects: Literal["pages", "loose"] = "pages",
) -> pygit2.Repository:
    """Return the repository at `path`, attached to `store`, or to a new store if none is given.

    `mode` and `new_objects` as in attach().
    """
    check("path", path, PATH._replace(may_be_none=False))
    if store is not None:
        expect_store(store)
    _check_ways(mode, new_objects)
    repo: pygit2.Repository = _pygit2().Repository(os.fspath(path))
    store = PageStore.open(_objects_dir(repo), object_format="sha1") if store is None else store
    attach(repo, store, mode=mode, new_objects=new_objects)
    return repo


def _check_ways(mode: str, new_objects: str) -> None:
    if mode not in ("replace", "add"):
        raise ValueError(f"mode is 'replace' or 'add', not '{mode}'")
    if new_objects not in ("pages", "loose"):
        raise ValueError(f"new_objects is 'pages' or 'loose', not '{new_objects}'")


def _pygit2() -> ModuleType:
    try:
        import pygit2
    except ImportError as error:
        raise Unsupported(f"pygit2 cannot be imported: {error}", hint="pip install pygit2") from error
    return pygit2


def _library() -> str:
    """Return the path of pygit2's extension module, which is linked with the libgit2 in use."""
    library: str = _pygit2()._pygit2.__file__
    return library


def _syncs(repo: pygit2.Repository) -> bool:
    """Return whether libgit2 syncs the loose objects that it writes."""
    try:
        return repo.config.get_bool("core.fsyncObjectFiles")
    except KeyError:
        return False


def _objects_dir(repo: pygit2.Repository) -> str:
    """Return the common git directory, which a linked worktree names in a file."""
    try:
        with open(os.path.join(repo.path, "commondir"), encoding="utf-8", errors="surrogateescape") as file:
            return os.path.join(repo.path, file.read().rstrip("\n"), "objects")
    except FileNotFoundError:
        return os.path.join(repo.path, "objects")
