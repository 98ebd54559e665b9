"""Delete superseded pages, in two beats: an index without them, then the files.

I7: before anything is deleted, every object of a doomed page is proved present in another pack that stays. I3 and I5:
the index without them is durable first. I8: marks that protect a pack are looked for again now, not believed from the
plan.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any, NamedTuple

from .. import fs
from .._core.files import IdxFiles, Midx, match_pack, open_midx, prove_present, winners_of
from ..errors import Corrupt, ObjectMissing, Refused, StalePlan, SystemFailed, Unsupported
from ..git import ObjectDir
from ..model import ExpirePlan, Step
from ..state import read_state

PROTECTING = (".keep", ".promisor", ".mtimes")


class Proved(NamedTuple):
    """Packs that may go, the packs that hold their objects, and those held back with the reason."""

    doomed: tuple[str, ...]
    takers: dict[str, tuple[str, ...]]
    kept_back: tuple[Step, ...]


def prove_doomed(objdir: ObjectDir, plan: ExpirePlan) -> Proved:
    """Which planned pages may really go; one that is not proved is held back.

    Raises StalePlan or Corrupt about the index, Refused in a precious-objects repository.
    """
    if objdir.settings.precious_objects:
        raise Refused("cannot delete packs in a precious-objects repo")
    kept_back: list[Step] = []
    takers: dict[str, tuple[str, ...]] = {}
    midx = open_midx(objdir.index_path, objdir.object_format)
    if midx is None or midx.trailer != plan.based_on:
        raise StalePlan("the combined index changed after planning")
    with midx, ExitStack() as stack:
        midx.check_trailer()
        names = midx.pack_names()
        doomed = [pack.name for pack in plan.doomed]
        idx_files = _open_doomed(objdir, stack, doomed, kept_back)
        live = _Live(objdir, stack, names, set(doomed))
        moves = read_state(objdir).moves
        for name, idx_file in idx_files.items():
            try:
                winners = [names[number] for number in winners_of(midx, idx_file[name], name)]
                _prove(objdir, midx, name, idx_file[name], winners, live)
                for move in moves:
                    if name in move.named and move.to in winners and name != move.to:
                        raise ObjectMissing(
                            f"'{move.to}' was preferred, and open readers may not find its objects there"
                        )
            except (ObjectMissing, Corrupt, SystemFailed, Unsupported) as error:
                kept_back.append(Step(pack=name, action="leave", reason=str(error)))
            else:
                takers[name] = tuple(winners)
    return Proved(doomed=tuple(takers), takers=takers, kept_back=tuple(kept_back))


def _open_doomed(objdir: ObjectDir, stack: ExitStack, doomed: list[str], kept_back: list[Step]) -> dict[str, IdxFiles]:
    """The idx of each doomed page; one that is protected now, or cannot be read, is held back."""
    opened: dict[str, IdxFiles] = {}
    for name in doomed:
        reason = protection(objdir, name)
        if not reason:
            try:
                opened[name] = stack.enter_context(IdxFiles(objdir.pack_dir, [name], objdir.object_format))
                continue
            except FileNotFoundError as error:
                raise StalePlan(f"pack '{name}' went away") from error
            except (Corrupt, SystemFailed, Unsupported) as error:
                reason = str(error)
        kept_back.append(Step(pack=name, action="leave", reason=reason))
    return opened


def protection(objdir: ObjectDir, name: str) -> str:
    """Why this pack must stay, by the files beside it now; empty when nothing protects it."""
    for suffix in PROTECTING:
        if os.path.lexists(os.path.join(objdir.pack_dir, name + suffix)):
            return f"protected by its {suffix} file"
    return ""


class _Live:
    """The packs that stay, opened and matched with their idx when a proof first needs them."""

    def __init__(self, objdir: ObjectDir, stack: ExitStack, names: tuple[str, ...], doomed: set[str]) -> None:
        self.names = names
        self.idx: list[Any] = [None] * len(names)
        self._objdir = objdir
        self._stack = stack
        self._doomed = doomed
        self._place = {name: place for place, name in enumerate(names)}

    def need(self, name: str) -> None:
        place = self._place[name]
        if self.idx[place] is not None or name in self._doomed:
            return
        files = self._stack.enter_context(IdxFiles(self._objdir.pack_dir, [name], self._objdir.object_format))
        match_pack(os.path.join(self._objdir.pack_dir, name + ".pack"), files[name])
        self.idx[place] = files[name]


def _prove(objdir: ObjectDir, midx: Midx, name: str, idx: Any, winners: list[str], live: _Live) -> None:
    for winner in winners:
        live.need(winner)
    prove_present(midx, idx, live.idx, os.path.join(objdir.pack_dir, name + ".idx"))


def delete_packs(objdir: ObjectDir, proved: Proved) -> tuple[tuple[str, ...], int]:
    """Unlink the proved pages; the index without them must be published. Gives their names and the bytes freed.

    I9: a page that somebody "wrote into" again since (git then only touches the file) hands its newer mtime on to the
    packs that hold its objects, or `git gc` could prune what was just written.
    """
    deleted: list[str] = []
    freed = 0
    for name in proved.doomed:
        path = os.path.join(objdir.pack_dir, name + ".pack")
        if protection(objdir, name):
            continue
        try:
            stat = os.stat(path)
            for taker in proved.takers[name]:
                fs.raise_mtime(os.path.join(objdir.pack_dir, taker + ".pack"), stat.st_mtime_ns)
        except FileNotFoundError:  # somebody else's repack took it, or the proof with it
            continue
        fs.unlink_pack(objdir, name)
        deleted.append(name)
        freed += stat.st_size
    fs.fsync_dir(objdir.pack_dir)
    return tuple(deleted), freed
