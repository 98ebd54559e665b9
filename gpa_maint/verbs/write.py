"""Write the combined index over all packs or some, and let git write a bitmap for it."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection

from .. import fs
from ..base.arguments import checked, path_text
from ..errors import GitFailed
from ..look.inventory import read_index, take_inventory
from ..model.inventory import IndexInfo, Inventory, PackInfo
from ..model.plans import IndexScope
from ..model.results import WriteResult
from ..repo.discover import find_object_dir
from ..repo.git import run_git
from ..state.superseded import Move, record_superseded
from .at_work import at_work
from .index import write_index
from .session import Session, now

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath
    from ..base.progress import ReportProgress, StopRequest


@checked
def write(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    preferred_pack: str | None = None,
    packs: Collection[str] | None = None,
    bitmap: bool = False,
    refs_snapshot: StrPath | None = None,
    stop: StopRequest | None = None,
    report: ReportProgress | None = None,
) -> WriteResult:
    """Write the combined index over all packs, or `packs` only (names as in --stdin-packs: `pack-<checksum>.idx`).

    The file is not changed if it names these packs already. With `bitmap`, git writes a bitmap over our index, for the
    commits of `refs_snapshot` (a file as for git multi-pack-index write) if given.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    only = None if packs is None else tuple({name.removesuffix(".idx") for name in packs if name.endswith(".idx")})
    scope = IndexScope(only=only, preferred=preferred_pack)
    with at_work(objdir, now, stop=stop, report=report) as session:
        beside = fs.deleters(objdir) if preferred_pack or bitmap else ()
        if beside and preferred_pack:
            warning = f"not preferring '{preferred_pack}': {beside[0]} is at work, and may delete it"
            result = write_index(session, scope._replace(preferred=None))
            result = result._replace(warnings=(*result.warnings, warning))
        else:
            result = write_index(session, scope)
        if report and result.written:
            report("Indexing packs", result.pack_count, result.pack_count)
        if bitmap and beside:
            # With a bitmap the preferred pack wins all its objects.
            warning = f"no bitmap is written: {beside[0]} is at work, and may delete the preferred pack"
            result = result._replace(warnings=(*result.warnings, warning))
        elif bitmap and result.pack_count:
            result = _write_bitmap(session, result, scope, path=path, refs_snapshot=refs_snapshot)
        elif not result.written and result.trailer:
            # As in git: without --bitmap an existing bitmap is removed.
            fs.remove_index_files(objdir, keep="")
    return result


def _write_bitmap(
    session: Session,
    result: WriteResult,
    scope: IndexScope,
    *,
    path: StrPath | None,
    refs_snapshot: StrPath | None,
) -> WriteResult:
    """Let git write the bitmap. git needs a pack that wins all its objects; one that already does moves no winner."""
    objdir = session.objdir
    args = ["multi-pack-index", f"--object-dir={objdir.objects}", "write", "--bitmap"]
    inventory = take_inventory(objdir)
    wanted = inventory.pack((scope.preferred or "").removesuffix(".idx").removesuffix(".pack"))
    chosen = wanted.name if wanted else _sole_winner(inventory)
    if chosen:
        # The name needs its suffix: git 2.39 does not find a bare name, and would prefer its first pack.
        args.append(f"--preferred-pack={chosen}.pack")
    if refs_snapshot:
        args.append(f"--refs-snapshot={os.fspath(refs_snapshot)}")
    stdin = None
    if scope.only is not None:
        args.append("--stdin-packs")
        stdin = "".join(f"{name}.idx\n" for name in sorted(scope.only))
    try:
        run_git(args, cwd=path_text(path), stdin=stdin)
    except GitFailed as failed:
        # Another process took the lock after it was released here. It may be free again by now.
        if f"multi-pack-index.lock': {os.strerror(errno.EEXIST)}" in failed.stderr:
            raise fs.index_locked(objdir) from None
        raise
    session.space.beside += fs.deleters(objdir)
    index = read_index(objdir)
    if index is None:
        return result
    move = _bitmap_move(index, wanted, chosen, now=session.now())
    record_superseded(objdir, session.space, now=session.now(), move=move)
    return WriteResult(
        written=result.written or index.trailer != result.trailer,
        trailer=index.trailer,
        pack_count=len(index.pack_names),
        object_count=index.object_count,
        size=index.size,
        reason=result.reason if index.trailer == result.trailer else "",
        warnings=result.warnings,
    )


def _bitmap_move(index: IndexInfo, wanted: PackInfo | None, chosen: str | None, *, now: int) -> Move | None:
    """Return the move of winners by git's preference; None if the pack won all its objects before."""
    named = frozenset(index.pack_names)
    if chosen is None:
        return Move(at=now, to=named, named=named)
    if wanted is None or wanted.referenced == wanted.object_count:
        return None
    return Move(at=now, to=frozenset([chosen]), named=named)


def _sole_winner(inventory: Inventory) -> str | None:
    """Return the largest pack all of whose objects it wins."""
    whole = [pack for pack in inventory.packs if pack.referenced and pack.referenced == pack.object_count]
    return max(whole, key=lambda pack: pack.object_count or 0).name if whole else None
