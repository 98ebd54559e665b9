"""One function per verb: look, decide, do, and again when the plan is stale. The API for app servers.

Each takes the path of a repository (default: the current directory) or, as `object_dir`, an object directory it uses,
and returns a frozen value of model/. A long call ends soon, with Stopped and nothing lost, once another thread has
called `stop.request()`. Several threads may call at once; of two runs in one repository the second
gets Locked. `report(title, done, total)` is called now and then while a long step goes on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from .. import fs
from ..apply.repack import Report
from ..apply.write import record_superseded
from ..base.arguments import checked
from ..base.progress import Progress, Stop
from ..errors import GitFailed, GpaError
from ..look.inventory import read_index, take_inventory
from ..model.inventory import IndexInfo, Inventory, PackInfo
from ..model.plans import ExpirePlan, LoosePlan, RepackPlan, RunPlan
from ..model.results import ExpireResult, LooseResult, RepackResult, RunResult, WriteResult
from ..plan.repack import plan_repack
from ..repo.discover import find_object_dir
from ..repo.git import is_partial, run_git
from ..repo.objdir import ObjectDir
from ..state.superseded import Move
from . import rounds
from .rounds import EmptyPreferredPack

TYPE_CHECKING = False  # start-up cost: most verbs do without these values, and without the typing module's name for it
if TYPE_CHECKING:
    from typing import IO

    from ..base.arguments import StrPath
    from ..model.copies import BackupPlan, BackupResult, ImportedObjects
    from ..model.repair import RepairPlan, RepairResult
    from ..model.setup import Schedule
    from ..model.status import Explanation, Status
    from ..model.verify import VerifyResult


@checked
def survey(path: StrPath | None = None, *, object_dir: StrPath | None = None) -> Inventory:
    """What is there now. Needs no lock and changes nothing."""
    return take_inventory(find_object_dir(path, object_dir=object_dir))


def _text(path: StrPath | None) -> str | None:
    return None if path is None else os.fspath(path)


def _progress_of(stop: Stop | None) -> Progress | None:
    return stop.progress if stop else None


# ---- write ----


@checked
def write(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    preferred_pack: str | None = None,
    packs: Collection[str] | None = None,
    bitmap: bool = False,
    refs_snapshot: StrPath | None = None,
    stop: Stop | None = None,
    report: Report | None = None,
) -> WriteResult:
    """Write the combined index over all packs, or `packs` only (names as in --stdin-packs: `pack-<checksum>.idx`).

    The file stays untouched when it names these packs already. With `bitmap`, git itself writes one over the index we
    leave, chosen from `refs_snapshot` (a file as for git multi-pack-index write) if given.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    only = None if packs is None else {name.removesuffix(".idx") for name in packs if name.endswith(".idx")}
    with rounds.at_work(objdir) as space:
        beside = fs.deleters(objdir) if preferred_pack or bitmap else ()
        if beside and preferred_pack:
            warning = f"not preferring '{preferred_pack}': {beside[0]} is at work, and may delete it"
            result = rounds.write_index(objdir, space, only=only, stop=_progress_of(stop))
            result = result._replace(warnings=(*result.warnings, warning))
        else:
            result = rounds.write_index(objdir, space, preferred=preferred_pack, only=only, stop=_progress_of(stop))
        if report and result.written:
            report("Indexing packs", result.pack_count, result.pack_count)
        if bitmap and beside:
            # With a bitmap the preferred pack wins all that it has.
            warning = f"no bitmap is written: {beside[0]} is at work, and may delete the preferred pack"
            result = result._replace(warnings=(*result.warnings, warning))
        elif bitmap and result.pack_count:
            result = _write_bitmap(objdir, space, _text(path), result, preferred_pack, only, _text(refs_snapshot))
        elif not result.written and result.trailer:
            # As git does: without --bitmap there shall be none.
            fs.remove_index_files(objdir, keep="")
    return result


