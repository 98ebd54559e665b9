"""Where names appear and vanish: temporary files, locks, publishing, unlinking. The only module that does any of it.

Keeps I1, I3, I4 and I5 together with its callers' order. Every step goes through _step(), so that a test can stop the
program before the 1st, 2nd, 3rd ... of them. Nothing here prints or asks the clock.

Temporary files and locks are hard links of one another: a lock on the index is a link of the finished new index, so
it is held for an instant, and a lock that a killed run left behind is known by its inode.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Collection, Container, Iterable, Iterator

from . import untrusted
from .errors import Corrupt, Locked, StalePlan, SystemFailed
from .git import ObjectDir

TMP_PREFIX = "tmp_gpa_"
LOG_BYTES = 256 * 1024
INDEX_LOCK = "multi-pack-index.lock"

MOST_ASIDE = 1000
"""How many files of one name are set aside, each under a number of its own."""

before_step: Callable[[str, str], None] | None = None
"""For tests: called with the operation's name and the path before each one."""

before_core_step: Callable[[str, str, int], tuple[int, int]] | None = None
"""The same for writers of the C core that are opened from now on, whose own door (csrc/door.c) makes names appear.

Called with the operation, the path and how many bytes would be written; gives the errno that it shall fail with, or 0,
and how many bytes are written first.
"""


def _step(operation: str, path: str) -> None:
    if before_step is not None:
        before_step(operation, path)


@contextlib.contextmanager
def _named(operation: str, path: str) -> Iterator[None]:
    """A step whose OSError becomes a SystemFailed with the path; that a name is there or not passes as it is."""
    _step(operation, path)
    try:
        yield
    except (FileNotFoundError, FileExistsError, SystemFailed):
        raise
    except OSError as error:
        raise _failed(operation, path, error) from None


def _failed(operation: str, path: str, error: OSError) -> SystemFailed:
    number = error.errno or 0
    return SystemFailed(f"cannot {operation} '{path}': {os.strerror(number)}", path=path, errno=number)


def fsync_file(fd: int, path: str) -> None:
    with _named("fsync", path):
        os.fsync(fd)


def fsync_path(path: str) -> None:
    """fsync of a file that somebody else has written."""
    with _named("fsync", path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def fsync_dir(path: str) -> None:
    """Make the names in a directory durable: without it a crash may forget a rename although the file was synced."""
    with _named("fsync", path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def unlink(path: str) -> bool:
    """Remove a name; False when it was gone already."""
    _step("unlink", path)
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _failed("unlink", path, error) from None
    return True


# What link() answers where there are no hard links, or not between these two directories.
NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK}


def _has_linked(source: str, target: str) -> bool:
    """Give a file a second name; False where that cannot be done. FileExistsError when the name is taken."""
    _step("link", target)
    try:
        os.link(source, target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in NO_LINKS:
            return False
        raise _failed("link", target, error) from None
    return True


def take_name(source: str, target: str) -> None:
    """Make `target` a lock: a second name of `source`, or an empty file. FileExistsError when the name is taken."""
    if not _has_linked(source, target):
        with _named("create", target):
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666))


