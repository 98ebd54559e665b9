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
"""For tests: called before each operation, with its name and the path."""

before_core_step: Callable[[str, str, int], tuple[int, int]] | None = None
"""For tests: called before each operation of a C writer that is opened later (its door is csrc/base/door.c).

The arguments are the operation, the path, and the number of bytes to write. It returns the errno with which the
operation must fail, or 0, and the number of bytes that are written before.
"""


def step(operation: str, path: str) -> None:
    if before_step is not None:
        before_step(operation, path)


class worded:
    """Turns an OSError of an operation into a SystemFailed with the path, except FileExistsError and FileNotFoundError.

    Tests do not stop before it. It is a class for speed, because it is entered for each deleted file.
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
    """Does what worded() does, for a step before which a test may stop."""

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
    """Sync a file that git has written for us, and set the owner and the mode that our files have."""
    with named("fsync", path):
        fd = safe_open.open_regular(path)
        try:
            fit(fd, path, shared)
            os.fsync(fd)
        finally:
            os.close(fd)


UNSUPPORTED = frozenset((errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EACCES, errno.ENOTTY))
"""Error numbers of file systems for a call that they do not support, or do not allow on any file."""

NO_DIR_SYNC = UNSUPPORTED | {errno.EBADF, errno.EISDIR}
"""Error numbers of some FUSE, 9p and SMB file systems for fsync() of a directory, which they do not need."""


def fsync_dir(path: str) -> None:
    """Make the names in a directory durable. Without it, a crash may undo a rename although the file was synced."""
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
    """Open a file as safe_open.reading() does. Raise SystemFailed, which names the file, if it is no regular file."""
    with worded("read", path):
        return safe_open.reading(path)


def unlink(path: str) -> bool:
    """Remove a name; return False if it did not exist."""
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
    """Remove a name in an open folder, or the path `name`; return False if it did not exist. Messages use `path`."""
    step("unlink", path)
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise failed("unlink", path, error) from None
    return True


def has_linked(source: str, target: str) -> bool:
    """Give a file a second name; return False if hard links are not supported. Raise FileExistsError if it is taken.

    As in git, every other error of link() means that hard links are not supported. File systems and security modules
    return a dozen different errors, and the caller's rename() reports the real problem.
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
    """Make `target` a lock: a second name of `source`, or an empty file. Raise FileExistsError if the name is taken."""
    if not has_linked(source, target):
        fd = create(target, 0o666)
        try:
            with worded("change the mode of", target):
                set_mode(fd, lstat(source).st_mode & 0o7777)
                give_to_owner(fd, target)
        finally:
            os.close(fd)


def move_name(source: str, target: str) -> None:
    """Give a file its final name. Raise FileExistsError if the name is taken. `source` may remain as a second name."""
    if not has_linked(source, target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        rename(source, target)


def rename(source: str, target: str) -> None:
    with named("rename", target), place_of(source) as (old, name), place_of(target) as (new, new_name):
        os.rename(name, new_name, src_dir_fd=old, dst_dir_fd=new)


def make_dir(path: str, shared: str = "") -> None:
    """Create a directory if it does not exist, with core.sharedRepository's modes, set-group-id included.

    Raises SystemFailed (ELOOP) if it is a symbolic link, so that nothing is written outside the repository.
    """
    with contextlib.suppress(FileExistsError), named("create", path), place_of(path) as (folder, name):
        try:
            os.mkdir(name, dir_fd=folder)
        except OSError as error:
            # some file systems check first whether they are full or read-only
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
    """Set the permission bits of an open file or folder that this process has created.

    If the file system has one mode for all files, as vfat and many FUSE file systems have, that mode stays.
    """
    if os.fstat(fd).st_mode & 0o7777 == mode:
        return
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise


def give_to_owner(fd: int, path: str) -> None:
    """Give a new file to the owner of its folder, if this process runs as root.

    Otherwise, after one run by root, the owner of a repository could no longer write to gpa/, or set the mtimes of
    packs.
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
    """Open a regular file of ours. A new file gets the mode of core.sharedRepository and the owner of its folder.

    Raises OSError as safe_open.open_regular() does.
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
    """Open a file of ours for writing, as open_shared() does; replace a file with a second hard link by a new one.

    The second name may be a file elsewhere. Raises SystemFailed (EMLINK) if a second name appears each time.
    """
    for _ in range(TRIES):
        fd = open_shared(path, flags, shared)
        if os.fstat(fd).st_nlink <= 1:
            return fd
        os.close(fd)
        unlink(path)
    raise failed("write", path, OSError(errno.EMLINK, os.strerror(errno.EMLINK)))


def fit(fd: int, path: str, shared: str) -> None:
    """Set a new file's owner, and the mode that core.sharedRepository asks for."""
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
    """Return a mode as git's calc_shared_perm() does: others get write and execute bits only if the owner has them."""
    bits = shared_bits(shared)
    tweak = abs(bits)
    if not mode & 0o200:
        tweak &= ~0o222
    if mode & 0o100:
        tweak |= (tweak & 0o444) >> 2
    return (mode & ~0o777) | tweak if bits < 0 else mode | tweak


def replace_name(content: str, lock: str, target: str) -> bool:
    """Replace `target` by the file `content`, whose second name is `lock`. Return True if `lock` remains."""
    if os.path.samestat(lstat(content), lstat(lock)):
        rename(lock, target)
        return False
    rename(content, target)
    return True