def _write_bitmap(
    objdir: ObjectDir,
    space: fs.Workspace,
    path: str | None,
    result: WriteResult,
    preferred: str | None,
    only: Collection[str] | None,
    refs_snapshot: str | None,
) -> WriteResult:
    """Let git write the bitmap. It needs a pack that wins all its objects: one that does already moves no winner."""
    args = ["multi-pack-index", f"--object-dir={objdir.objects}", "write", "--bitmap"]
    inventory = take_inventory(objdir)
    wanted = inventory.pack((preferred or "").removesuffix(".idx").removesuffix(".pack"))
    chosen = wanted.name if wanted else _sole_winner(inventory)
    if chosen:
        # With its suffix: git 2.39 does not know a bare name, and would prefer its first pack.
        args.append(f"--preferred-pack={chosen}.pack")
    if refs_snapshot:
        args.append(f"--refs-snapshot={refs_snapshot}")
    stdin = None
    if only is not None:
        args.append("--stdin-packs")
        stdin = "".join(f"{name}.idx\n" for name in sorted(only))
    try:
        run_git(args, cwd=path, stdin=stdin)
    except GitFailed as failed:
        # Somebody took the lock after it was released here. It may be free again by now.
        if f"multi-pack-index.lock': {os.strerror(errno.EEXIST)}" in failed.stderr:
            raise fs.index_locked(objdir) from None
        raise
    space.beside += fs.deleters(objdir)
    index = read_index(objdir)
    if index is None:
        return result
    record_superseded(objdir, space, now=rounds.now(), move=_bitmap_move(index, wanted, chosen))
    return WriteResult(
        written=result.written or index.trailer != result.trailer,
        trailer=index.trailer,
        pack_count=len(index.pack_names),
        object_count=index.object_count,
        size=index.size,
        reason=result.reason if index.trailer == result.trailer else "",
        warnings=result.warnings,
    )


def _bitmap_move(index: IndexInfo, wanted: PackInfo | None, chosen: str | None) -> Move | None:
    """What git's preference moved: nothing when the pack won all its objects before."""
    named = frozenset(index.pack_names)
    if chosen is None:
        return Move(at=rounds.now(), to=named, named=named)
    if wanted is None or wanted.referenced == wanted.object_count:
        return None
    return Move(at=rounds.now(), to=frozenset([chosen]), named=named)


def _sole_winner(inventory: Inventory) -> str | None:
    """The largest pack all of whose objects it wins."""
    whole = [pack for pack in inventory.packs if pack.referenced and pack.referenced == pack.object_count]
    return max(whole, key=lambda pack: pack.object_count or 0).name if whole else None


# ---- repack ----


def plan_repack_of(objdir: ObjectDir, *, batch_bytes: int = 0, page_objects: int | None = None) -> RepackPlan:
    """What repack() would do now."""
    return _plan_repack(objdir, take_inventory(objdir), batch_bytes, page_objects)


def _plan_repack(objdir: ObjectDir, inventory: Inventory, batch_bytes: int, page_objects: int | None) -> RepackPlan:
    settings = objdir.settings
    return plan_repack(
        inventory,
        batch_bytes=batch_bytes,
        page_objects=page_objects or settings.page_objects,
        page_bytes=settings.page_bytes,
        depth=settings.depth,
    )


