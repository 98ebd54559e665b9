"""Repair one pack: rebuild the idx of a sound pack, or copy every readable object of a damaged one.

Nothing is removed here. I1, I3: The copies are synced and visible before the caller sets the damaged files aside. I13:
Every copied object is checked against its id.
"""

from __future__ import annotations

import errno
import hashlib
import os
import struct
import zlib
from collections.abc import Collection, Iterable
from contextlib import ExitStack, suppress

from .. import fs
from .._core.base import Progress, directory
from .._core.format import IdxFiles, check_pack, idx_oids, loose_name, midx_oids, open_midx
from .._core.merge import Merge, PageForm
from ..base.tuples import NamedTuple
from ..errors import Corrupt, GitFailed, GpaError, SystemFailed, Unsupported
from ..model.results import PageInfo
from ..repo.git import run_git
from ..repo.objdir import ObjectDir
from .pages import Page, drop_pages, publish_pages
from .repack import write_all

HEADER_BYTES = 12


class Salvage(NamedTuple):
    """Result of saving a damaged pack: pages with its sound objects, or the number of loose objects.

    `unsaved`: the hex ids of its other objects; None if the content of the pack is unknown.
    """

    pages: tuple[PageInfo, ...] = ()
    loose_count: int = 0
    unsaved: tuple[str, ...] | None = ()

    @property
    def object_count(self) -> int:
        return sum(page.object_count for page in self.pages) + self.loose_count


SYSTEM_ERRORS = (
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.EIO, errno.ELOOP),
    *(errno.ENOTDIR, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EBUSY, errno.EAGAIN, errno.EISDIR),
)
SYSTEM_WORDS = (*map(os.strerror, SYSTEM_ERRORS), "ut of memory", "mmap failed", "unable to create thread")
"""Texts in git's messages about errors of the operating system, which its exit status does not distinguish."""


def refuse_system_failure(path: str, failure: GitFailed) -> None:
    """Raise SystemFailed if git failed because of the operating system, which does not prove damage."""
    if failure.status < 0 or any(words in failure.stderr for words in SYSTEM_WORDS):
        raise SystemFailed(f"git could not read '{path}': {failure}", path=path, errno=errno.EIO) from None


def rebuild_idx(objdir: ObjectDir, space: fs.Workspace, name: str) -> bool:
    """Let git rebuild the idx of a pack; return False if the pack is damaged. SystemFailed does not prove damage."""
    idx = space.create(".idx", 0o444)
    idx.close()
    format_ = f"--object-format={objdir.object_format}"
    command = ["index-pack", format_, "--no-rev-index", "-o", idx.path, objdir.pack_path(name)]
    try:
        run_git(command, cwd=space.directory, alone=True)
    except GitFailed as failure:
        fs.unlink(idx.path)
        refuse_system_failure(objdir.pack_path(name), failure)
        return False
    fs.adopt(idx.path, objdir.settings.shared)
    fs.rename(idx.path, objdir.pack_path(name, ".idx"))
    fs.fsync_dir(objdir.pack_dir)
    return True


def salvage(objdir: ObjectDir, space: fs.Workspace, name: str) -> Salvage:
    """Copy the sound objects of a damaged pack: entries unchanged, or one by one if the whole pack cannot be read."""
    oids = oids_of(objdir, name)
    pages: tuple[PageInfo, ...] = ()
    loose_count = 0
    saved: Collection[str] = ()
    with suppress(Corrupt, Unsupported, FileNotFoundError):
        pages = _copy_entries(objdir, space, name)
        saved = oids_in(objdir, [page.name for page in pages])
    if not pages:
        loose_count = _unpack(objdir, space, name, len(oids) if oids else 0)
    unsaved = None if oids is None else tuple(oid for oid in oids if oid not in saved)
    return Salvage(pages, loose_count, unsaved)


def oids_of(objdir: ObjectDir, name: str) -> tuple[str, ...] | None:
    """Ids (hex) of what the pack held: by its idx, else by the combined index; None when neither can be believed."""
    with suppress(GpaError, OSError), IdxFiles(objdir.pack_dir, [name], objdir.object_format) as files:
        return idx_oids(files[name], objdir.pack_path(name, ".idx"))
    with suppress(Corrupt, Unsupported), ExitStack() as stack:
        midx = open_midx(objdir.index_path, objdir.object_format)
        if midx is not None and stack.enter_context(midx).is_sound() and name in midx.pack_names():
            return midx_oids(midx, name)
    return None


def promised_oids(objdir: ObjectDir, name: str) -> tuple[str, ...]:
    """Ids (hex) that the idx of a pack, if it is sound, and the combined index, if that is, say are in the pack."""
    found = set(oids_of(objdir, name) or ())
    with suppress(GpaError, OSError), ExitStack() as stack:
        midx = open_midx(objdir.index_path, objdir.object_format)
        if midx is not None and stack.enter_context(midx).is_sound() and name in midx.pack_names():
            found.update(midx_oids(midx, name))
    return tuple(sorted(found))


def oids_in(objdir: ObjectDir, names: list[str]) -> frozenset[str]:
    with IdxFiles(objdir.pack_dir, names, objdir.object_format) as files:
        return frozenset(oid for name in names for oid in idx_oids(files[name], objdir.pack_path(name, ".idx")))


