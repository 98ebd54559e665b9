"""The door: every operation that creates or removes a name, or makes a file durable.

Each goes through step(), so that a test can stop the program before the 1st, 2nd, 3rd ... of them.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from io import BufferedReader

from ..base import safe_open
from ..base.safe_open import IsLink, is_guarded, lstat, open_folder, place_of
from ..errors import SystemFailed

before_step: Callable[[str, str], None] | None = None
"""For tests: called with the operation's name and the path before each one."""

before_core_step: Callable[[str, str, int], tuple[int, int]] | None = None
"""The same for writers of the C core that are opened from now on, whose own door (csrc/base/door.c) makes names appear.

Called with the operation, the path and how many bytes would be written; gives the errno that it shall fail with, or 0,
and how many bytes are written first.
"""


def step(operation: str, path: str) -> None:
    if before_step is not None:
        before_step(operation, path)


class worded:
    """An OSError of an operation becomes a SystemFailed with the path; that a name is there or not passes as it is.

    A test does not stop before it. A class, since it is entered for each file that is deleted.
    """

    __slots__ = ("_operation", "_path")

    def __init__(self, operation: str, path: str) -> None:
        self._operation = operation
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, OSError) and not isinstance(error, (FileNotFoundError, FileExistsError, SystemFailed)):
            raise failed(self._operation, self._path, error) from None


class named(worded):
    """As worded(), for a step: a test may stop before it."""

    __slots__ = ()

    def __enter__(self) -> None:
        step(self._operation, self._path)


def create(path: str, mode: int, *, flags: int = os.O_WRONLY) -> int:
    """Return a descriptor of a new file. Raise FileExistsError if the name is taken."""
    with named("create", path), place_of(path) as (folder, name):
        return os.open(name, flags | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=folder)


def failed(operation: str, path: str, error: OSError) -> SystemFailed:
    number = error.errno or 0
    if isinstance(error, IsLink):
        operation, path = "write through the symbolic link", error.filename
    return SystemFailed(f"cannot {operation} '{path}': {os.strerror(number)}", path=path, errno=number)


def fsync_file(fd: int, path: str) -> None:
    with named("fsync", path):
        os.fsync(fd)


def adopt(path: str, shared: str) -> None:
    """Sync a file that git has written for us, and give it the owner and the mode of a file of ours."""
    with named("fsync", path):
        fd = safe_open.open_regular(path)
        try:
            fit(fd, path, shared)
            os.fsync(fd)
        finally:
            os.close(fd)


UNSUPPORTED = frozenset((errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOTTY))
"""What file systems answer to a call that they do not know, or do not allow on any file."""

NO_DIR_SYNC = UNSUPPORTED | {errno.EBADF, errno.EISDIR}
"""What some FUSE, 9p and SMB file systems answer to fsync() of a directory: there it is not needed, or not possible."""


def fsync_dir(path: str) -> None:
    """Make the names in a directory durable: without it a crash may forget a rename although the file was synced."""
    with named("fsync", path):
        fd = open_folder(path)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in NO_DIR_SYNC:
                raise
        finally:
            os.close(fd)


def reading(path: str) -> BufferedReader:
    """As safe_open.reading(). SystemFailed, which names the file, for what is no regular file."""
    with worded("read", path):
        return safe_open.reading(path)


def unlink(path: str) -> bool:
    """Remove a name; False when it was gone already."""
    step("unlink", path)
    try:
        with place_of(path) as (folder, name):
            os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise failed("unlink", path, error) from None
    return True


def open_to_remove(path: str) -> int | None:
    """Return a descriptor of a folder for unlink_in(); None if nothing is guarded."""
    with worded("open", path):
        return open_folder(path, os.O_PATH) if is_guarded(path) else None


def unlink_in(folder: int | None, name: str, path: str) -> bool:
    """unlink() of a name in an open folder, or of the path `name`; `path` is what it is called in messages."""
    step("unlink", path)
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise failed("unlink", path, error) from None
    return True


def has_linked(source: str, target: str) -> bool:
    """Give a file a second name; False where that cannot be done. FileExistsError when the name is taken.

    As in git, any other answer of link() means that there are no hard links here. File systems and security modules
    have a dozen different ones, and the caller's rename() tells what is really wrong.
    """
    step("link", target)
    try:
        with place_of(source) as (old, name), place_of(target) as (new, new_name):
            os.link(name, new_name, src_dir_fd=old, dst_dir_fd=new, follow_symlinks=False)
    except FileExistsError:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target) from None
    except IsLink as error:
        raise failed("link", target, error) from None
    except OSError:
        return False
    return True


def take_name(source: str, target: str) -> None:
    """Make `target` a lock: a second name of `source`, or an empty file. FileExistsError when the name is taken."""
    if not has_linked(source, target):
        fd = create(target, 0o666)
        try:
            with worded("change the mode of", target):
                set_mode(fd, lstat(source).st_mode & 0o7777)
                give_to_owner(fd, target)
        finally:
            os.close(fd)


