"""Compare-and-swap of refs by one long-running `git update-ref --stdin`, for every kind of ref storage."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from typing import IO

from ..errors import GitFailed, Locked, StalePlan
from .git import RUNS_NOTHING, configured_hooks, git_environment, run_git, without_hooks

STALE = ("but expected", "already exists", "reference is missing", "unable to resolve reference")
"""Text in git's message about a ref with another value than the expected one."""


class RefUpdates:
    """Sets refs of the repository at `path`. Any thread may call; a process forked from this one starts its own git."""

    def __init__(self, path: str, zero_oid: str) -> None:
        """Set `zero_oid`: as many zeros as an id has digits, which stands for a ref that does not exist."""
        self._path = path
        self._zero = zero_oid
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._complaints: IO[bytes] | None = None
        self._pid = 0

    def swap(self, ref: str, new: str, old: str, *, message: str) -> None:
        """Set a ref to `new` (hex), if it is `old` now; "" for one that does not exist.

        Raises StalePlan if it has another value, Locked if another process holds its lock, else GitFailed.
        """
        with self._lock:
            process = self._process
            if process is None or self._pid != os.getpid() or process.poll() is not None:
                process = self._start()
            assert process.stdin and process.stdout
            # In one write, because each answer that is waited for is a change of processes.
            lines = f"start\nupdate {ref} {new} {old or self._zero}\nprepare\ncommit\n"
            with suppress(BrokenPipeError):  # git has written the reason
                process.stdin.write(lines.encode())
                process.stdin.flush()
            for answer in (b"start: ok\n", b"prepare: ok\n", b"commit: ok\n"):
                if process.stdout.readline() != answer:
                    self._fail(process, ref, message)

    def _start(self) -> subprocess.Popen[bytes]:
        self.close()
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  closed by close()
        words = ["git", "-C", self._path, *RUNS_NOTHING, "update-ref", "--stdin"]
        pipe = subprocess.PIPE
        environment = {**git_environment(named=True), "LC_ALL": "C"}
        environment = {**without_hooks(environment, configured_hooks(self._path))}
        process = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=self._complaints, env=environment)
        self._process, self._pid = process, os.getpid()
        return process

    def _fail(self, process: subprocess.Popen[bytes], ref: str, message: str) -> None:
        assert process.stdin and process.stdout and self._complaints
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        status = process.wait()
        self._complaints.seek(0)
        words = os.fsdecode(self._complaints.read())
        self._process = None
        if any(sign in words for sign in STALE):
            raise StalePlan(f"ref '{ref}' has changed")
        if (".lock'" in words and "File exists" in words) or "cannot lock references" in words:
            raise Locked(f"cannot lock the ref '{ref}' {message}: {words.strip()}", path=ref)
        raise GitFailed(["git", "update-ref"], status, words)

    def close(self) -> None:
        """End git, if it is running."""
        process, self._process = self._process, None
        if process is not None and self._pid == os.getpid():
            assert process.stdin and process.stdout
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            process.stdout.close()
            process.wait()
        if self._complaints is not None:
            self._complaints.close()
            self._complaints = None


class RefWatch:
    """Value of one branch: read from its file, or by git if it has none, when the files of refs have changed."""

    def __init__(self, path: str, common_dir: str, ref: str) -> None:
        self._path = path
        self._ref = ref
        self._file = os.path.join(common_dir, ref)
        self._others = [os.path.join(common_dir, name) for name in ("packed-refs", "reftable/tables.list")]
        self._seen: object = None
        self._value = ""

    def value(self) -> str:
        """Return the id (hex) that the ref names now, or "" if it does not exist."""
        try:
            with open(self._file, "rb") as file:
                text = file.read(65).strip().decode("ascii", "replace")
            if len(text) in (40, 64) and not text.strip("0123456789abcdef"):
                return text
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            text = ""
        seen = (text, *map(_signature, self._others))
        if seen != self._seen:
            answer = run_git(["for-each-ref", "--format=%(objectname) %(refname)", self._ref], cwd=self._path)
            found = [oid for oid, _, name in (line.partition(" ") for line in answer.splitlines()) if name == self._ref]
            self._value, self._seen = (found or [""])[0], seen
        return self._value


RACY_NS = 100_000_000
"""Nanoseconds. A folder that was changed more recently may change again without a new mtime."""


class FoldersWatch:
    """Tells, with a few system calls, whether any ref below some folders may have changed since the last check."""

    def __init__(self, common_dir: str, folders: tuple[str, ...]) -> None:
        self._folders = [os.path.join(common_dir, folder) for folder in folders]
        self._others = [os.path.join(common_dir, name) for name in ("packed-refs", "reftable/tables.list")]
        self._known: list[str] = []
        self._seen: object = None

    def has_changed(self) -> bool:
        """Return whether a ref may have changed since the last call that returned True; True the first time."""
        if self._seen is not None and self._seen == self._look(self._known):
            return False
        self._known = [inner for folder in self._folders for inner, _, _ in os.walk(folder)] + self._folders
        self._seen = self._look(self._known)
        return True

    def _look(self, folders: list[str]) -> object:
        """Return a value that identifies the state; None while a change might not show."""
        found = [_signature(path) for path in (*folders, *self._others)]
        latest = max((one[2] for one in found if one is not None), default=0)
        return None if latest > time.time_ns() - RACY_NS else found


def _signature(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
