"""Packs: published .pack before .idx, unlinked .idx before .pack, set aside."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Container, Iterable, Iterator

from ..base.safe_open import lstat, open_regular, place_of
from ..errors import SystemFailed
from ..repo.objdir import ObjectDir
from ..state.paths import DAMAGED, path_of
from .door import UNSUPPORTED, adopt, fsync_dir, fsync_file, make_dir, move_name, named, rename, unlink
from .holds import Hold, become_hold, read_hold, write_hold
from .locks import host_name
from .temp import HIDDEN, TMP_PREFIX, TempFile, TempFiles, remove_leftover

SECOND_NS = 10**9
MOST_ASIDE = 1000
"""Largest number of files of one name that are set aside, each under its own number."""


def publish_pack(
    objdir: ObjectDir, pack: TempFile, idx: TempFile, name: str, hold: Hold, *, again: bool = False
) -> str:
    """Give a finished page its name, and return it; both files must be synced.

    I14: It is held before it is visible. I4: The .pack is renamed before the .idx, because the .idx makes the pack
    visible. The directory is not synced here: the caller does it once for all pages, before anything depends on them.

    `name` is the name by the pack's checksum. An existing pack of that name has the same bytes, but may be old, or
    cruft, or about to be deleted, and it is too late to hold it. Then the page gets another name. With `again`, an
    existing held page counts as this one, because a killed run has made it.
    """
    keep_path = objdir.pack_path(name, ".keep")
    if again and read_hold(keep_path) and _is_there(objdir, pack, idx, name):
        make_as_young(objdir.pack_path(name), os.stat(pack.path).st_mtime_ns)
        return name
    while True:
        name = _free_name(objdir, name)
        # Another process may publish a pack with these bytes at this moment: then the next name is tried.
        with contextlib.suppress(FileExistsError):
            if write_hold(objdir.pack_path(name, ".keep"), f"{pack.path}.keep", hold, objdir.settings.shared):
                move_name(pack.path, objdir.pack_path(name))
                break
    with contextlib.suppress(FileExistsError):
        move_name(idx.path, objdir.pack_path(name, ".idx"))
    return name


def _is_there(objdir: ObjectDir, pack: TempFile, idx: TempFile, name: str) -> bool:
    """Return whether the pack `name` has the same files."""
    try:
        return same_content(pack.path, objdir.pack_path(name)) and same_content(
            idx.path, objdir.pack_path(name, ".idx")
        )
    except FileNotFoundError:
        return False


def next_name(objdir: ObjectDir, name: str) -> str:
    """Return the next name for a page whose name `name` is taken: a hash of it."""
    import hashlib  # start-up cost: a name is hardly ever taken

    digest = hashlib.new(objdir.object_format, bytes.fromhex(name.removeprefix("pack-")), usedforsecurity=False)
    return f"pack-{digest.hexdigest()}"


def _free_name(objdir: ObjectDir, name: str) -> str:
    while any(os.path.lexists(objdir.pack_path(name, suffix)) for suffix in (".pack", ".idx", ".keep")):
        name = next_name(objdir, name)
    return name


@contextlib.contextmanager
def held_as_new(base: str) -> Iterator[None]:
    """Give the pack `base`, which is not visible yet, the .keep of a push, and turn it into a hold at the end.

    So no run merges the pack before it is complete (I8), and git does not delete it before a ref names its objects
    (I14). An existing .keep stays.
    """
    path = f"{base}.keep"
    try:
        with named("create", path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
    except FileExistsError:
        yield
        return
    try:
        with open(fd, "w") as file:
            file.write(f"receive-pack {os.getpid()} on {host_name()}\n")
        yield
    finally:
        if os.path.lexists(f"{base}.idx"):
            name = os.path.basename(base)
            become_hold(path, os.path.join(os.path.dirname(base), f"{TMP_PREFIX}{os.getpid()}-{name}.keep"))
        else:
            unlink(path)


def finish_pack(objdir: ObjectDir, idx_path: str, name: str) -> None:
    """Rename an idx as publish_pack() does, if the writer died after it had renamed the pack.

    I14: If the .keep is gone too, the page is held again before it is visible.
    """
    for path in (objdir.pack_path(name), idx_path):
        fd = open_regular(path, follow=True)
        try:
            fsync_file(fd, path)
        finally:
            os.close(fd)
    keep_path = objdir.pack_path(name, ".keep")
    if not os.path.lexists(keep_path):
        write_hold(keep_path, f"{idx_path}.keep", Hold(is_new=True), objdir.settings.shared)
    rename(idx_path, objdir.pack_path(name, ".idx"))
    fsync_dir(objdir.pack_dir)


def unlink_pack(objdir: ObjectDir, name: str, there: Container[str], remove: Callable[[str], object] = unlink) -> None:
    """Delete a pack. I4: the .idx first, so that no reader sees it without its .pack; a crash leaves a lone .pack.

    `there`: names in the directory, which tell whether the pack has other files to remove; a .keep among them must be a
    hold of ours. `remove` replaces unlink() for callers that delete many files.
    """
    remove(objdir.pack_path(name, ".idx"))
    remove(objdir.pack_path(name))
    for suffix in (".rev", ".bitmap", ".keep"):
        if name + suffix in there:
            with contextlib.suppress(SystemFailed):  # no reader uses it without its pack, and a later run removes it
                unlink(objdir.pack_path(name, suffix))


def same_content(one: str, other: str) -> bool:
    """Return whether two regular files have the same content. False if either is no regular file."""
    try:
        fds = [open_regular(path, follow=True) for path in (one, other)]
    except FileNotFoundError:
        raise
    except OSError:
        return False
    with open(fds[0], "rb") as a, open(fds[1], "rb") as b:
        while True:
            left, right = a.read(1 << 20), b.read(1 << 20)
            if left != right:
                return False
            if not left:
                return True


def hide_idx(objdir: ObjectDir, space: TempFiles, name: str) -> str:
    """Move the .idx of a pack away, so that the pack becomes invisible. Return the path from which it can be restored.

    Raises FileNotFoundError if it is gone. If the run is killed, the next run restores it.
    """
    path = os.path.join(space.directory, f"{space.prefix}{HIDDEN}{name}.idx")
    rename(objdir.pack_path(name, ".idx"), path)
    return path


PROTECTING = (".keep", ".promisor", ".mtimes")


def protection(objdir: ObjectDir, there: Container[str], name: str) -> str:
    """Return why this pack must stay, by the files beside it; empty if it is not protected."""
    for suffix in PROTECTING:
        if name + suffix in there and not (suffix == ".keep" and read_hold(objdir.pack_path(name, suffix))):
            return f"protected by its {suffix} file"
    return ""


def set_aside(objdir: ObjectDir, names: Iterable[str]) -> str:
    """Move files (relative to the object directory) to gpa/damaged/, where git does not look; return that folder.

    An .idx is moved first, so that no reader sees it without its .pack. If the name exists there, the file gets a
    number. If gpa/ is on another file system, the folder is in objects/.
    """
    folder = path_of(objdir, DAMAGED)
    make_dir(objdir.gpa_dir, objdir.settings.shared)
    if lstat(objdir.gpa_dir).st_dev != os.stat(objdir.pack_dir).st_dev:
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


def make_as_young(path: str, as_ns: int) -> int:
    """I9: raise the file's mtime to `as_ns` (nanoseconds) if it is older, but not beyond now; return the mtime.

    A page with an mtime in the future would win over the packs that git makes until then. If the file system cannot set
    mtimes, a file of the same second is accepted, and an older one raises SystemFailed.
    """
    mtime, as_ns = os.stat(path).st_mtime_ns, min(as_ns, time.time_ns())
    if mtime >= as_ns:
        return mtime
    with named("utime", path), place_of(path) as (folder, name):
        try:
            os.utime(name, ns=(as_ns, as_ns), dir_fd=folder)
        except OSError as error:
            if error.errno in UNSUPPORTED and mtime // SECOND_NS == as_ns // SECOND_NS:
                return mtime
            raise
    return as_ns


@contextlib.contextmanager
def private_objects(space: TempFiles, pack: TempFile, idx: TempFile, name: str) -> Iterator[str]:
    """Yield an object directory with only this pack, for a git command that must see nothing else.

    It is removed at the end, with the pack and all files that git created there.
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


def adopt_pack(stem: str, shared: str) -> tuple[TempFile, TempFile]:
    """Sync the .pack and .idx that git wrote, and return them as temporary files of ours."""
    pack, idx = f"{stem}.pack", f"{stem}.idx"
    adopt(pack, shared)
    adopt(idx, shared)
    return TempFile(pack, -1), TempFile(idx, -1)