def move_name(source: str, target: str) -> None:
    """Give a file its lasting name. FileExistsError when the name is taken; `source` may remain as a second name."""
    if not has_linked(source, target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        rename(source, target)


def rename(source: str, target: str) -> None:
    with named("rename", target), place_of(source) as (old, name), place_of(target) as (new, new_name):
        os.rename(name, new_name, src_dir_fd=old, dst_dir_fd=new)


def make_dir(path: str, shared: str = "") -> None:
    """Make a directory unless it is there, with core.sharedRepository's modes, set-group-id included.

    SystemFailed (ELOOP) when it is a symbolic link: what we write shall not land outside the repository.
    """
    with contextlib.suppress(FileExistsError), named("create", path), place_of(path) as (folder, name):
        try:
            os.mkdir(name, dir_fd=folder)
        except OSError as error:
            # some file systems say first that they are full, or not to be written to
            if not isinstance(error, FileExistsError) and os.path.isdir(path):
                raise FileExistsError from None
            raise
        with _opened(folder, name, path) as fd:
            give_to_owner(fd, path)
            mode = shared_mode(0o777 & os.fstat(fd).st_mode, shared)
            if shared_bits(shared):
                set_mode(fd, mode | (mode & 0o444) >> 2 | 0o2000)
        return
    with worded("create", path), place_of(path) as (folder, name), _opened(folder, name, path):
        pass  # it is a folder


@contextlib.contextmanager
def _opened(folder: int | None, name: str, path: str) -> Iterator[int]:
    """Open the folder `name` in an open folder for a moment; it may have been replaced since it was created."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and os.path.islink(path):
            raise IsLink(errno.ELOOP, os.strerror(errno.ELOOP), path) from None
        raise
    try:
        yield fd
    finally:
        os.close(fd)


def set_mode(fd: int, mode: int) -> None:
    """Set the permission bits of an open file or folder that this process has made.

    Where the file system has one mode for all files, as vfat and many FUSE ones have, that one stays.
    """
    if os.fstat(fd).st_mode & 0o7777 == mode:
        return
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def give_to_owner(fd: int, path: str) -> None:
    """Give a new file to the owner of its folder, when this is root.

    Otherwise the owner of a repository in which root has run maintenance once could not write to gpa/ any more, nor set
    the times of packs.
    """
    if os.geteuid() != 0:
        return
    folder, made = os.stat(os.path.dirname(path) or "."), os.fstat(fd)
    if folder.st_uid == 0 or (made.st_uid, made.st_gid) == (folder.st_uid, folder.st_gid):
        return
    try:
        os.chown(fd, folder.st_uid, folder.st_gid)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def open_shared(path: str, flags: int, shared: str) -> int:
    """Open a regular file of ours, and make it when it is not there: core.sharedRepository and the owner hold for it.

    OSError as from safe_open.open_regular().
    """
    while True:
        with contextlib.suppress(FileNotFoundError):
            return safe_open.open_regular(path, flags)
        with contextlib.suppress(FileExistsError):
            fd = safe_open.open_regular(path, flags | os.O_CREAT | os.O_EXCL)
            fit(fd, path, shared)
            return fd


TRIES = 8


def open_own(path: str, flags: int, shared: str) -> int:
    """As open_shared(), for writing: a file that has a second name is left as it is, and begun anew.

    Its other name may be somebody's file elsewhere. SystemFailed (EMLINK) where a second name appears each time.
    """
    for _ in range(TRIES):
        fd = open_shared(path, flags, shared)
        if os.fstat(fd).st_nlink <= 1:
            return fd
        os.close(fd)
        unlink(path)
    raise failed("write", path, OSError(errno.EMLINK, os.strerror(errno.EMLINK)))


def fit(fd: int, path: str, shared: str) -> None:
    """Give a new file its owner, and the mode that core.sharedRepository asks for."""
    with worded("change the mode of", path):
        give_to_owner(fd, path)
        set_mode(fd, shared_mode(os.fstat(fd).st_mode & 0o7777, shared))


def shared_bits(shared: str) -> int:
    """Return the permission bits that core.sharedRepository adds, or, negated, the exact mode; 0 for umask."""
    word = shared.lower()
    if word in ("", "umask", "false", "no", "off", "0"):
        return 0
    if word in ("group", "true", "yes", "on", "1"):
        return 0o660
    if word in ("all", "world", "everybody", "2"):
        return 0o664
    try:
        exact = int(word, 8)
    except ValueError:
        return 0
    return -(exact & 0o666) if exact & 0o600 == 0o600 else 0


def shared_mode(mode: int, shared: str) -> int:
    """As git's calc_shared_perm(): write and execute bits only where the owner has them."""
    bits = shared_bits(shared)
    tweak = abs(bits)
    if not mode & 0o200:
        tweak &= ~0o222
    if mode & 0o100:
        tweak |= (tweak & 0o444) >> 2
    return (mode & ~0o777) | tweak if bits < 0 else mode | tweak


def replace_name(content: str, lock: str, target: str) -> bool:
    """Put the file `content`, which `lock` is a second name of, in the place of `target`; True when `lock` remains."""
    if os.path.samestat(lstat(content), lstat(lock)):
        rename(lock, target)
        return False
    rename(content, target)
    return True
