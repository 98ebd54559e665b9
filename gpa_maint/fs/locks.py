"""Locks: our own, and those of git that exclude `git gc` and `git maintenance`."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Container, Iterator

from ..base import safe_open
from ..errors import Locked, SystemFailed
from ..repo.objdir import ObjectDir
from ..state.paths import LOCK, path_of
from .door import make_dir, named, open_shared, replace_name, take_name, unlink, worded
from .temp import Workspace, inode_of, lock_paths, temporary_files


def locks_there(objdir: ObjectDir) -> list[tuple[str, int, bool]]:
    """Return the existing lock files of the index and of git: path, mtime, and whether one of our runs created it."""
    ours = {inode_of(path) for path in temporary_files(objdir)}
    found = []
    for path in lock_paths(objdir):
        with contextlib.suppress(FileNotFoundError):
            stat = os.lstat(path)
            found.append((path, int(stat.st_mtime), (stat.st_dev, stat.st_ino) in ours))
    return found


def run_at_work(objdir: ObjectDir) -> str:
    """Return the process that holds gpa/lock, "" for none. It does not try the lock, which could make a run fail."""
    path = path_of(objdir, LOCK)
    try:
        stat = safe_open.lstat(path)
        words = safe_open.read_bytes(path, 200) if stat.st_nlink == 1 else b""
        holder, inode = words.decode(errors="replace").strip(), stat.st_ino
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            held = any(_is_flock(line.split(), inode) for line in file)
    except OSError:
        return ""
    return (holder or "another process") if held else ""


def _is_flock(words: list[str], inode: int) -> bool:
    """Return whether a line of /proc/locks is of this file: `<n>: FLOCK ADVISORY WRITE <pid> <device>:<inode>`."""
    return words[1:2] == ["FLOCK"] and words[5:6] != [] and words[5].rpartition(":")[2] == str(inode)


@contextlib.contextmanager
def maintenance_lock(objdir: ObjectDir) -> Iterator[None]:
    """Exclude other runs of ours by flock, which no crash can leave behind. Raise Locked, which names the holder."""
    with flock(objdir, LOCK, "another maintenance run is at work"):
        yield


@contextlib.contextmanager
def flock(objdir: ObjectDir, name: str, who: str) -> Iterator[None]:
    make_dir(objdir.gpa_dir, objdir.settings.shared)
    path = path_of(objdir, name)
    with named("open", path):
        fd = open_shared(path, os.O_RDWR, objdir.settings.shared)
    try:
        # With a second hard link it may be a file elsewhere: it is locked, but not changed.
        is_ours_alone = os.fstat(fd).st_nlink == 1
        try:
            lock_file(fd, path)
        except BlockingIOError:
            words = os.pread(fd, 200, 0) if is_ours_alone else b""  # the content of a file elsewhere is not shown
            holder = words.decode("utf-8", "replace").strip() or "another process"
            raise Locked(
                f"cannot lock '{path}': held by {holder}",
                path=path,
                holder=holder,
                hint=f"{who}; nothing was changed, and running again later is safe",
            ) from None
        if is_ours_alone:
            with contextlib.suppress(OSError):  # the text is for people only, and a full disk must not prevent expire
                # It is not truncated first: ext4 would write a truncated file to the disk as soon as it is closed.
                os.ftruncate(fd, os.pwrite(fd, f"process {os.getpid()} on {host_name()}\n".encode(), 0))
        yield
    finally:
        os.close(fd)


def lock_file(fd: int, path: str) -> None:
    """Take the flock of an open file, until it is closed. Raise BlockingIOError if another process holds it.

    Raises SystemFailed if the file system has no locks, as Lustre and NFS may be mounted.
    """
    try:
        with worded("lock", path):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except SystemFailed as error:
        if error.errno in (errno.EAGAIN, errno.EINTR):
            raise BlockingIOError(error.errno, os.strerror(error.errno), path) from None
        error.hint = NO_FLOCK
        raise


NO_FLOCK = (
    "nothing was changed; where the file system has no flock(2), mount it so that it has: "
    "'-o flock' or '-o localflock' for Lustre, '-o local_lock=flock' for NFS"
)


def is_held(path: str) -> bool:
    """Return whether a process holds the flock of this file. False if there is no such file."""
    try:
        fd = safe_open.open_regular(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # it cannot be opened
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # it is held, or the file system has no locks
        return True
    finally:
        os.close(fd)
    return False


def host_name() -> str:
    return os.uname().nodename


def gc_holder(objdir: ObjectDir, now: int) -> str | None:
    """Return the process that runs `git gc`, by git's rules: gc.pid is younger than 12 hours, and names a live one."""
    path = os.path.join(objdir.common_dir, "gc.pid")
    try:
        words = safe_open.read_bytes(path, 200).decode(errors="replace").split()
        mtime = os.stat(path).st_mtime
    except FileNotFoundError:
        return None
    if len(words) < 2 or not words[0].isdigit() or now - mtime > 12 * 3600:
        return None
    if words[1] == host_name() and not _is_alive(int(words[0])):
        return None
    return f"process {words[0]} on {words[1]}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # a process of another user is alive
    return True


