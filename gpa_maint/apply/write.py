"""Publish a combined index.

I5: it never names a pack that is not there: the directory is read again under the lock, and once more after the rename,
since `git gc` deletes packs without taking the lock. A crash leaves the old index or the new one.
"""

from __future__ import annotations

import os
from contextlib import ExitStack

from .. import fs
from .._core.base import Progress
from .._core.format import IdxFiles, Midx, open_midx, write_midx
from ..errors import Corrupt, GpaError, StalePlan
from ..model.plans import IndexPlan
from ..model.results import WriteResult
from ..repo.objdir import ObjectDir
from ..state.superseded import Move, read_state, record_superseded, state_path


class UnsoundIndex(GpaError):
    """The old index does not have the checksum it ends with: plan again without it."""


def publish_index(
    objdir: ObjectDir,
    space: fs.Workspace,
    plan: IndexPlan,
    *,
    now: int,
    checked: str | None = None,
    progress: Progress | None = None,
) -> WriteResult:
    """Write the planned index and put it in place of the old one.

    `checked`: the trailer of an index whose checksum this run has verified already.

    1. the new index: write, fsync                       a crash leaves the old index
    2. under git's lock: same old index, same packs?     else StalePlan; nothing changed
    3. rename, fsync the directory                       a crash leaves one of the two
    4. stale bitmaps, then an incremental chain, go      nobody reads them beside the new index
    5. what is superseded since now is recorded

    Raises UnsoundIndex, StalePlan, Locked, or Corrupt about an idx that is not in order; Stopped, with the old index in
    place, when another thread calls `progress.stop()` while the new one is written.
    """
    names = [source.name for source in plan.sources]
    with ExitStack() as stack:
        old = open_midx(objdir.index_path, objdir.object_format) if plan.use_old else None
        if old is not None:
            stack.enter_context(old)
            _check_old(old, plan, checked)
        elif plan.use_old:
            raise StalePlan("the combined index is gone")
        temp = space.create(".midx", 0o666)
        stack.callback(temp.close)
        trailer, object_count = _write(objdir, temp, plan, old, progress)
        dropped = set(old.pack_names()).difference(names) if old is not None else set()
        fs.fsync_file(temp.fd, temp.path)
        size = os.fstat(temp.fd).st_size
    with fs.index_lock(objdir, temp.path) as publish:
        if trailer_on_disk(objdir) != plan.based_on:
            raise StalePlan("the combined index changed while the new one was written")
        _check_packs(objdir, names)
        publish()
    space.beside += fs.deleters(objdir)
    there = _check_packs(objdir, names)
    fs.remove_index_files(objdir, keep=trailer, there=there)
    fs.remove_chain(objdir)
    record_superseded(objdir, space, now=now, move=_move(objdir, plan, now), dropped=dropped)
    return WriteResult(
        written=True,
        trailer=trailer,
        pack_count=len(names),
        object_count=object_count,
        size=size,
        warnings=plan.warnings,
    )


def _check_old(old: Midx, plan: IndexPlan, checked: str | None) -> None:
    if old.trailer != plan.based_on:
        raise StalePlan("the combined index changed after planning")
    if old.trailer == checked:
        return
    try:
        old.check_trailer()
    except Corrupt as error:
        raise UnsoundIndex("ignoring existing multi-pack-index; checksum mismatch") from error


def _write(
    objdir: ObjectDir, temp: fs.TempFile, plan: IndexPlan, old: Midx | None, progress: Progress | None
) -> tuple[str, int]:
    places = {name: place for place, name in enumerate(old.pack_names())} if old is not None else {}
    wanted = [source.name for source in plan.sources if source.from_idx]
    try:
        idx_files = IdxFiles(objdir.pack_dir, wanted, objdir.object_format)
    except FileNotFoundError as error:
        raise StalePlan(f"a pack went away while the index was written: {error}") from error
    with idx_files:
        sources = [
            (source.name, idx_files[source.name] if source.from_idx else None, places.get(source.name, -1), source.rank)
            for source in plan.sources
        ]
        return write_midx(
            temp.fd,
            objdir.object_format,
            old=old,
            old_rank=plan.old_rank,
            sources=sources,
            pack_dir=objdir.pack_dir,
            progress=progress,
        )


def trailer_on_disk(objdir: ObjectDir) -> str | None:
    """Return the trailer of the current index, unchecked: it is only compared."""
    size = 20 if objdir.object_format == "sha1" else 32
    try:
        with fs.reading(objdir.index_path) as file:
            file.seek(-size, os.SEEK_END)
            return file.read().hex()
    except (FileNotFoundError, OSError):
        return None


def _check_packs(objdir: ObjectDir, names: list[str]) -> set[str]:
    """Return the names in the pack directory. Raise StalePlan if one of these packs is not among them."""
    there = set(os.listdir(objdir.pack_dir))
    for name in names:
        if name + ".pack" not in there or name + ".idx" not in there:
            raise StalePlan(f"pack '{name}' went away while the index was written")
    return there


def _move(objdir: ObjectDir, plan: IndexPlan, now: int) -> Move | None:
    """Return the move of winners that readers with an older index do not know; None if there is none."""
    named = frozenset(source.name for source in plan.sources) - frozenset(plan.pages)
    # Made from nothing, the index chooses anew. Where we were never before, it is taken for the first one.
    had_index = plan.based_on is not None or os.path.exists(state_path(objdir))
    if not plan.use_old and had_index:
        # What won nothing in the index before is not what a reader of that index looks into.
        return Move(at=now, to=named, named=named - read_state(objdir).superseded.keys())
    return None if plan.preferred is None else Move(at=now, to=frozenset([plan.preferred]), named=named)
