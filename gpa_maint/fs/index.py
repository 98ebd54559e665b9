"""The combined index: its lock, and the files that belong to it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Iterable, Iterator

from ..base import safe_open
from ..errors import Locked, SystemFailed
from ..repo.objdir import ObjectDir
from .door import fsync_dir, named, replace_name, take_name, unlink
from .packs import protection, unlink_pack
from .temp import INDEX_LOCK, packs_without_idx


@contextlib.contextmanager
def index_lock(objdir: ObjectDir, new_index: str) -> Iterator[Callable[[], None]]:
    """Hold git's lock on the index, and yield a function that replaces the index by `new_index`.

    Raises Locked, in git's words, if another process holds the lock.
    """
    lock = os.path.join(objdir.pack_dir, INDEX_LOCK)
    try:
        take_name(new_index, lock)
    except FileExistsError:
        raise index_locked(objdir) from None
    held = True

    def publish() -> None:
        nonlocal held
        held = replace_name(new_index, lock, objdir.index_path)
        fsync_dir(objdir.pack_dir)

    try:
        yield publish
    finally:
        if held:
            unlink(lock)


def check_index_lock(objdir: ObjectDir) -> None:
    """Raise Locked if another process holds git's lock on the index, before any work is done in vain."""
    if os.path.lexists(os.path.join(objdir.pack_dir, INDEX_LOCK)):
        raise index_locked(objdir)


def index_locked(objdir: ObjectDir) -> Locked:
    """Return the error about a locked index, in git's words."""
    lock = os.path.join(objdir.pack_dir, INDEX_LOCK)
    hint = (
        "another git process seems to be writing the index; no object was touched. If none is running, one was killed: "
        f"remove '{lock}' and run again"
    )
    return Locked(f"Unable to create '{lock}': File exists.", path=lock, hint=hint)


def finish_deleting(objdir: ObjectDir, doomed: Container[str]) -> None:
    """Remove the files of packs whose .idx a killed expire had unlinked, and which nobody can see.

    Files that cannot be removed stay for the next run.
    """
    there = set(safe_open.names_in(objdir.pack_dir))
    for path in packs_without_idx(objdir):
        name = os.path.basename(path).removesuffix(".pack")
        # a push of the same pack creates the .keep first
        if name in doomed and not protection(objdir, there, name):
            with contextlib.suppress(SystemFailed):
                unlink_pack(objdir, name, there)


def remove_index(objdir: ObjectDir) -> None:
    """Remove the combined index and all files that belong to it. Readers then use the .idx files."""
    unlink(objdir.index_path)
    remove_index_files(objdir, keep="")
    fsync_dir(objdir.pack_dir)


def remove_index_files(objdir: ObjectDir, *, keep: str, there: Iterable[str] | None = None) -> None:
    """Remove bitmaps and reverse indexes of all indexes but that with the trailer `keep`; no reader opens them again.

    `there`: the names in the pack directory, if the caller has listed it.
    """
    for name in safe_open.names_in(objdir.pack_dir) if there is None else there:
        stem, dot, suffix = name.partition(".")
        if stem.startswith("multi-pack-index-") and dot and suffix in ("bitmap", "rev") and stem[17:] != keep:
            unlink(os.path.join(objdir.pack_dir, name))


def remove_chain(objdir: ObjectDir) -> None:
    """Remove an incremental chain. The single file must exist; readers prefer it."""
    chain = os.path.join(objdir.pack_dir, "multi-pack-index.d")
    unlink(os.path.join(chain, "multi-pack-index-chain"))
    with contextlib.suppress(FileNotFoundError):
        for name in safe_open.names_in(chain):
            unlink(os.path.join(chain, name))
        with named("remove", chain), safe_open.place_of(chain) as (folder, name):
            os.rmdir(name, dir_fd=folder)