def _copy_entries(objdir: ObjectDir, space: fs.Workspace, name: str) -> tuple[PageInfo, ...]:
    """Return a page of all entries that are sound."""
    with ExitStack() as stack:
        files = stack.enter_context(IdxFiles(objdir.pack_dir, [name], objdir.object_format))
        settings = objdir.settings
        form = PageForm(
            page_objects=max(settings.page_objects, files.object_count(name)),
            page_bytes=1 << 62,
            depth=settings.depth,
            level=settings.compression,
        )
        fd = stack.enter_context(directory(objdir.pack_dir))
        merge = Merge(objdir.pack_dir, fd, files, objdir.object_format, form)
        stack.enter_context(merge)
        merge.add(name)
        _, pages, _ = write_all(space, merge, None, set(), None, None, reverse=True)
    if not all(_has_its_ids(objdir, page) for page in pages):
        # The idx names other contents than the pack has: CRC32s do not tell.
        drop_pages(pages)
        return ()
    newest_ns = os.stat(objdir.pack_path(name)).st_mtime_ns
    return publish_pages(objdir, pages, newest_ns=newest_ns, hold=fs.Hold(is_new=True, sources=(name,)))


def _has_its_ids(objdir: ObjectDir, page: Page) -> bool:
    """I13: Return whether each object of a new page has the content that its id names."""
    folder, file_name = os.path.split(page.idx.path)
    stem = file_name.removesuffix(".idx")
    with IdxFiles(folder, [stem], objdir.object_format) as files:
        return not check_pack(page.pack.path, files[stem], os.cpu_count() or 1, Progress())


def _unpack(objdir: ObjectDir, space: fs.Workspace, name: str, count: int) -> int:
    """Let git unpack as much of the pack as it can into loose objects; how many came of it.

    git's own reading of damaged packs goes on behind an entry that is damaged, up to where the pack ends. The header
    is made anew: `count` of objects, or what it says itself.
    """
    before = _loose_count(objdir)
    copy = space.create(".pack", 0o600)
    try:
        with fs.reading(objdir.pack_path(name)) as pack, open(copy.fd, "wb", closefd=False) as out:
            header = pack.read(HEADER_BYTES)
            count = count or (struct.unpack(">I", header[8:])[0] if len(header) == HEADER_BYTES else 0)
            out.write(b"PACK" + struct.pack(">II", 2, count))
            while piece := pack.read(1 << 20):
                out.write(piece)
        os.lseek(copy.fd, 0, os.SEEK_SET)
        # Not in one transaction, which an early end would undo.
        command = ["-c", "core.fsyncMethod=fsync", "-c", "core.fsync=loose-object", "unpack-objects", "-q", "-r"]
        try:
            run_git(command, cwd=objdir.common_dir, stdin=copy.fd, objects=objdir.objects)
        except GitFailed as failure:
            refuse_system_failure(objdir.pack_path(name), failure)
    finally:
        copy.close()
        fs.unlink(copy.path)
    return _loose_count(objdir) - before


def _loose_count(objdir: ObjectDir) -> int:
    return sum(
        len(os.listdir(entry.path))
        for entry in os.scandir(objdir.objects)
        if len(entry.name) == 2 and entry.is_dir(follow_symlinks=False)
    )


def read_by_git(objdir: ObjectDir, oid: str) -> tuple[str, bytes] | None:
    """Type and content as git finds them, which takes the base of a delta from wherever it is; None when it cannot."""
    try:
        answer = os.fsencode(
            run_git(["cat-file", "--batch"], cwd=objdir.common_dir, stdin=f"{oid}\n", objects=objdir.objects)
        )
    except GitFailed:
        return None
    head, _, rest = answer.partition(b"\n")
    words = head.decode("ascii", "replace").split()
    if len(words) != 3 or words[0] != oid:
        return None
    content = rest[: int(words[2])]
    return (words[1], content) if object_id(objdir, words[1], content) == oid else None


def object_id(objdir: ObjectDir, kind: str, content: bytes) -> str:
    digest = hashlib.new(objdir.object_format, f"{kind} {len(content)}\0".encode(), usedforsecurity=False)
    digest.update(content)
    return digest.hexdigest()


def write_loose(objdir: ObjectDir, space: fs.Workspace, oid: str, kind: str, content: bytes) -> None:
    """Store an object as a loose file, synced, unless there is one already."""
    file = space.create(".loose", 0o444)
    try:
        with open(file.fd, "wb", closefd=False) as out:
            out.write(zlib.compress(f"{kind} {len(content)}\0".encode() + content))
        fs.fsync_file(file.fd, file.path)
    finally:
        file.close()
    path = os.path.join(objdir.objects, loose_name(oid))
    fs.make_dir(os.path.dirname(path), objdir.settings.shared)
    with suppress(FileExistsError):
        fs.move_name(file.path, path)
    fs.unlink(file.path)
    fs.fsync_dir(os.path.dirname(path))


def files_of(objdir: ObjectDir, name: str) -> Iterable[str]:
    """All files of a pack, relative to the object directory."""
    return [f"pack/{found}" for found in os.listdir(objdir.pack_dir) if found.rpartition(".")[0] == name]
