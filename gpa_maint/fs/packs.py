"""Packs: published .pack before .idx, unlinked .idx before .pack, set aside."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Container, Iterable, Iterator

from ..errors import Corrupt, SystemFailed
from ..git import ObjectDir
from .door import UNSUPPORTED, fsync_dir, fsync_file, fsync_path, make_dir, move_name, named, rename, unlink
from .locks import host_name
from .temp import TempFile, TempFiles, remove_leftover

SECOND_NS = 10**9
MOST_ASIDE = 1000
"""How many files of one name are set aside, each under a number of its own."""


def publish_pack(objdir: ObjectDir, pack: TempFile, idx: TempFile, name: str) -> None:
    """Give a finished page its name; both files must be synced.

    I4: the .pack is in place before the .idx, since the .idx makes the pack visible. The directory is not synced
    here: the caller does it once for all pages, before anything relies on them. A pack of that name that is there
    already must be the same; its idx stays as it is, whatever version it has.
    """
    path = objdir.pack_path(name)
    try:
        move_name(pack.path, path)
    except FileExistsError:
        if not same_content(pack.path, path):
            raise Corrupt(path, "a pack of this name exists and differs") from None
        # Its objects count as written just now (I9), as when git writes a pack that is there already.
        make_younger(path, os.stat(pack.path).st_mtime_ns)
    with contextlib.suppress(FileExistsError):
        move_name(idx.path, objdir.pack_path(name, ".idx"))


@contextlib.contextmanager
def kept(base: str) -> Iterator[None]:
    """The pack `base`, which need not be there yet, has a .keep meanwhile, as git's receive-pack makes it.

    Otherwise `git repack`, which lists packs by .pack, would delete one that gets its .idx a moment later. A .keep that
    is there already stays.
    """
    path = f"{base}.keep"
    try:
        with named("create", path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        yield
        return
    try:
        with open(fd, "w") as file:
            file.write(f"receive-pack {os.getpid()} on {host_name()}\n")
        yield
    finally:
        unlink(path)


def finish_pack(objdir: ObjectDir, idx_path: str, name: str) -> None:
    """Give an idx its name, whose pack got its own before the writer of both died; as publish_pack() does."""
    for path in (objdir.pack_path(name), idx_path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fsync_file(fd, path)
        finally:
            os.close(fd)
    rename(idx_path, objdir.pack_path(name, ".idx"))
    fsync_dir(objdir.pack_dir)


def same_content(one: str, other: str) -> bool:
    with open(one, "rb") as a, open(other, "rb") as b:
        while True:
            left, right = a.read(1 << 20), b.read(1 << 20)
            if left != right:
                return False
            if not left:
                return True


def unlink_pack(objdir: ObjectDir, name: str, there: Container[str], remove: Callable[[str], object] = unlink) -> None:
    """I4: the .idx first, so that nobody sees a pack without its .pack; a crash in between leaves a harmless .pack.

    `there`: names seen in the directory, which say whether files other than these two are to be removed too. `remove`
    is for whoever deletes many.
    """
    remove(objdir.pack_path(name, ".idx"))
    remove(objdir.pack_path(name))
    for suffix in (".rev", ".bitmap"):
        if name + suffix in there:
            with contextlib.suppress(SystemFailed):  # nobody reads it without its pack, and a later run removes it
                unlink(objdir.pack_path(name, suffix))


PROTECTING = (".keep", ".promisor", ".mtimes")


def protection(there: Container[str], name: str) -> str:
    """Why this pack must stay, by the files that are beside it now; empty when nothing protects it."""
    for suffix in PROTECTING:
        if name + suffix in there:
            return f"protected by its {suffix} file"
    return ""


def set_aside(objdir: ObjectDir, names: Iterable[str]) -> str:
    """Move files (named from the object directory on) to gpa/damaged/, where git does not look; gives that folder.

    An .idx goes first, so that nobody sees a pack without its .pack. What is there already under that name stays, and
    the file gets a number. A folder of objects/ is taken where gpa/ is on another file system.
    """
    folder = os.path.join(objdir.gpa_dir, "damaged")
    make_dir(objdir.gpa_dir, objdir.settings.shared)
    if os.stat(objdir.gpa_dir).st_dev != os.stat(objdir.pack_dir).st_dev:
        folder = os.path.join(objdir.objects, "damaged")
    make_dir(folder, objdir.settings.shared)
    for name in sorted(names, key=lambda name: (not name.endswith(".idx"), name)):
        source = os.path.join(objdir.objects, name)
        target = base = os.path.join(folder, name.removeprefix("pack/").replace("/", ""))
        for number in range(1, MOST_ASIDE):
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                move_name(source, target)
                unlink(source)
                break
            if not os.path.lexists(source):
                break
            target = f"{base}.{number}"
    fsync_dir(folder)
    fsync_dir(objdir.pack_dir)
    return folder


def make_younger(path: str, than_ns: int) -> int:
    """I9: see to it that the file's mtime is of a later second than `than_ns`; gives that second.

    git compares whole seconds. Of two packs of the same one its index may name either for an object, and its expire
    would delete the page and not the source. Where no file's time can be set, a file of the same second is as it
    should be; SystemFailed for an older one.
    """
    second, least = os.stat(path).st_mtime_ns // SECOND_NS, than_ns // SECOND_NS + 1
    if second >= least:
        return second
    with named("utime", path):
        try:
            os.utime(path, (least, least))
        except OSError as error:
            if error.errno in UNSUPPORTED and second == least - 1:
                return second
            raise
    return least


@contextlib.contextmanager
def private_objects(space: TempFiles, pack: TempFile, idx: TempFile, name: str) -> Iterator[str]:
    """An object directory that holds this one pack, for a git command that shall see nothing else.

    It is removed at the end, with all that git put there, and the pack with it.
    """
    path = space.new_path(".objects")
    make_dir(path)
    try:
        make_dir(os.path.join(path, "pack"))
        move_name(pack.path, f"{path}/pack/{name}.pack")
        move_name(idx.path, f"{path}/pack/{name}.idx")
        yield path
    finally:
        remove_leftover(path)
        unlink(pack.path)
        unlink(idx.path)


def adopt_pack(stem: str) -> tuple[TempFile, TempFile]:
    """The .pack and .idx that git wrote, synced, as if they were temporary files of ours."""
    pack, idx = f"{stem}.pack", f"{stem}.idx"
    fsync_path(pack)
    fsync_path(idx)
    return TempFile(pack, -1), TempFile(idx, -1)