PUSHING = ("receive-pack", "fetch-pack")
KEEP_BYTES = 300


def dead_keeps(pack_dir: str, before: int | None = None, *, passed_over: Container[str] = ()) -> list[str]:
    """Return the names of .keep files in which git names a dead process of this host, ascending.

    `before`: only those that are older than this second. `passed_over`: names that are known not to be such files.
    """
    try:
        there = os.listdir(pack_dir)
    except OSError:
        return []
    names = sorted(name for name in there if name.endswith(".keep") and name not in passed_over)
    return [name for name in names if is_dead_keep(os.path.join(pack_dir, name), before)]


def is_dead_keep(path: str, before: int | None = None) -> bool:
    """Return whether this is the .keep of a push or fetch whose process is dead. False if it cannot be read."""
    try:
        if before is not None and os.lstat(path).st_mtime >= before:
            return False
        words = safe_open.read_bytes(path, KEEP_BYTES).decode(errors="replace").split()
    except OSError:
        return False
    return len(words) == 4 and words[0] in PUSHING and words[2] == "on" and is_dead(words[1], words[3])


def is_dead(pid: str, host: str) -> bool:
    """Return whether this was a process of this host that has ended. False if `pid` is no number."""
    return host == host_name() and pid.isdecimal() and not _is_alive(int(pid))


def check_git_locks(objdir: ObjectDir, now: int) -> None:
    """Raise Locked if `git gc` or `git maintenance` is running, because each would undo the work of the other."""
    gc_pid = os.path.join(objdir.common_dir, "gc.pid")
    holder = gc_holder(objdir, now)
    if holder:
        raise Locked(f"cannot lock '{gc_pid}': git gc is running as {holder}", path=gc_pid, holder=holder)
    maintenance = os.path.join(objdir.objects, "maintenance.lock")
    if os.path.lexists(maintenance):
        raise Locked(f"cannot lock '{maintenance}': git maintenance is running", path=maintenance, holder="git")


@contextlib.contextmanager
def git_locks(objdir: ObjectDir, space: Workspace, now: int) -> Iterator[None]:
    """Hold gc.pid and maintenance.lock, so that neither `git gc` nor `git maintenance` runs while we delete.

    Raises Locked if another process holds one of them.
    """
    gc_pid = os.path.join(objdir.common_dir, "gc.pid")
    gc_lock = f"{gc_pid}.lock"  # git takes it to look at gc.pid and to replace it
    maintenance = os.path.join(objdir.objects, "maintenance.lock")
    lock = space.create(".gc", 0o666)
    try:
        with named("write", lock.path):
            os.write(lock.fd, f"{os.getpid()} {host_name()}".encode())
    finally:
        lock.close()
    with contextlib.ExitStack() as held:
        _take_lock(lock.path, maintenance, "git maintenance")
        held.callback(unlink, maintenance)
        _take_lock(lock.path, gc_lock, "git gc")
        try:
            holder = gc_holder(objdir, now)
            if holder:
                raise Locked(f"cannot lock '{gc_pid}': git gc is running as {holder}", path=gc_pid, holder=holder)
            remains = replace_name(lock.path, gc_lock, gc_pid)
        except BaseException:
            unlink(gc_lock)
            raise
        held.callback(unlink, gc_pid)
        if remains:
            unlink(gc_lock)
        yield


def _take_lock(source: str, target: str, whose: str) -> None:
    try:
        take_name(source, target)
    except FileExistsError:
        raise Locked(f"cannot lock '{target}': {whose} is running", path=target, holder=whose) from None