def move_name(source: str, target: str) -> None:
    """Give a file its lasting name. FileExistsError when the name is taken; `source` may remain as a second name."""
    if not _has_linked(source, target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        rename(source, target)


def rename(source: str, target: str) -> None:
    with _named("rename", target):
        os.rename(source, target)


def make_dir(path: str, shared: str = "") -> None:
    """Make a directory unless it is there, with core.sharedRepository's modes, set-group-id included.

    SystemFailed (ELOOP) when it is a symbolic link: what we write shall not land outside the repository.
    """
    if os.path.islink(path):
        raise _failed("write through the symbolic link", path, OSError(errno.ELOOP, ""))
    with contextlib.suppress(FileExistsError), _named("create", path):
        os.mkdir(path)
        mode = _shared_mode(0o777 & os.stat(path).st_mode, shared)
        if shared_bits(shared):
            os.chmod(path, mode | (mode & 0o444) >> 2 | 0o2000)


def shared_bits(shared: str) -> int:
    """The permission bits core.sharedRepository adds, or, negated, the exact mode it asks for; 0 for umask."""
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


def _shared_mode(mode: int, shared: str) -> int:
    """As git's calc_shared_perm(): write and execute bits only where the owner has them."""
    bits = shared_bits(shared)
    tweak = abs(bits)
    if not mode & 0o200:
        tweak &= ~0o222
    if mode & 0o100:
        tweak |= (tweak & 0o444) >> 2
    return (mode & ~0o777) | tweak if bits < 0 else mode | tweak


# ---- temporary files ----


class TempFile:
    """An open file that has no lasting name yet."""

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
        """A name that nobody else uses."""
        self._count += 1
        return os.path.join(self.directory, f"{self.prefix}{os.getpid()}-{self._count}{suffix}")

    def create(self, suffix: str, mode: int) -> TempFile:
        """A new empty file, open for writing; `mode` is cut by the umask and widened by core.sharedRepository."""
        path = self.new_path(suffix)
        with _named("create", path):
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        self._paths.append(path)
        if shared_bits(self._shared):
            os.fchmod(fd, _shared_mode(os.fstat(fd).st_mode & 0o7777, self._shared))
        return TempFile(path, fd)

    def remove_all(self) -> None:
        while self._paths:
            unlink(self._paths.pop())


class Workspace(TempFiles):
    """Temporary files of this run; a killed run's are removed by the next.

    They live in gpa/tmp/ when that is on the file system of objects/pack (a local clone copies objects/ file by file
    and fails over anything that vanishes there), else in objects/pack as tmp_gpa_*. `healed`: locks of killed runs
    that were removed on the way in.
    """

    def __init__(self, objdir: ObjectDir, directory: str, prefix: str) -> None:
        super().__init__(directory, prefix, objdir.settings.shared)
        self.objdir = objdir
        self.healed: list[str] = []

    def remove_all(self) -> None:
        # A lock that could not be removed is known by its temporary file: that one stays for the next run.
        locked = {_inode(path) for path in _lock_paths(self.objdir)} - {None}
        self._paths = [path for path in self._paths if not locked or _inode(path) not in locked]
        super().remove_all()


@contextlib.contextmanager
def workspace(objdir: ObjectDir) -> Iterator[Workspace]:
    """A place for temporary files; also clears away those of dead processes. Needs the maintenance lock."""
    directory = os.path.join(objdir.gpa_dir, "tmp")
    make_dir(objdir.gpa_dir, objdir.settings.shared)
    make_dir(directory, objdir.settings.shared)
    prefix = ""
    if os.stat(directory).st_dev != os.stat(objdir.pack_dir).st_dev:
        directory, prefix = objdir.pack_dir, TMP_PREFIX
    space = Workspace(objdir, directory, prefix)
    space.healed = remove_stale(objdir)
    try:
        yield space
    finally:
        space.remove_all()


def is_ours(name: str) -> bool:
    """Is this the name of a temporary file of ours in objects/pack?"""
    return name.startswith(TMP_PREFIX)


def temporary_files(objdir: ObjectDir) -> list[str]:
    """All temporary files of ours; at the start of a run, which has the lock, they are those of killed runs."""
    found = []
    for directory, prefix in ((os.path.join(objdir.gpa_dir, "tmp"), ""), (objdir.pack_dir, TMP_PREFIX)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found += [os.path.join(directory, name) for name in os.listdir(directory) if name.startswith(prefix)]
    return found


def remove_stale(objdir: ObjectDir) -> list[str]:
    """Remove what killed runs left; gives the paths of the locks among it.

    Their locks, and packs that never got their idx, are known by being the same file as a temporary one.
    """
    stale = temporary_files(objdir)
    if not stale:
        return []
    inodes = {_inode(path) for path in stale} - {None}
    locks = [path for path in _lock_paths(objdir) if _inode(path) in inodes]
    for path in (*locks, *(path for path in _packs_without_idx(objdir) if _inode(path) in inodes)):
        unlink(path)
    for path in stale:
        remove_leftover(path)
    return locks


def _inode(path: str) -> tuple[int, int] | None:
    try:
        stat = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_dev, stat.st_ino


def _packs_without_idx(objdir: ObjectDir) -> list[str]:
    there = set(os.listdir(objdir.pack_dir))
    names = [name.removesuffix(".pack") for name in there if name.endswith(".pack")]
    return [objdir.pack_path(name) for name in names if name + ".idx" not in there]


def _lock_paths(objdir: ObjectDir) -> tuple[str, ...]:
    return (
        os.path.join(objdir.pack_dir, INDEX_LOCK),
        os.path.join(objdir.objects, "maintenance.lock"),
        os.path.join(objdir.common_dir, "gc.pid.lock"),
        os.path.join(objdir.common_dir, "gc.pid"),
    )


# ---- locks ----


def locks_there(objdir: ObjectDir) -> list[tuple[str, int, bool]]:
    """Locks on the index and in git's name that are there now: path, mtime, and whether a run of ours made it."""
    ours = {_inode(path) for path in temporary_files(objdir)}
    found = []
    for path in _lock_paths(objdir):
        with contextlib.suppress(FileNotFoundError):
            stat = os.lstat(path)
            found.append((path, int(stat.st_mtime), (stat.st_dev, stat.st_ino) in ours))
    return found


def run_at_work(objdir: ObjectDir) -> str:
    """Which process holds gpa/lock, "" when none does. Not found out by locking it: that could turn a run away."""
    path = os.path.join(objdir.gpa_dir, "lock")
    try:
        inode = os.stat(path).st_ino
        holder = untrusted.read_bytes(path, 200).decode(errors="replace").strip()
        with open("/proc/locks", encoding="ascii", errors="replace") as file:
            held = any(_is_flock(line.split(), inode) for line in file)
    except OSError:
        return ""
    return (holder or "another process") if held else ""


def _is_flock(words: list[str], inode: int) -> bool:
    """Does this line of /proc/locks say that the file is locked: `<n>: FLOCK ADVISORY WRITE <pid> <device>:<inode>`?"""
    return words[1:2] == ["FLOCK"] and words[5:6] != [] and words[5].rpartition(":")[2] == str(inode)


@contextlib.contextmanager
def maintenance_lock(objdir: ObjectDir) -> Iterator[None]:
    """One run of ours at a time: flock, so that no crash can leave it behind. Locked names the holder."""
    with _flock(objdir, "lock", "another maintenance run is at work"):
        yield


@contextlib.contextmanager
def _flock(objdir: ObjectDir, name: str, who: str) -> Iterator[None]:
    make_dir(objdir.gpa_dir, objdir.settings.shared)
    path = os.path.join(objdir.gpa_dir, name)
    with _named("open", path):
        fd = untrusted.open_regular(path, os.O_RDWR | os.O_CREAT)
    try:
        if shared_bits(objdir.settings.shared):
            with contextlib.suppress(PermissionError):  # another member of the group made it, with these modes
                os.fchmod(fd, _shared_mode(os.fstat(fd).st_mode & 0o7777, objdir.settings.shared))
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 200, 0).decode("utf-8", "replace").strip() or "another process"
            raise Locked(
                f"cannot lock '{path}': held by {holder}",
                path=path,
                holder=holder,
                hint=f"{who}; nothing was changed, and running again later is safe",
            ) from None
        # Not emptied first: ext4 would write an emptied file to the disk at once when it is closed.
        os.ftruncate(fd, os.pwrite(fd, f"process {os.getpid()} on {_host()}\n".encode(), 0))
        yield
    finally:
        os.close(fd)


def remove_same(folder: str, path: str, suffix: str) -> None:
    """Remove the names with this suffix in `folder` that are other names of the file `path`."""
    inode = _inode(path)
    for name in os.listdir(folder) if inode else ():
        other = os.path.join(folder, name)
        if name.endswith(suffix) and other != path and _inode(other) == inode:
            unlink(other)


def is_held(path: str) -> bool:
    """Does somebody hold the flock of this file? False when there is no such file."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # not ours to look at
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _host() -> str:
    return os.uname().nodename


def gc_holder(objdir: ObjectDir, now: int) -> str | None:
    """Who runs `git gc`, by gc.pid as git itself reads it: younger than 12 hours, and alive or on another host."""
    path = os.path.join(objdir.common_dir, "gc.pid")
    try:
        words = untrusted.read_bytes(path, 200).decode(errors="replace").split()
        mtime = os.stat(path).st_mtime
    except FileNotFoundError:
        return None
    if len(words) < 2 or not words[0].isdigit() or now - mtime > 12 * 3600:
        return None
    if words[1] == _host() and not _is_alive(int(words[0])):
        return None
    return f"process {words[0]} on {words[1]}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass  # somebody else's process is alive too
    return True


def is_dead(pid: str, host: str) -> bool:
    """Was this a process of this host, and is it gone? What is no number counts as alive."""
    return host == _host() and pid.isdecimal() and not _is_alive(int(pid))


def check_git_locks(objdir: ObjectDir, now: int) -> None:
    """Locked when `git gc` or `git maintenance` is at work: what one of us does now, the other would undo."""
    gc_pid = os.path.join(objdir.common_dir, "gc.pid")
    holder = gc_holder(objdir, now)
    if holder:
        raise Locked(f"cannot lock '{gc_pid}': git gc is running as {holder}", path=gc_pid, holder=holder)
    maintenance = os.path.join(objdir.objects, "maintenance.lock")
    if os.path.lexists(maintenance):
        raise Locked(f"cannot lock '{maintenance}': git maintenance is running", path=maintenance, holder="git")


@contextlib.contextmanager
def git_locks(objdir: ObjectDir, space: Workspace, now: int) -> Iterator[None]:
    """Hold gc.pid and maintenance.lock, so that neither `git gc` nor `git maintenance` works while we delete.

    Locked when either is held already.
    """
    gc_pid = os.path.join(objdir.common_dir, "gc.pid")
    gc_lock = f"{gc_pid}.lock"  # git takes it to look at gc.pid and to replace it
    maintenance = os.path.join(objdir.objects, "maintenance.lock")
    lock = space.create(".gc", 0o666)
    try:
        os.write(lock.fd, f"{os.getpid()} {_host()}".encode())
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


# ---- packs ----


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
        if not _same_content(pack.path, path):
            raise Corrupt(path, "a pack of this name exists and differs") from None
        # Its objects count as written just now (I9), as when git writes a pack that is there already.
        os.utime(path)
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
        with _named("create", path):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        yield
        return
    try:
        with open(fd, "w") as file:
            file.write(f"receive-pack {os.getpid()} on {_host()}\n")
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


def _same_content(one: str, other: str) -> bool:
    with open(one, "rb") as a, open(other, "rb") as b:
        while True:
            left, right = a.read(1 << 20), b.read(1 << 20)
            if left != right:
                return False
            if not left:
                return True


def unlink_pack(objdir: ObjectDir, name: str, there: Container[str]) -> None:
    """I4: the .idx first, so that nobody sees a pack without its .pack; a crash in between leaves a harmless .pack.

    `there`: names seen in the directory, which say whether files other than these two are to be removed too.
    """
    unlink(objdir.pack_path(name, ".idx"))
    unlink(objdir.pack_path(name))
    for suffix in (".rev", ".bitmap"):
        if name + suffix in there:
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


def raise_mtime(path: str, floor_ns: int) -> int:
    """I9: set the file's mtime forward to `floor_ns` when it is older; gives what it is then."""
    mtime = os.stat(path).st_mtime_ns
    if mtime >= floor_ns:
        return mtime
    with _named("utime", path):
        os.utime(path, ns=(floor_ns, floor_ns))
    return floor_ns


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


# ---- the index ----


@contextlib.contextmanager
def index_lock(objdir: ObjectDir, new_index: str) -> Iterator[Callable[[], None]]:
    """Hold git's lock on the index; the value is the function that publishes `new_index` in its place.

    Locked, in git's words, when somebody holds it.
    """
    lock = os.path.join(objdir.pack_dir, INDEX_LOCK)
    try:
        take_name(new_index, lock)
    except FileExistsError:
        raise _index_locked(lock) from None
    held = True

    def publish() -> None:
        nonlocal held
        held = replace_name(new_index, lock, objdir.index_path)
        fsync_dir(objdir.pack_dir)

    try:
        yield publish
    finally:
        if held:
            unlink(lock)


def check_index_lock(objdir: ObjectDir) -> None:
    """Locked when somebody holds git's lock on the index: better said before the work than after it."""
    lock = os.path.join(objdir.pack_dir, INDEX_LOCK)
    if os.path.lexists(lock):
        raise _index_locked(lock)


def _index_locked(lock: str) -> Locked:
    hint = (
        "another git process seems to be writing the index; no object was touched. If none is running, one was killed: "
        f"remove '{lock}' and run again"
    )
    return Locked(f"Unable to create '{lock}': File exists.", path=lock, hint=hint)


def replace_name(content: str, lock: str, target: str) -> bool:
    """Put the file `content`, which `lock` is a second name of, in the place of `target`; True when `lock` remains."""
    if os.path.samefile(content, lock):
        rename(lock, target)
        return False
    rename(content, target)
    return True


def finish_deleting(objdir: ObjectDir, doomed: Container[str]) -> None:
    """Remove what is left of packs whose .idx a killed expire had unlinked already: nobody can see them."""
    for path in _packs_without_idx(objdir):
        name = os.path.basename(path).removesuffix(".pack")
        # a push that brings this pack again makes the .keep first
        if name in doomed and not os.path.lexists(objdir.pack_path(name, ".keep")):
            unlink_pack(objdir, name, {name + ".rev", name + ".bitmap"})


def remove_index(objdir: ObjectDir) -> None:
    """Remove the combined index and all that belongs to it: readers fall back to the .idx files."""
    unlink(objdir.index_path)
    remove_index_files(objdir, keep="")
    fsync_dir(objdir.pack_dir)


def remove_index_files(objdir: ObjectDir, *, keep: str) -> None:
    """Remove bitmaps and reverse indexes of other indexes than `keep` (a trailer): nobody opens them again."""
    for name in os.listdir(objdir.pack_dir):
        stem, dot, suffix = name.partition(".")
        if stem.startswith("multi-pack-index-") and dot and suffix in ("bitmap", "rev") and stem[17:] != keep:
            unlink(os.path.join(objdir.pack_dir, name))


def remove_chain(objdir: ObjectDir) -> None:
    """Remove an incremental chain; the single file must be in place, and wins from then on."""
    chain = os.path.join(objdir.pack_dir, "multi-pack-index.d")
    unlink(os.path.join(chain, "multi-pack-index-chain"))
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(chain):
            unlink(os.path.join(chain, name))
        with _named("remove", chain):
            os.rmdir(chain)


# ---- our own state ----


def replace_file(
    objdir: ObjectDir, space: Workspace, path: str, content: bytes, *, durable: bool = True, mtime: int | None = None
) -> None:
    """Write a small file of ours whole: a crash leaves the old or the new one; unless `durable`, perhaps none."""
    temp = space.create(".new", 0o666)
    try:
        with _named("write", temp.path):
            os.write(temp.fd, content)
        if mtime is not None:
            os.utime(temp.fd, (mtime, mtime))
        if durable:
            fsync_file(temp.fd, temp.path)
    finally:
        temp.close()
    make_dir(os.path.dirname(path), objdir.settings.shared)
    try:
        rename(temp.path, path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # temporary files are on another file system than gpa/: what is here may be lost without losing an object
        with open(untrusted.open_regular(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as file:
            file.write(content)


def append_line(objdir: ObjectDir, name: str, line: str) -> None:
    """Add a line to gpa/<name>. When that has grown beyond LOG_BYTES it becomes gpa/<name>.old.

    Needs no lock: a run that finds another one at work says so here.
    """
    path = os.path.join(objdir.gpa_dir, name)
    with _named("write", path):
        fd = untrusted.open_regular(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        try:
            os.write(fd, f"{line}\n".encode("utf-8", "surrogateescape"))
            full = os.fstat(fd).st_size > LOG_BYTES
        finally:
            os.close(fd)
    if full:
        with contextlib.suppress(FileNotFoundError):  # somebody else turned it over just now
            rename(path, f"{path}.old")


# ---- what killed gits left ----


def remove_leftover(path: str) -> bool:
    """Remove a temporary file, or a folder of them; False when it was gone already, or is in use again."""
    if not os.path.isdir(path) or os.path.islink(path):
        return unlink(path)
    for folder, folders, files in os.walk(path, topdown=False):
        for name in files:
            unlink(os.path.join(folder, name))
        for name in folders:
            remove_dir(os.path.join(folder, name))
    return remove_dir(path)


def remove_dir(path: str) -> bool:
    """Remove a directory if it is empty, or a link; False when it is not, or was gone."""
    if os.path.islink(path):
        return unlink(path)
    _step("rmdir", path)
    try:
        os.rmdir(path)
    except OSError:  # gone, or filled again: not ours to force
        return False
    return True


# ---- archives of v1 pages ----


@contextlib.contextmanager
def archive_space(directory: str) -> Iterator[TempFiles]:
    """Work alone in the folder of an archive, with temporary files there. Locked when another one does."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _step("lock", directory)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "another command works on this archive; nothing was changed, and running again later is safe"
            raise Locked(f"cannot lock '{directory}': held by another process", path=directory, hint=hint) from None
        space = TempFiles(directory, TMP_PREFIX)
        try:
            yield space
        finally:
            space.remove_all()
            fcntl.flock(fd, fcntl.LOCK_UN)  # a process forked meanwhile has the descriptor too, and keeps it
    finally:
        os.close(fd)


def clear_archive(directory: str, known: Container[str], replaced: Iterable[str]) -> None:
    """Clear away what killed ones left: their temporary files; second names of these that are not among the `known`
    pages, since nobody was told of them yet; and what was to take the place of the files `replaced`.

    Needs archive_space(), before anything is made there.
    """
    for path in left_beside(replaced):
        unlink(path)
    names = os.listdir(directory)
    stale = [os.path.join(directory, name) for name in names if is_ours(name)]
    inodes = {_inode(path) for path in stale} - {None}
    unknown = (os.path.join(directory, name) for name in names if not is_ours(name) and name not in known)
    for path in (*(path for path in unknown if inodes and _inode(path) in inodes), *stale):
        unlink(path)


def publish_archive_page(temp: TempFile, directory: str, name: str) -> None:
    """Give a finished page its name; it must be synced, and the caller syncs the directory.

    Its temporary name may stay as a second one: until that is removed, clear_archive() takes both away again. A page
    of that name that is there already must be the same.
    """
    path = os.path.join(directory, name)
    try:
        move_name(temp.path, path)
    except FileExistsError:
        if not _same_content(temp.path, path):
            raise Corrupt(path, "a page of this name exists and differs") from None


def unlink_archive_page(path: str) -> bool:
    """Remove a page; False when it was gone. Locked when somebody has it open as the original does, with a lock."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return unlink(path)
    except BlockingIOError:
        raise Locked(f"'{path}' is in use", path=path) from None
    finally:
        os.close(fd)


# ---- hooks and settings ----

NEW_SUFFIX = ".gpa-new"
"""A file about to take the place of the one beside it; only the holder of install_lock() makes one."""


@contextlib.contextmanager
def install_lock(objdir: ObjectDir, paths: Collection[str]) -> Iterator[None]:
    """One install or uninstall at a time, whether maintenance is at work or not. Removes what a killed one left."""
    with _flock(objdir, "install.lock", "another install or uninstall is at work"):
        for path in left_beside(paths):
            unlink(path)
        yield


def left_beside(paths: Iterable[str]) -> list[str]:
    """Files that were to take the place of `paths`, and locks on these: git's, and ours, known by their inode."""
    found = []
    for path in paths:
        new, lock = path + NEW_SUFFIX, f"{path}.lock"
        inode = _inode(new)
        if inode:
            found += [lock, new] if inode == _inode(lock) else [new]
        if os.path.lexists(f"{new}.lock"):
            found.append(f"{new}.lock")
    return found


@contextlib.contextmanager
def _beside(path: str, content: bytes, *, mode: int = 0o777, shared: str = "", like: str = "") -> Iterator[str]:
    """A synced file that may be renamed to `path`, and is removed at the end if it was not.

    Its mode is cut by the umask and widened by core.sharedRepository, or it is that of the file `like`.
    """
    temp = path + NEW_SUFFIX
    with _named("create", temp):
        fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 if like else mode)
    try:
        try:
            old = os.fstat(fd).st_mode & 0o777
            os.fchmod(fd, _mode_of(like) if like else _shared_mode(old, shared))
            with _named("write", temp), open(fd, "wb", closefd=False) as file:
                file.write(content)
            fsync_file(fd, temp)
        finally:
            os.close(fd)
        yield temp
    finally:
        unlink(temp)


def _mode_of(path: str) -> int:
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        return 0o644


def put_file(path: str, content: bytes, *, shared: str = "", like: str = "") -> None:
    """Put a file in the place of `path`, whole: a crash leaves the old one or the new one. For `like` see _beside()."""
    with _beside(path, content, shared=shared, like=like) as temp:
        rename(temp, path)
    fsync_dir(os.path.dirname(path))


def put_script(path: str, content: bytes, *, shared: str, aside: str = "") -> None:
    """put_file() for a program; what was there is called `aside` from then on, unless that is there already.

    Where there are hard links, `path` names the old or the new one at every moment.
    """
    with _beside(path, content, shared=shared) as temp:
        if aside and not os.path.lexists(aside) and not _has_linked(path, aside):
            rename(path, aside)
        rename(temp, path)
    fsync_dir(os.path.dirname(path))


def take_script(path: str, aside: str) -> None:
    """Remove what put_script() put, and bring back what it set aside."""
    if os.path.lexists(aside):
        rename(aside, path)
        unlink(aside)  # two names of the same file: rename() leaves both
    else:
        unlink(path)
    fsync_dir(os.path.dirname(path))


def replace_config(path: str, base: bytes, content: bytes) -> None:
    """Give a configuration file of git's another content, under git's lock on it.

    Locked when somebody holds that; StalePlan when the content is not `base` any more.
    """
    path = os.path.realpath(path)
    lock = f"{path}.lock"
    with _beside(path, content, like=path) as temp:
        try:
            take_name(temp, lock)
        except FileExistsError:
            hint = f"another git process seems to be writing it; if none is running, remove '{lock}' and try again"
            raise Locked(f"could not lock config file '{path}': File exists", path=lock, hint=hint) from None
        held = True
        try:
            if read_bytes(path) != base:
                raise StalePlan(f"'{path}' was changed meanwhile", hint="nothing was changed here; try again")
            held = replace_name(temp, lock, path)
        finally:
            if held:
                unlink(lock)
    fsync_dir(os.path.dirname(path))


def read_bytes(path: str) -> bytes:
    """A small file; empty when it is not there."""
    try:
        with _named("read", path), open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


@contextlib.contextmanager
def scratch_file(path: str, content: bytes) -> Iterator[str]:
    """A private file that git may change and replace while this lasts."""
    with _beside(path, content, mode=0o600) as temp:
        yield temp
