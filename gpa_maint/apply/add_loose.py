"""Put loose objects into pages, then remove their files.

I3: A loose file is removed only after its page is durable and was read back, and while `git gc` is excluded. I4, I9:
See pages.py; if the mtime of a file changed meanwhile, it is copied to the page. I13: The C core computes the id of
every object; a damaged one stays in its place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from stat import S_ISREG

from .. import fs
from .._core.base import directory, hash_size
from .._core.format import IdxFiles, check_idx, loose_heads, loose_name, match_pack
from .._core.merge import BadLoose, LoosePageWriter
from ..base.progress import Progress, ReportProgress, until_stopped
from ..base.tuples import NamedTuple
from ..errors import GpaError, Locked, Stopped, SystemFailed
from ..fs.delete_many import Freeing
from ..model.plans import LoosePlan
from ..model.results import LeftOut, LooseResult
from ..repo.objdir import ObjectDir
from .pages import Page, drop_pages, publish_pages, write_page
from .room import describe_missing, is_full

PACKING = "Packing loose objects"
REMOVING = "Removing loose objects"
PACKING_NEEDS = "packing them needs"
REPORT_EVERY = 64
AT_ONCE = 100_000
"""Number of loose objects that are packed together; each takes about 400 bytes of memory."""
RANKS = {"commit": 0, "tag": 1, "tree": 2, "blob": 3}
"""Order of the types in a page, as in git."""


class _Loose(NamedTuple):
    """A loose object to be packed; `expected` is its approximate size (bytes) in the page."""

    oid: str
    rank: int
    size: int
    expected: int
    mtime_ns: int


_Batch = list[_Loose]


class _Unpackable(Exception):
    """A page cannot be finished, because objects (hex ids) are damaged or gone; with the reasons."""

    def __init__(self, causes: dict[str, GpaError]) -> None:
        super().__init__()
        self.causes = causes


def pack_loose(
    objdir: ObjectDir,
    space: fs.Workspace,
    plan: LoosePlan,
    report: ReportProgress | None = None,
    progress: Progress | None = None,
    *,
    now: int,
) -> LooseResult:
    """Write the planned objects into pages, reachable or not and packed elsewhere or not, and remove their files.

    1. pages: write, fsync                        a crash leaves temporary files
    2. names: .pack, then .idx; fsync             a crash leaves pages, and all loose files: the next run begins again
    3. each file: copy its mtime, unlink          a crash leaves some files, for the next run

    Objects that vanished meanwhile are skipped. A damaged object, or one whose file cannot be removed, stays, and is in
    `left_out`. The index need not change: no index names the pages, so every reader looks for them.

    Raises Locked, with nothing changed, while `git gc` or `git maintenance` runs. If one begins later, the files stay,
    and `reason` says so. Raises Stopped soon after another thread has called `progress.stop()`. At most AT_ONCE objects
    are packed at a time, each time to the end, which bounds the memory and the bytes that are stored twice.
    """
    parts = [plan.objects[at : at + AT_ONCE] for at in range(0, len(plan.objects), AT_ONCE)] or [()]
    done = LooseResult((), 0, 0, 0, (), "", plan.complaints)
    for part in parts:
        try:
            one = _pack_some(objdir, space, plan._replace(objects=part), report, progress, now=now)
        except Locked as error:
            if not done.pages:
                raise
            return done._replace(reason=f"the other loose objects stay for now: {error}")
        done = LooseResult(
            done.pages + one.pages,
            done.object_count + one.object_count,
            done.removed_count + one.removed_count,
            done.loose_bytes + one.loose_bytes,
            done.left_out + one.left_out,
            one.reason or done.reason,
            plan.complaints,
            one.no_room,
        )
        if one.no_room:
            return done
    if done.pages and done.removed_count == done.object_count:
        return done._replace(reason="")  # only one of the parts had nothing to pack
    return done


def _pack_some(
    objdir: ObjectDir,
    space: fs.Workspace,
    plan: LoosePlan,
    report: ReportProgress | None,
    progress: Progress | None,
    *,
    now: int,
) -> LooseResult:
    fs.check_git_locks(objdir, now)
    with directory(objdir.objects) as fd:
        packer = _Packer(objdir, space, fd, progress, report)
        written = packer.write(_batches(packer.look(plan.objects), plan, objdir.object_format))
    if not written:
        reason = "there is no loose object that can be packed"
        return LooseResult((), 0, 0, 0, tuple(packer.left_out), reason, plan.complaints)
    batches = [batch for _, batch in written]
    packed = [one for batch in batches for one in batch]
    hold = fs.Hold(is_new=True)
    pages = publish_pages(objdir, [page for page, _ in written], newest_ns=_newest(packed), hold=hold, again=True)
    removed, reason = 0, ""
    try:
        with fs.git_locks(objdir, space, now):
            for page, batch in zip(pages, batches, strict=True):
                removed += _remove(objdir, page.name, batch, progress)
                if report:
                    report(REMOVING, removed, len(packed))
    except Locked as error:
        reason = f"the loose files stay for now: {error}"
    if removed < len(packed) and not reason:
        reason = "some loose files, or the page they are in, were taken away by somebody else meanwhile"
    size, left_out = sum(one.size for one in packed), tuple(packer.left_out)
    return LooseResult(pages, len(packed), removed, size, left_out, reason, plan.complaints, packer.no_room)


class _Packer:
    """Reads loose objects and writes pages of them; `left_out` collects the objects that it cannot pack.

    `no_room` is set if a full disk ended the writing early.
    """

    def __init__(
        self,
        objdir: ObjectDir,
        space: fs.Workspace,
        objects_fd: int,
        progress: Progress | None,
        report: ReportProgress | None,
    ) -> None:
        self.left_out: list[LeftOut] = []
        self.no_room = ""
        self._objdir = objdir
        self._space = space
        self._fd = objects_fd
        self._progress = progress
        self._report = report
        self._done = self._total = 0

    def look(self, oids: Iterable[str]) -> _Batch:
        """Return type, size and mtime of each object that exists and may be removed, oldest first."""
        names = sorted(set(oids))
        heads = loose_heads(self._objdir.objects, self._fd, names, self._progress)
        writable = {folder: self._is_writable(folder) for folder in {oid[:2] for oid in names}}
        found: _Batch = []
        for oid, (kind, size) in until_stopped(zip(names, heads, strict=True), self._progress):
            try:
                stat = os.lstat(self._path(oid))
            except FileNotFoundError:
                continue
            if not writable[oid[:2]]:
                # Packing objects whose files must stay would make the repository larger with each run.
                self.left_out.append(LeftOut(self._path(oid), oid, "its folder is not writable for this user"))
                continue
            expected = stat.st_size if self._objdir.settings.compression else max(stat.st_size, size)
            found.append(_Loose(oid, RANKS.get(kind, len(RANKS)), stat.st_size, expected, stat.st_mtime_ns))
        return sorted(found, key=lambda one: (one.mtime_ns, one.oid))

    def _is_writable(self, folder: str) -> bool:
        return os.access(os.path.join(self._objdir.objects, folder), os.W_OK | os.X_OK)

    def write(self, batches: list[_Batch]) -> list[tuple[Page, _Batch]]:
        """Yield a page for each batch, with its objects; a batch of which no object is left has none.

        If the disk becomes full, it yields the pages that fit, the last one perhaps smaller. Raises SystemFailed if
        none fits.
        """
        self._total = sum(map(len, batches))
        written: list[tuple[Page, _Batch]] = []
        try:
            for batch in batches:
                try:
                    made = self._write_batch(batch)
                except SystemFailed as error:
                    if not is_full(error):
                        raise
                    if not written:
                        written.append(self._write_smaller(batch, error))
                    self._tell_missing(batches, written, error)
                    break
                if made is not None:
                    written.append(made)
                self._done += len(batch)
        except Stopped:
            drop_pages(page for page, _ in written)
            raise
        self._tell(0)
        return written

    def _write_smaller(self, batch: _Batch, error: SystemFailed) -> tuple[Page, _Batch]:
        """Return a page of half the batch, or of a quarter, and so on. Raise `error` if not even one object fits."""
        needed = sum(one.expected for one in batch)
        while len(batch) > 1:
            batch = batch[: len(batch) // 2]
            try:
                made = self._write_batch(batch)
            except SystemFailed as again:
                if not is_full(again):
                    raise
            else:
                if made is not None:
                    return made
        error.hint = f"no object is lost; {describe_missing(self._objdir, error, PACKING_NEEDS, needed)}"
        raise error

    def _tell_missing(self, batches: list[_Batch], written: list[tuple[Page, _Batch]], error: SystemFailed) -> None:
        packed = {one.oid for _, batch in written for one in batch}
        left = [one for batch in batches for one in batch if one.oid not in packed]
        missing = describe_missing(self._objdir, error, PACKING_NEEDS, sum(one.expected for one in left))
        self.no_room = f"{len(left)} of {self._total} loose objects: {error}; {missing}"

    def _write_batch(self, batch: _Batch) -> tuple[Page, _Batch] | None:
        """Return the page, begun again without the objects that turned out to be damaged or missing."""
        while batch:
            try:
                return write_page(self._space, len(batch), partial(self._fill, batch)), batch
            except _Unpackable as error:
                batch = [one for one in batch if one.oid not in error.causes]
                self._leave_out(error.causes)
        return None

    def _fill(self, batch: _Batch, pack: fs.TempFile, idx: fs.TempFile) -> str:
        with LoosePageWriter(
            pack.fd,
            pack.path,
            self._objdir.objects,
            self._fd,
            self._objdir.object_format,
            object_count=len(batch),
            level=self._objdir.settings.compression,
        ) as writer:
            for number, one in enumerate(batch):
                if number % REPORT_EVERY == 0:
                    self._tell(number)
                try:
                    writer.add_loose(one.oid, self._progress)
                except BadLoose as error:
                    # Find all of them now, so that the page is begun again only once.
                    raise _Unpackable({one.oid: error.cause, **self._check(writer, batch[number + 1 :])}) from None
            return writer.finish(idx.fd)

    def _check(self, writer: LoosePageWriter, batch: _Batch) -> dict[str, GpaError]:
        causes: dict[str, GpaError] = {}
        for one in batch:
            try:
                writer.check_loose(one.oid, self._progress)
            except BadLoose as error:
                causes[one.oid] = error.cause
        return causes

    def _leave_out(self, causes: dict[str, GpaError]) -> None:
        """Note the objects that cannot be packed. A missing one was pruned by git, which had another copy."""
        for oid, cause in causes.items():
            if not isinstance(cause, FileNotFoundError):
                self.left_out.append(LeftOut(self._path(oid), oid, str(cause)))

    def _path(self, oid: str) -> str:
        return f"{self._objdir.objects}/{loose_name(oid)}"

    def _tell(self, number: int) -> None:
        if self._report:
            self._report(PACKING, self._done + number, self._total)


def _batches(objects: _Batch, plan: LoosePlan, object_format: str) -> list[_Batch]:
    """Yield the objects of each page: the oldest together, in git's order, and the oldest first within a type.

    An object that is larger than a page gets a page of its own; the others fill the gap.
    """
    room = plan.page_bytes - 12 - hash_size(object_format)
    batches: list[_Batch] = []
    size = 0
    for one in objects:
        if one.expected > room:
            continue
        if not batches or len(batches[-1]) == plan.page_objects or size + one.expected > room:
            batches.append([])
            size = 0
        batches[-1].append(one)
        size += one.expected
    batches += [[one] for one in objects if one.expected > room]
    return [sorted(batch, key=lambda one: (one.rank, one.mtime_ns, one.oid)) for batch in batches]


def _newest(objects: _Batch) -> int:
    return max(one.mtime_ns for one in objects)


def _remove(objdir: ObjectDir, page: str, batch: _Batch, progress: Progress | None) -> int:
    """Unlink the loose files of a published page, and return their number.

    Raises Corrupt if the page, which another process may have made before, is not sound.
    """
    path = objdir.pack_path(page)
    removed = 0
    try:
        with IdxFiles(objdir.pack_dir, [page], objdir.object_format) as idx_files:
            check_idx(idx_files[page], objdir.pack_path(page, ".idx"))
            match_pack(path, idx_files[page])
        with Freeing() as freeing:
            for one in batch:
                if progress is not None and progress.is_stopped:
                    raise Stopped
                removed += _remove_file(path, f"{objdir.objects}/{loose_name(one.oid)}", freeing)
    except FileNotFoundError:
        pass  # the page is gone: another repack has its objects, or will take the loose ones
    return removed


def _remove_file(page_path: str, path: str, freeing: Freeing) -> bool:
    """Unlink a loose file; return whether it existed. Raise FileNotFoundError if the page is gone."""
    try:
        stat = os.lstat(path)
    except FileNotFoundError:
        return False
    if not S_ISREG(stat.st_mode):
        return False
    fs.make_as_young(page_path, stat.st_mtime_ns)
    return freeing.unlink(path)