@checked
def repack(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    batch_bytes: int = 0,
    page_objects: int | None = None,
    stop: Stop | None = None,
    report: Report | None = None,
) -> RepackResult:
    """Merge small packs into pages of `page_objects` objects (default gpa.pageObjects) and index them.

    Packs are taken as git multi-pack-index repack does, oldest first until their expected sizes reach `batch_bytes`
    (0: all). The sources stay until expire(). An empty result says in `reason` why nothing was done.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    with rounds.at_work(objdir) as space:
        return rounds.merge(
            objdir,
            space,
            lambda inventory: _plan_repack(objdir, inventory, batch_bytes, page_objects),
            indexed=lambda inventory, plan: True,
            report=report,
            stop=_progress_of(stop),
        )


# ---- loose objects, and objects from elsewhere ----


def plan_add_loose_of(objdir: ObjectDir) -> LoosePlan:
    """What add_loose() would do now."""
    return rounds.plan_loose_now(objdir)


@checked
def add_loose(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    stop: Stop | None = None,
    report: Report | None = None,
) -> LooseResult:
    """Put all loose objects into pages and remove their files, as a run does when there are many.

    Locked while another run, `git gc` or `git maintenance` is at work.
    """
    from ..apply.loose import pack_loose  # start-up cost

    objdir = find_object_dir(path, object_dir=object_dir)
    with rounds.at_work(objdir) as space:
        progress = _progress_of(stop)
        result = pack_loose(objdir, space, rounds.plan_loose_now(objdir, progress), report, progress, now=rounds.now())
        if result.pages:
            rounds.tell_dumb_http(objdir, _text(path))
        return result


@checked
def import_objects(
    stream: IO[bytes],
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    durability: str | None = None,
    report: Report | None = None,
) -> ImportedObjects:
    """Put the objects of `stream`, which is what `git cat-file --batch` prints, into pages.

    `durability` is that of PageStore.writer(). Needs no lock: maintenance may go on beside it.
    """
    from ..store import import_stream

    objdir = find_object_dir(path, object_dir=object_dir)
    return import_stream.import_objects(objdir, stream, durability=durability, report=report)


# ---- expire ----


def plan_expire_of(objdir: ObjectDir, *, grace_seconds: int | None = None) -> ExpirePlan:
    """What expire() would do now."""
    return rounds.plan_expire_now(objdir, take_inventory(objdir, counts=False), grace_seconds)


@checked
def expire(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    grace_seconds: int | None = None,
    stop: Stop | None = None,
    report: Report | None = None,
) -> ExpireResult:
    """Delete pages that nothing has pointed to for `grace_seconds` (default gpa.expireGrace; 0: now).

    Locked while `git gc` or `git maintenance` runs; Refused in a precious-objects repository. What cannot be proved
    safe to delete stays, and is listed in `kept_back`.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    with rounds.at_work(objdir) as space:
        return rounds.expire(objdir, space, grace_seconds, report, stop=_progress_of(stop))


# ---- run ----


@checked
def maintain(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    max_seconds: float | None = None,
    stop: Stop | None = None,
    report: Report | None = None,
) -> RunResult:
    """Do all that is due, a step at a time: loose objects, index, merging, expiry, leftovers, refs.

    Ends cleanly, within a second or so, after `max_seconds` or when another thread asks by `stop`; the next run goes
    on. Locked when another run, `git gc` or `git maintenance` is at work. A result without steps says in `reason` why
    nothing was due.
    """
    ending = stop or Stop()
    with time_limit(ending, max_seconds):
        objdir = find_object_dir(path, object_dir=object_dir, stop=ending)
        return maintain_in(objdir, _text(path), stop=ending, report=report)


