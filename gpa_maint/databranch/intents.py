"""Journalled sets: gpa/data/<branch>/<pid>-<random>.intents, so that kill -9 takes no acknowledged set.

The value's blob is in the writer's journal before its line is written (docs/formats/data-branch.md). The file is
locked while its writer lives. The next process that opens the branch commits the sets of a dead one.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from .. import fs
from ..base import safe_open
from ..base.tuples import NamedTuple
from ..errors import Corrupt, SystemFailed
from ..repo.objdir import ObjectDir
from ..state.paths import DATA, path_of

SUFFIX = ".intents"
MOST_BYTES = 256 << 20
"""A larger file is not read: it would need several times its size in memory."""
LINE = re.compile(r"b ([0-9a-f]*)|c ([0-9a-f]+) ([0-9]{1,18})|[sa] ([0-9a-f]{40}|[0-9a-f]{64}) (.*)|d (.*)", re.DOTALL)
TURN = "turn"
TURN_SECONDS = (0.0005, 0.004)
"""Least and most time between two tries to get the turn."""


class Intent(NamedTuple):
    """A change made while the branch was at the commit `base` (hex, "" for none).

    `word` is `s` for a set, `a` for an append, `d` for a delete. `oid` is the id of the blob with the value, or with
    what is appended; None for a delete.
    """

    offset: int
    base: str
    word: str
    key: str
    oid: bytes | None


class Intents(NamedTuple):
    """What a file holds; `tried` are commits (hex) that were made of all intents before an offset."""

    intents: tuple[Intent, ...]
    tried: tuple[tuple[str, int], ...]


def folder_of(objdir: ObjectDir, ref: str) -> str:
    """Return the folder of a branch: its name with each slash as `%2F`, so that no two branches share one."""
    return f"{path_of(objdir, DATA)}/{ref.replace('%', '%25').replace('/', '%2F')}"


class IntentLog:
    """The intents of this process; its own thread lock is the caller's. The file is made by the first line."""

    def __init__(self, objdir: ObjectDir, ref: str, *, durable: bool) -> None:
        self._objdir = objdir
        self._folder = folder_of(objdir, ref)
        self._durable = durable
        self._fd = -1
        self._path = ""
        self._base: str | None = None
        self._pid = 0

    def add(self, word: str, key: str, oid: bytes | None, base: str) -> None:
        """Note a change, whose fields are those of an Intent. When this returns, kill -9 cannot take it."""
        if self._fd < 0 or self._pid != os.getpid():
            self._open()
        if base != self._base:
            self._write(f"b {base}\n")
            self._base = base
        if "\\" in key or "\n" in key:
            key = key.replace("\\", "\\\\").replace("\n", "\\n")
        self._write(f"{word} {key}\n" if oid is None else f"{word} {oid.hex()} {key}\n")

    def size(self) -> int:
        """Return the bytes written so far: the offset before which all intents made so far lie."""
        return os.fstat(self._fd).st_size if self._fd >= 0 and self._pid == os.getpid() else 0

    def tried(self, commit: str, size: int) -> None:
        """Note that a commit of all intents before the offset `size` may become the branch's head."""
        if size:
            self._write(f"c {commit} {size}\n")

    def clear(self) -> None:
        """Empty the file: all of it is in the branch."""
        if self.size():
            with fs.door.named("write", self._path):
                os.ftruncate(self._fd, 0)
            self._base = None

    def after_fork(self) -> None:
        """Close the file in a forked child. It stays locked as long as the parent lives, and no longer."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def close(self) -> None:
        """Remove the file, unless it still holds something."""
        if self._fd >= 0 and self._pid == os.getpid():
            if os.fstat(self._fd).st_size == 0:
                fs.unlink(self._path)
            os.close(self._fd)
        self._fd = -1

    def _open(self) -> None:
        self._pid, self._base = os.getpid(), None
        for folder in (self._objdir.gpa_dir, path_of(self._objdir, DATA), self._folder):
            fs.make_dir(folder, self._objdir.settings.shared)
        while True:
            self._path = f"{self._folder}/{self._pid}-{secrets.token_hex(4)}{SUFFIX}"
            self._fd = fs.door.create(self._path, 0o666, flags=os.O_RDWR | os.O_APPEND)
            fs.door.fit(self._fd, self._path, self._objdir.settings.shared)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            if os.fstat(self._fd).st_nlink:
                return
            os.close(self._fd)  # somebody took the empty file for a dead writer's

    def _write(self, line: str) -> None:
        data = line.encode()
        size = os.fstat(self._fd).st_size if fs.door.before_step else -1
        try:
            if fs.door.before_step:
                fs.door.step("write", self._path)
            if os.write(self._fd, data) != len(data):
                raise OSError(28, os.strerror(28))
            if self._durable:
                os.fsync(self._fd)
        except OSError as error:
            if size >= 0:
                with suppress(OSError):
                    os.ftruncate(self._fd, size)
            else:
                self._cut()
            raise fs.door.failed("write", self._path, error) from None

    def _cut(self) -> None:
        """Remove a line that was written in part: it was never acknowledged."""
        with suppress(OSError):
            data = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
            os.ftruncate(self._fd, data.rfind(b"\n") + 1)


@contextmanager
def turn(objdir: ObjectDir, ref: str, seconds: float) -> Iterator[None]:
    """Wait until no other process of this program is moving the branch; at most so long, and then go on all the same.

    The ref is safe without it. It keeps processes from making commits that come too late, and from starving each other.
    """
    folder = folder_of(objdir, ref)
    if not os.path.isdir(folder):
        for path in (objdir.gpa_dir, path_of(objdir, DATA), folder):
            fs.make_dir(path, objdir.settings.shared)
    path, until = f"{folder}/{TURN}", time.monotonic() + seconds
    with fs.door.named("open", path):
        fd = fs.door.open_shared(path, os.O_RDWR, objdir.settings.shared)
    try:
        while time.monotonic() < until:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(random.uniform(*TURN_SECONDS))
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(fd)


class Left(NamedTuple):
    """A file of a dead writer, locked by this process. With a `problem` it could not be read, and is empty here."""

    fd: int
    path: str
    content: Intents
    problem: str = ""

    def remove(self) -> None:
        """Remove the file: all of it is in the branch."""
        fs.unlink(self.path)


@contextmanager
def left_behind(objdir: ObjectDir, ref: str) -> Iterator[list[Left]]:
    """Yield the files whose writers are dead. They stay locked in the block, and stay unless they are removed."""
    folder, locked = folder_of(objdir, ref), []
    try:
        for name in _names(folder):
            if found := _locked(f"{folder}/{name}"):
                locked.append(_read_locked(*found))
        yield locked
    finally:
        for one in locked:
            os.close(one.fd)


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in safe_open.names_in(folder) if name.endswith(SUFFIX))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_locked(fd: int, path: str) -> Left:
    size = os.fstat(fd).st_size
    try:
        if size > MOST_BYTES:
            raise Corrupt(path, f"has {size} bytes, more than {MOST_BYTES}")
        return Left(fd, path, parse_intents(os.pread(fd, size, 0), path))
    except Corrupt as error:
        return Left(fd, path, Intents((), ()), str(error))


def _locked(path: str) -> tuple[int, str] | None:
    try:
        fd = safe_open.open_regular(path)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return fd, path
    except OSError:
        pass
    os.close(fd)
    return None


def read_left(objdir: ObjectDir, ref: str) -> list[Intents]:
    """Return what the files of all writers hold, living or dead, without a lock; for a repository that is only read.

    A file that is damaged is left out.
    """
    folder, found = folder_of(objdir, ref), []
    for name in _names(folder):
        with suppress(OSError, SystemFailed, Corrupt):
            found.append(parse_intents(safe_open.read_bytes(f"{folder}/{name}", MOST_BYTES), f"{folder}/{name}"))
    return found


def parse_intents(data: bytes, path: str) -> Intents:
    """Return the whole lines: a last one without its end was never acknowledged. Raise Corrupt for a malformed line."""
    intents: list[Intent] = []
    tried: list[tuple[str, int]] = []
    base, offset = "", 0
    for line in data.split(b"\n")[:-1]:
        text = line.decode("utf-8", "replace")
        found = LINE.fullmatch(text)
        if found is None:
            raise Corrupt(path, "a line of another form", offset=offset)
        word = text[0]
        if word == "b":
            base = found[1]
        elif word == "c":
            tried.append((found[2], int(found[3])))
        elif word == "d":
            intents.append(Intent(offset, base, word, _unescaped(found[6]), None))
        else:
            intents.append(Intent(offset, base, word, _unescaped(found[5]), bytes.fromhex(found[4])))
        offset += len(line) + 1
    return Intents(tuple(intents), tuple(tried))


def _unescaped(key: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], key) if "\\" in key else key
