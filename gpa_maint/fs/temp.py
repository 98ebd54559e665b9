"""Temporary files of runs, also of killed ones.

Temporary files and locks are hard links of one another: a lock on the index is a link of the finished new index, so
it is held for an instant, and a lock that a killed run left behind is recognised by its inode.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from stat import S_ISDIR, S_ISLNK, S_ISREG

from ..base import safe_open
from ..errors import SystemFailed
from ..repo.objdir import ObjectDir
from ..state.paths import TMP, path_of
from .door import create, fit, make_dir, rename, step, unlink, unlink_in
from .processes import Deleter

TMP_PREFIX = "tmp_gpa_"
HIDDEN = "hidden-"
"""Prefix of the name of an .idx that expire has hidden and may restore."""
INDEX_LOCK = "multi-pack-index.lock"


class TempFile:
    """An open file that has no final name yet."""

    def __init__(self, path: str, fd: int) -> None:
        self.path = path
        self.fd = fd

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class TempFiles:
    """Temporary files of this run in one folder; removed when the run ends, however it ends."""

    def __init__(self, directory: str, prefix: str, shared: str = "") -> None:
        self.directory = directory
        self.prefix = prefix
        self._shared = shared
        self._paths: list[str] = []
        self._count = 0

    def new_path(self, suffix: str) -> str:
        """Return a path that no other program uses."""
        while True:
            self._count += 1
            path = os.path.join(self.directory, f"{self.prefix}{os.getpid()}-{self._count}{suffix}")
            if not os.path.lexists(path):  # exists if an earlier run of this process could not remove it
                return path

    def create(self, suffix: str, mode: int) -> TempFile:
        """Create an empty file for writing; `mode` is limited by the umask and widened by core.sharedRepository."""
        path = self.new_path(suffix)
        fd = create(path, mode, flags=os.O_RDWR)
        self._paths.append(path)
        temp = TempFile(path, fd)
        try:
            fit(fd, path, self._shared)
        except BaseException:
            temp.close()
            raise
        return temp

    def remove_all(self) -> None:
        while self._paths:
            unlink(self._paths.pop())


class Workspace(TempFiles):
    """Temporary files of this run; a killed run's are removed by the next.

    They are in gpa/tmp/ if that is on the file system of objects/pack (a local clone copies objects/ file by file, and
    fails if a file vanishes there), else in objects/pack as tmp_gpa_*. `healed`: locks of killed runs that were removed
    at the start. `beside`: git processes that may delete packs, and ran when this run published an index.
    """

    def __init__(self, objdir: ObjectDir, directory: str, prefix: str) -> None:
        super().__init__(directory, prefix, objdir.settings.shared)
        self.objdir = objdir
        self.healed: list[str] = []
        self.beside: list[Deleter] = []

    def now_ns(self) -> int:
        """Return the current time of the file system's clock (ns), which may differ from that of this process."""
        probe = self.create(".now", 0o600)
        try:
            return os.fstat(probe.fd).st_mtime_ns
        finally:
            probe.close()
            unlink(probe.path)

    def remove_all(self) -> None:
        # A lock that could not be removed is recognised by its temporary file, which therefore stays for the next run.
        locked = {inode_of(path) for path in lock_paths(self.objdir)} - {None}
        self._paths = [path for path in self._paths if not locked or inode_of(path) not in locked]
        super().remove_all()


@contextlib.contextmanager
def workspace(objdir: ObjectDir) -> Iterator[Workspace]:
    """Yield a place for temporary files, and remove those of dead processes. Needs the maintenance lock."""
    directory = path_of(objdir, TMP)
    make_dir(objdir.gpa_dir, objdir.settings.shared)
    make_dir(directory, objdir.settings.shared)
    prefix = ""
    if safe_open.lstat(directory).st_dev != os.stat(objdir.pack_dir).st_dev:
        directory, prefix = objdir.pack_dir, TMP_PREFIX
    space = Workspace(objdir, directory, prefix)
    bring_back_hidden(objdir)
    space.healed = remove_stale(objdir)
    with safe_open.kept_open(objdir.pack_dir), safe_open.kept_open(directory):
        try:
            yield space
        finally:
            space.remove_all()


def is_ours(name: str) -> bool:
    """Return whether this is the name of one of our temporary files in objects/pack."""
    return name.startswith(TMP_PREFIX)


def temporary_files(objdir: ObjectDir, packs: Iterable[str] | None = None) -> list[str]:
    """Return all temporary files of ours. At the start of a run, which has the lock, they are of killed runs.

    `packs`: the names in the pack directory, if the caller has listed it.
    """
    folder = path_of(objdir, TMP)
    found = [os.path.join(folder, name) for name in _names_in(folder)]
    here = _names_in(objdir.pack_dir) if packs is None else packs
    return found + [os.path.join(objdir.pack_dir, name) for name in here if name.startswith(TMP_PREFIX)]