@contextmanager
def time_limit(stop: Stop, max_seconds: float | None) -> Iterator[None]:
    """Ask for the end after this time, if that is not over before; None: never."""
    if max_seconds is None:
        yield
        return
    from threading import Timer  # start-up cost

    timer = Timer(max_seconds, stop.request, ["time limit"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def maintain_in(
    objdir: ObjectDir,
    path: str | None = None,
    *,
    max_seconds: float | None = None,
    stop: Stop | None = None,
    report: Report | None = None,
    settle_seconds: float = 60,
) -> RunResult:
    """maintain() where the object directory of the repository at `path` is known already.

    `settle_seconds`: how long a run waits at its end for git processes at work that delete packs.
    """
    from . import run  # start-up cost: the single verbs do without

    ending = stop or Stop()
    with time_limit(ending, max_seconds):
        return run.run(objdir, path=path, stop=ending, report=report, settle_seconds=settle_seconds)


def plan_maintenance_of(objdir: ObjectDir) -> RunPlan:
    """What maintain() would do now."""
    from . import run

    return run.plan_maintenance(objdir)


# ---- status ----


@checked
def status(path: StrPath | None = None, *, object_dir: StrPath | None = None) -> Status:
    """What is there, what a run would do now, what the last one did and what all have cost, and what is amiss.

    Needs no lock, changes nothing, and works without rights to write. Git's errors where git refuses the repository.
    """
    from . import status as overview  # start-up cost: the single verbs do without

    return overview.take_status(find_object_dir(path, object_dir=object_dir), _text(path))


@checked
def explain(
    path: StrPath | None = None, *, object_dir: StrPath | None = None, packs: Collection[str] = ()
) -> Explanation:
    """What a run would do with each of `packs` (names, with or without suffix; none: all), and by which rule.

    GpaError about a name that is not there.
    """
    from . import status as overview

    return overview.explain_packs(find_object_dir(path, object_dir=object_dir), packs)


@checked
def schedule(
    path: StrPath | None = None,
    *,
    system: str = "systemd",
    folder: StrPath | None = None,
    program: str = "",
    git_dir: str = "",
) -> Schedule:
    """Units for systemd, or with `system="cron"` a line for that, that start maintenance each hour; nothing is written.

    Of the repository at `path` (default: the current directory), or of all below `folder`. `program`: the git-gpa to
    start, by default the one of this Python. `git_dir`: where its git is, by default where such programs usually are.
    """
    from ..setup import timers

    if folder is not None:
        return timers.schedule_folder(os.fspath(folder), system=system, program=program, git_dir=git_dir)
    return timers.schedule_repository(find_object_dir(path), system=system, program=program, git_dir=git_dir)


# ---- verify ----


@checked
def verify(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    deep: bool = False,
    refs: bool = False,
    threads: int = 0,
    report: Callable[[str, int, int], None] | None = None,
) -> VerifyResult:
    """What `git multi-pack-index verify` checks; with `deep` also every byte of every pack; with `refs` also whether
    all that refs name is there.

    `object_dir` may be any folder that has packs.

    `threads` (0: one a core) share the deep check.
    """
    from ..look.verify import verify_objects, verify_refs

    objdir = find_object_dir(path, object_dir=object_dir, any_folder=True)
    if refs and object_dir is not None:
        raise GpaError("refs are checked in a repository, not in an object directory")
    result = verify_objects(objdir, deep=deep, threads=threads, report=report)
    if not refs:
        return result
    findings, count = verify_refs(_text(path), partial=is_partial(_text(path)))
    return result._replace(findings=(*result.findings, *findings), ref_count=count)


# ---- backup ----


@checked
def backup(
    target: StrPath,
    path: StrPath | None = None,
    *,
    grace_seconds: int = 0,
    report: Report | None = None,
) -> BackupResult:
    """Copy the repository to `target`, a bare repository that is made, or an earlier backup of it, which is brought up
    to date.

    Its refs are moved only when all that they name is there, durable and checked. Nothing is changed in the repository
    at `path`, in which pushes and any maintenance may go on. Packs of the copy that others supersede are deleted after
    `grace_seconds`. Killed at any moment, it leaves a copy as whole as it was, and the next one goes on.
    """
    from . import backup as backups

    return backups.backup(_text(path), os.fspath(target), grace_seconds=grace_seconds, report=report)


def plan_backup_of(target: StrPath, path: StrPath | None = None) -> BackupPlan:
    """What backup() would do now."""
    from . import backup as backups

    return backups.plan_backup(_text(path), os.fspath(target))


# ---- repair ----


@checked
def repair(
    path: StrPath | None = None, *, object_dir: StrPath | None = None, threads: int = 0, report: Report | None = None
) -> RepairResult:
    """Read every byte, and mend what is damaged: idx files and the index are made anew; of a damaged pack or loose
    object what can be read from any copy is saved, and the file set aside in gpa/damaged. `lost` says what is gone.

    Locked while another run, `git gc` or `git maintenance` is at work.
    """
    from . import repair as mending

    return mending.repair(find_object_dir(path, object_dir=object_dir), threads=threads, report=report)


def plan_repair_of(objdir: ObjectDir, *, threads: int = 0, report: Report | None = None) -> RepairPlan:
    """What repair() would do now."""
    from . import repair as mending

    return mending.plan_repair_of(objdir, threads=threads, report=report)


__all__ = [
    "EmptyPreferredPack",
    "Stop",
    "add_loose",
    "backup",
    "expire",
    "explain",
    "import_objects",
    "maintain",
    "maintain_in",
    "plan_add_loose_of",
    "plan_backup_of",
    "plan_expire_of",
    "plan_maintenance_of",
    "plan_repack_of",
    "plan_repair_of",
    "repack",
    "repair",
    "schedule",
    "status",
    "survey",
    "time_limit",
    "verify",
    "write",
]
