"""Copy a repository on this machine, or update the copy; after each step the copy is complete.

Refs are read first and objects are copied afterwards, so all objects that the refs name existed when copying began. The
refs of the copy move last, after its objects are durable and git has walked over everything that the refs name. Copied
are packs (.pack, .idx, .promisor, .mtimes) and loose objects, those of alternates too, the list of shallow commits,
refs, HEAD, and the promisor remote of a partial clone. Not copied are .keep files, reflogs, hooks and other settings.

I3, I4, I5 hold in the copy. Nothing is changed in the repository, and no lock is taken there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from io import BufferedReader
from typing import IO, Any

from .. import fs
from .._core.base import hash_size
from ..base import safe_open
from ..base.arguments import checked
from ..base.progress import ReportProgress
from ..errors import Corrupt, GitFailed, GpaError
from ..look.inventory import loose_objects
from ..model.copies import BackupPlan, BackupResult
from ..model.plans import IndexScope
from ..repo.discover import alternates_of, find_object_dir, object_dir_at
from ..repo.git import is_partial, read_all_values, run_git
from ..repo.objdir import ObjectDir
from ..repo.refs import Ref, Refs, find_broken, read_refs
from ..state.paths import BACKUP, LOCK
from ..state.superseded import UNREADABLE
from ..store.page_store import PageStore
from ..store.saved import COMPANIONS, live_packs
from .at_work import at_work
from .expire import expire_in
from .index import write_index
from .session import Session, now

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath

ATTEMPTS = 8
"""Number of times that a backup begins again because objects that the refs name were deleted while it copied."""

ALTERNATES_DEPTH = 6  # as in git
PIECE_BYTES = 1 << 20
MARK = BACKUP
"""File in gpa/ of the copy that names its repository. A backup writes to no other folder that is not empty."""


@checked
def backup(
    target: StrPath,
    path: StrPath | None = None,
    *,
    grace_seconds: int = 0,
    report: ReportProgress | None = None,
) -> BackupResult:
    """Copy the repository to `target`: a new bare repository, or an earlier backup, which is updated.

    The refs of the copy move only after all objects that they name are copied, durable and checked. The repository at
    `path` is not changed; pushes and any maintenance may run in it meanwhile. Superseded packs of the copy are deleted
    after `grace_seconds`. If the backup is killed, the copy has its previous state, and the next backup continues.
    """
    source = find_object_dir(path)
    target = os.path.abspath(os.fspath(target))
    _prepare(source, target)
    copy = find_object_dir(target)
    with at_work(copy, now, report=report) as session:
        for attempt in range(1, ATTEMPTS + 1):
            job = _Backup(source, session)
            broken = job.copy_all()
            if not broken:
                return job.finish(grace_seconds, attempt)
    hint = "the refs of the copy are as they were; 'git gpa verify --refs' says whether the repository itself is whole"
    raise GpaError(f"cannot back up '{source.common_dir}': {broken[0]}", hint=hint)


def plan_backup_of(target: StrPath, path: StrPath | None = None) -> BackupPlan:
    """Return the plan of a backup() that would start now; nothing is created."""
    source = find_object_dir(path)
    target = os.path.abspath(os.fspath(target))
    refs = read_refs(source.common_dir)
    before = None
    copy = None
    if _is_backup(source, target) and os.path.exists(os.path.join(target, "HEAD")):
        copy, before = find_object_dir(target), read_refs(target)
    there = set(os.listdir(copy.pack_dir)) if copy else set()
    packs = {
        name: directory for name, directory in _packs_of(_directories(source)).items() if f"{name}.idx" not in there
    }
    size = 0
    for name, directory in packs.items():
        with contextlib.suppress(FileNotFoundError):
            size += sum(os.stat(directory.pack_path(name, suffix)).st_size for suffix in (".pack", ".idx"))
    changed, removed = _changes(before, refs)
    loose = _lacked(copy, [loose.oid for directory in _directories(source) for loose in loose_objects(directory)])
    return BackupPlan(target, tuple(sorted(packs)), size, len(loose), len(changed), len(removed))


# ---- the copy ----


def _is_backup(source: ObjectDir, target: str) -> bool:
    """Return whether `target` is a copy of this repository. Raise GpaError if it has other files."""
    if os.path.realpath(target) == source.common_dir:
        raise GpaError(f"'{target}' is the repository itself")
    try:
        there = os.listdir(target)
    except FileNotFoundError:
        return False
    mark = os.path.join(target, "gpa", MARK)
    try:
        of = str(json.loads(safe_open.read_text(mark))["source"])
    except UNREADABLE:
        if there and not _is_begun(target, there):
            raise GpaError(
                f"'{target}' is no backup of '{source.common_dir}'",
                hint=f"choose a folder that is empty or not there; a backup is known by its file 'gpa/{MARK}'",
            ) from None
        return False
    if of != source.common_dir:
        raise GpaError(
            f"'{target}' is a backup of '{of}', not of '{source.common_dir}'",
            hint=f"where the repository has been moved, write its new path into '{mark}'",
        )
    return True


def _is_begun(target: str, there: Iterable[str]) -> bool:
    """Return whether the folder has only files that a backup creates before its mark."""
    return set(there) <= {"gpa"} and set(os.listdir(os.path.join(target, "gpa"))) <= {f"{MARK}.new", LOCK}


def _prepare(source: ObjectDir, target: str) -> None:
    """Mark the folder, then make an empty repository of it; repeat both if an earlier backup was killed."""
    is_marked = _is_backup(source, target)
    if not is_marked:
        fs.make_dir(target)
        fs.make_dir(os.path.join(target, "gpa"))
    place = ObjectDir(
        objects=os.path.join(target, "objects"),
        common_dir=target,
        object_format=source.object_format,
        settings=source.settings,
    )
    with fs.flock(place, LOCK, "another backup is at work"):
        if not is_marked:
            content = json.dumps({"version": 1, "source": source.common_dir}).encode() + b"\n"
            fs.replace_locked(source, os.path.join(target, "gpa", MARK), content)
        _clear_locks(target)
        if not os.path.exists(os.path.join(target, "config")) or not _is_repository(target):
            fs.door.step("init", target)
            run_git(["init", "--quiet", "--bare", "--template=", f"--object-format={source.object_format}", target])
        if find_object_dir(target).object_format != source.object_format:
            raise GpaError(f"'{target}' is a repository of another object format than '{source.common_dir}'")
        _set(target, "gc.auto", "0")
        _set(target, "core.fsync", "committed,reference")


def _clear_locks(target: str) -> None:
    """Remove the locks of killed git processes of an earlier backup: no other git process runs in the copy."""
    for name in ("HEAD.lock", "config.lock", "packed-refs.lock"):
        if os.path.lexists(os.path.join(target, name)):
            fs.unlink(os.path.join(target, name))
    for folder, entries in safe_open.walk(os.path.join(target, "refs")):
        for entry in entries:
            if entry.name.endswith(".lock"):  # no ref has such a name
                fs.unlink(os.path.join(folder, entry.name))


def _is_repository(target: str) -> bool:
    try:
        return find_object_dir(target).common_dir == os.path.realpath(target)
    except GpaError:
        return False


def _set(target: str, key: str, value: str) -> None:
    if read_all_values(cwd=target).get(key.lower(), ())[-1:] != (value,):
        fs.door.step("config", target)
        run_git(["config", key, value], cwd=target)


# ---- the source ----


def _directories(source: ObjectDir) -> list[ObjectDir]:
    """Return the object directory and its alternates."""
    found, level = {source.objects: source}, [source.objects]
    for _ in range(ALTERNATES_DEPTH):
        level = [path for one in level for path in alternates_of(one) if path not in found and os.path.isdir(path)]
        found |= {path: object_dir_at(path, source.object_format) for path in level}
    return list(found.values())


def _packs_of(directories: list[ObjectDir]) -> dict[str, ObjectDir]:
    """Return every needed pack, and its object directory. Superseded packs, proved each time, are not needed."""
    found: dict[str, ObjectDir] = {}
    for directory in directories:
        if os.path.isdir(directory.pack_dir):
            found = dict.fromkeys(live_packs(directory), directory) | found
    return found


def _lacked(copy: ObjectDir | None, oids: list[str]) -> list[str]:
    """Return the objects that the copy has neither loose nor packed."""
    if copy is None or not oids:
        return oids
    with PageStore.open(copy.objects, object_format=copy.object_format) as store:
        return [bytes(oid).hex() if isinstance(oid, bytes) else oid for oid in store.missing(oids)]


def _changes(before: Refs | None, refs: Refs) -> tuple[list[Ref], list[Ref]]:
    """Return the refs to write, and those to delete; HEAD is among the first if it changed."""
    old = {ref.name: ref for ref in (*before.all, before.head)} if before else {}
    now = {ref.name: ref for ref in refs.all}
    changed = [ref for ref in now.values() if not _is_same(old.get(ref.name), ref)]
    head = [] if _is_same(old.get("HEAD"), refs.head) else [refs.head]
    return [*changed, *head], [ref for name, ref in old.items() if name not in now and name != "HEAD"]


def _is_same(old: Ref | None, new: Ref) -> bool:
    if old is None or old.target != new.target:
        return False
    return bool(new.target) or old.oid == new.oid


# ---- copying ----


class _Backup:
    """One attempt to make the copy."""

    def __init__(self, source: ObjectDir, session: Session) -> None:
        self._source = source
        self._path = source.common_dir  # not a linked worktree, which has its own HEAD
        self._session = session
        self._copy = session.objdir
        self._space = session.space
        self._report = session.report
        self._where = os.path.dirname(self._copy.objects)
        self._is_partial = is_partial(self._path)
        self._live: set[str] = set()
        self._packs: list[str] = []
        self._bytes = 0
        self._loose = 0
        self._left_out: list[str] = []
        self._refs = Refs((), Ref("HEAD", ""), ())

    def copy_all(self) -> list[str]:
        """Copy the objects durably, and check them. Return what the refs would miss; if nothing, call finish()."""
        self._refs = read_refs(self._path)
        if self._refs.unreadable:
            return [f"ref '{name}' cannot be read" for name in self._refs.unreadable]
        shallow = self._shallow()
        directories = _directories(self._source)
        # A referenced loose object may move into a pack, but never the other way. So packs are copied last.
        for directory in directories:
            self._copy_loose(directory)
        while not self._copy_packs(_packs_of(directories)):
            pass  # one was deleted meanwhile: another one has its objects
        self._write_shallow(shallow)
        if self._is_partial:
            self._copy_promises()
        fs.door.step("check", self._where)
        return find_broken(self._where, self._refs.tips, partial=self._is_partial)

    def finish(self, grace_seconds: int, attempt: int) -> BackupResult:
        """Move the refs, and delete superseded packs."""
        changed, removed = self._move_refs()
        write_index(self._session, IndexScope(new_pages=tuple(self._packs)))
        expired = expire_in(self._session, grace_seconds, spared=self._live)
        if self._loose or self._packs:
            fs.door.step("prune-packed", self._where)
            run_git(["prune-packed", "--quiet"], cwd=self._where)
        is_new = self._packs or self._loose or changed or removed or expired.deleted
        return BackupResult(
            target=self._where,
            packs=tuple(self._packs),
            loose_objects=self._loose,
            bytes=self._bytes,
            deleted=expired.deleted,
            refs=len(self._refs.tips),
            changed_refs=changed,
            removed_refs=removed,
            left_out=tuple(self._left_out),
            attempts=attempt,
            reason="" if is_new else "the copy has everything already",
        )

    # -- packs

    def _copy_packs(self, packs: dict[str, ObjectDir]) -> bool:
        """Copy the packs. Return False if one vanished meanwhile, so that all have to be listed again."""
        there = set(os.listdir(self._copy.pack_dir))
        self._live = set(packs)
        todo = [name for name in sorted(packs) if f"{name}.idx" not in there]
        all_there = True
        for number, name in enumerate(todo):
            if self._report:
                self._report("Copying packs", number, len(todo))
            try:
                self._bytes += self._copy_pack(packs[name], name)
                self._packs.append(name)
            except FileNotFoundError:
                all_there = False
        if todo:
            fs.fsync_dir(self._copy.pack_dir)
            if self._report:
                self._report("Copying packs", len(todo), len(todo))
        for name in packs.keys() - set(todo):
            self._compare(packs[name], name)
        return all_there

    def _compare(self, directory: ObjectDir, name: str) -> None:
        """Raise Corrupt if a pack of the copy differs from the source. Add marks that it got since, such as .mtimes."""
        for suffix in (".pack", ".idx"):
            with contextlib.suppress(FileNotFoundError):
                size = os.stat(directory.pack_path(name, suffix)).st_size
                mine = self._copy.pack_path(name, suffix)
                if suffix == ".pack" and os.stat(mine).st_size != size:
                    raise Corrupt(mine, f"has {os.stat(mine).st_size} bytes, and the one it is a copy of {size}")
        for suffix in COMPANIONS:
            with contextlib.suppress(FileNotFoundError):
                if not os.path.lexists(self._copy.pack_path(name, suffix)):
                    with _companion(directory.pack_path(name, suffix)) as file:
                        self._publish(self._write(file, suffix), self._copy.pack_path(name, suffix))
                        fs.fsync_dir(self._copy.pack_dir)

    def _copy_pack(self, directory: ObjectDir, name: str) -> int:
        """Copy a pack, and return its size. Raise FileNotFoundError if it is gone, Corrupt if its checksum is wrong."""
        with ExitStack() as stack:
            # Open all files before anything is copied, because an open file may be unlinked.
            files = {
                suffix: stack.enter_context(fs.reading(directory.pack_path(name, suffix)))
                for suffix in (".pack", ".idx")
            }
            for suffix in COMPANIONS:
                with contextlib.suppress(FileNotFoundError):
                    files[suffix] = stack.enter_context(_companion(directory.pack_path(name, suffix)))
            temps = {}
            for suffix, file in files.items():
                checked = directory.pack_path(name, suffix) if suffix in (".pack", ".idx") else ""
                temps[suffix] = self._write(file, suffix, checked)
            # I4: the .idx makes the pack visible, so it comes last.
            for suffix in sorted(temps, key=[*COMPANIONS, ".pack", ".idx"].index):
                self._publish(temps[suffix], self._copy.pack_path(name, suffix))
            return sum(os.fstat(file.fileno()).st_size for file in files.values())

    def _write(self, file: IO[bytes], suffix: str, checked: str = "") -> str:
        """Return a synced temporary file with the same content and mtime. If asked, check its trailing checksum."""
        temp = self._space.create(suffix, 0o444)
        try:
            keep = hash_size(self._copy.object_format) if checked else 0
            digest = hashlib.new(self._copy.object_format, usedforsecurity=False)
            tail = b""
            while piece := file.read(PIECE_BYTES):
                with fs.door.named("write", temp.path):
                    _write_all(temp.fd, piece)
                tail += piece
                digest.update(tail[: len(tail) - keep])
                tail = tail[max(0, len(tail) - keep) :]
            if checked and digest.digest() != tail:
                raise Corrupt(checked, "has not the checksum that it ends with; it was not copied")
            stat = os.fstat(file.fileno())
            os.utime(temp.fd, ns=(stat.st_atime_ns, stat.st_mtime_ns))
            fs.fsync_file(temp.fd, temp.path)
        finally:
            temp.close()
        return temp.path

    def _publish(self, temp: str, path: str) -> None:
        with contextlib.suppress(FileExistsError):
            fs.move_name(temp, path)

    # -- loose objects

    def _copy_loose(self, directory: ObjectDir) -> None:
        lacked = _lacked(self._copy, [loose.oid for loose in loose_objects(directory)])
        folders = set()
        for number, oid in enumerate(lacked):
            if self._report:
                self._report("Copying loose objects", number, len(lacked))
            path = os.path.join(directory.objects, oid[:2], oid[2:])
            try:
                with open(safe_open.open_regular(path), "rb") as file:
                    if not _is_sound(file, oid, self._copy.object_format):
                        self._left_out.append(path)
                        continue
                    file.seek(0)
                    temp = self._write(file, ".loose")
                    self._bytes += os.fstat(file.fileno()).st_size
            except FileNotFoundError:
                continue  # it is packed now
            folder = os.path.join(self._copy.objects, oid[:2])
            fs.make_dir(folder)
            self._publish(temp, os.path.join(folder, oid[2:]))
            folders.add(folder)
            self._loose += 1
        for folder in sorted(folders):
            fs.fsync_dir(folder)
        if folders:
            fs.fsync_dir(self._copy.objects)

    # -- shallow and partial clones

    def _shallow(self) -> bytes:
        """Return the commits whose parents are left out."""
        try:
            return safe_open.read_whole(os.path.join(self._source.common_dir, "shallow"))[0]
        except FileNotFoundError:
            return b""

    def _write_shallow(self, content: bytes) -> None:
        path = os.path.join(self._where, "shallow")
        try:
            before = safe_open.read_whole(path)[0]
        except FileNotFoundError:
            before = b""
        if content == before:
            return
        if content:
            fs.replace_locked(self._copy, path, content)
        else:
            fs.unlink(path)
            fs.fsync_dir(self._where)

    def _copy_promises(self) -> None:
        """Copy the settings of the remotes that promised missing objects."""
        values = read_all_values(cwd=self._path)
        _set(self._where, "core.repositoryFormatVersion", "1")
        remotes = {*values.get("extensions.partialclone", ())}
        remotes |= {key[7:-9] for key in values if key.startswith("remote.") and key.endswith(".promisor")}
        for remote in sorted(remotes):
            for word in ("url", "promisor", "partialclonefilter"):
                for value in values.get(f"remote.{remote}.{word}", ())[-1:]:
                    _set(self._where, f"remote.{remote}.{word}", value)
        for remote in values.get("extensions.partialclone", ())[-1:]:
            _set(self._where, "extensions.partialClone", remote)

    # -- refs

    def _move_refs(self) -> tuple[int, int]:
        """Set the refs to those that were read. Return how many changed, and how many were deleted."""
        changed, removed = _changes(read_refs(self._where), self._refs)
        deleted = [f"option no-deref\ndelete {ref.name}" for ref in removed]
        plain = [f"option no-deref\nupdate {ref.name} {ref.oid}" for ref in changed if not ref.target]
        if deleted or plain:
            fs.door.step("update-ref", self._where)
            try:
                self._update([*deleted, *plain])
            except GitFailed:
                # a ref replaces a folder of refs, or the other way: that needs two transactions
                self._update(deleted)
                self._update(plain)
        for ref in changed:
            if ref.target:
                fs.door.step("symbolic-ref", self._where)
                run_git(["symbolic-ref", ref.name, ref.target], cwd=self._where)
        return len(changed), len(removed)

    def _update(self, lines: list[str]) -> None:
        text = "".join(f"{line}\n" for line in lines)
        run_git(["update-ref", "--stdin"], cwd=self._where, stdin=f"start\n{text}prepare\ncommit\n")


def _write_all(fd: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(fd, left) :]


def _companion(path: str) -> BufferedReader:
    """Copy a file beside a pack. A link is refused: git only asks whether a .promisor exists, and does not read it."""
    with fs.door.named("read", path):
        return open(safe_open.open_regular(path), "rb")


def _is_sound(file: IO[bytes], oid: str, object_format: str) -> bool:
    """Return whether a loose object's file has the content of that id."""
    digest = hashlib.new(object_format, usedforsecurity=False)
    stream: Any = zlib.decompressobj()
    try:
        while piece := file.read(PIECE_BYTES):
            while piece:
                digest.update(stream.decompress(piece, PIECE_BYTES))
                piece = stream.unconsumed_tail
        digest.update(stream.flush())
    except zlib.error:
        return False
    return bool(stream.eof and not stream.unused_data and digest.hexdigest() == oid)