def is_of_live_process(path: str) -> bool:
    """Return whether the process whose number a temporary file has in its name exists."""
    pid = os.path.basename(path).removeprefix(TMP_PREFIX).partition("-")[0]
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _names_in(directory: str) -> list[str]:
    try:
        return safe_open.names_in(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []


def bring_back_hidden(objdir: ObjectDir) -> None:
    """Restore the .idx of each pack that a killed expire had hidden. The pack must be proved again."""
    for path in temporary_files(objdir):
        name = os.path.basename(path).removeprefix(TMP_PREFIX)
        if name.startswith(HIDDEN) and name.endswith(".idx"):
            target = os.path.join(objdir.pack_dir, name.removeprefix(HIDDEN))
            if os.path.lexists(f"{target[:-4]}.pack") and not os.path.lexists(target) and _may_come_back(path):
                rename(path, target)


def _may_come_back(path: str) -> bool:
    """Return whether it is a file or a link, as an .idx is. git would wait for a FIFO, and cannot read a folder."""
    with contextlib.suppress(FileNotFoundError):
        mode = safe_open.lstat(path).st_mode
        return S_ISREG(mode) or (S_ISLNK(mode) and os.path.isfile(path))
    return False


def remove_stale(objdir: ObjectDir) -> list[str]:
    """Remove files of killed runs, and return the paths of the locks among them.

    Their locks, and packs that never got their idx, are recognised as hard links of a temporary file. A file that
    cannot be removed does not prevent a run.
    """
    stale = temporary_files(objdir)
    if not stale:
        return []
    inodes = {inode_of(path) for path in stale} - {None}
    locks = [path for path in lock_paths(objdir) if inode_of(path) in inodes]
    for path in (*locks, *(path for path in packs_without_idx(objdir) if inode_of(path) in inodes)):
        unlink(path)
    for path in stale:
        with contextlib.suppress(SystemFailed):  # perhaps of another user, who can remove it
            remove_leftover(path)
    return locks


def inode_of(path: str) -> tuple[int, int] | None:
    try:
        stat = safe_open.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_dev, stat.st_ino


def packs_without_idx(objdir: ObjectDir) -> list[str]:
    there = set(safe_open.names_in(objdir.pack_dir))
    names = [name.removesuffix(".pack") for name in there if name.endswith(".pack")]
    return [objdir.pack_path(name) for name in names if name + ".idx" not in there]


def lock_paths(objdir: ObjectDir) -> tuple[str, ...]:
    return (
        os.path.join(objdir.pack_dir, INDEX_LOCK),
        os.path.join(objdir.objects, "maintenance.lock"),
        os.path.join(objdir.common_dir, "gc.pid.lock"),
        os.path.join(objdir.common_dir, "gc.pid"),
    )


def remove_leftover(path: str) -> bool:
    """Remove a temporary file, or a folder of them; return False if it did not exist, or is in use again."""
    try:
        with safe_open.place_of(path) as (folder, name):
            if not S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                return unlink_in(folder, name, path)
            _clear(folder, name, path)
            return _remove_empty(folder, name, path)
    except (FileNotFoundError, NotADirectoryError):
        return False


FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _clear(outer: int | None, name: str, path: str) -> None:
    """Remove everything in a folder, at any depth, also if other files replace it meanwhile.

    The content of inner folders is moved up, so that few folders are open at a time. It may be stopped at any moment,
    because everything stays in the one folder that will be deleted.
    """
    top = os.open(name, FOLDER, dir_fd=outer)
    try:
        waiting = _clear_files(top, path)
        number = 0
        while waiting:
            inner_name = waiting.pop()
            try:
                inner = os.open(inner_name, FOLDER, dir_fd=top)
            except OSError:  # it is gone, or may not be opened
                continue
            try:
                for deeper in _clear_files(inner, f"{path}/{inner_name}"):
                    number += 1
                    with contextlib.suppress(OSError):  # the name is taken, or it is another file system
                        os.rename(deeper, moved := f"{MOVED}{os.getpid()}_{number}", src_dir_fd=inner, dst_dir_fd=top)
                        waiting.append(moved)
            finally:
                os.close(inner)
            _remove_empty(top, inner_name, f"{path}/{inner_name}")
    finally:
        os.close(top)


MOVED = "tmp_gpa_moved_"


def _clear_files(folder: int, path: str) -> list[str]:
    """Remove all files of a folder, and return the names of its folders."""
    folders = []
    for name in os.listdir(folder):
        with contextlib.suppress(FileNotFoundError):
            if S_ISDIR(os.lstat(name, dir_fd=folder).st_mode):
                folders.append(name)
            else:
                unlink_in(folder, name, f"{path}/{name}")
    return folders


def remove_empty_dir(path: str) -> bool:
    """Remove a directory; return False if it is not empty, is no directory, or did not exist."""
    try:
        with safe_open.place_of(path) as (folder, name):
            return _remove_empty(folder, name, path)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _remove_empty(folder: int | None, name: str, path: str) -> bool:
    step("rmdir", path)
    try:
        os.rmdir(name, dir_fd=folder)
    except OSError:  # it is gone, or has files again
        return False
    return True
