"""Names of objects such as `HEAD` or `main:file`, and the objects that git reads in place of others."""

from __future__ import annotations

import os

from ..errors import GitFailed
from .git import RUNS_NOTHING, git_environment, git_version, run_git

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from subprocess import Popen


def replaced_objects() -> dict[str, str]:
    """Return a dict: object id -> id of the object that git reads in its place; see git-replace(1)."""
    if "GIT_NO_REPLACE_OBJECTS" in os.environ:
        return {}
    base = os.environ.get("GIT_REPLACE_REF_BASE", "refs/replace/")
    lines = run_git(["for-each-ref", "--format=%(refname) %(objectname)", base]).split("\n")[:-1]
    pairs = [line.removeprefix(base).split(" ") for line in lines]
    found = {name: oid for name, oid in pairs if len(name) == len(oid)}
    if found and run_git(["config", "--type=bool", "--default=true", "core.useReplaceRefs"]).strip() == "false":
        return {}
    for oid in found:
        for _ in range(REPLACE_DEPTH):
            found[oid] = found.get(found[oid], found[oid])
    return found


REPLACE_DEPTH = 5  # as in git


class NameResolver:
    """A git process that resolves names such as `HEAD` or `main:file`. The first question starts it."""

    def __init__(self, *, delimiter: bytes) -> None:
        """Set the delimiter: a newline, or a NUL byte if names may have newlines."""
        self._delimiter = delimiter
        self._process: Popen[bytes] | None = None
        self._may_die = False

    def resolve(self, name: bytes) -> bytes:
        """Return the oid as hex digits, or git's answer that there is none: `<name> missing` and a newline."""
        process = self._process = self._process or self._start()
        assert process.stdin and process.stdout
        # git drops one carriage return before a newline
        end = b"\r\n" if name.endswith(b"\r") and self._delimiter == b"\n" else self._delimiter
        try:
            process.stdin.write(name + end)
            process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = process.stdout.readline()
        oid = answer[len(FOUND) : -1]
        if answer.startswith(FOUND) and len(oid) in HEX_SIZES and oid.isalnum() and not name.startswith(answer):
            return oid
        answer += b"".join(process.stdout.readline() for _ in range(name.count(b"\n")))
        if not answer.endswith(b"\n"):
            status = process.wait()
            if not self._may_die:
                raise GitFailed(["git", "cat-file"], status, "")
            self._process = None
            return _resolve_alone(name)
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()

    def _start(self) -> Popen[bytes]:
        import subprocess

        words = ["git", *RUNS_NOTHING, "cat-file", f"--batch-check={FOUND.decode()}%(objectname)"]
        words += ["-z"] if self._delimiter == b"\0" else []
        pipe = subprocess.PIPE
        self._may_die = git_version() < NO_LAZY_FETCH_SINCE and _has_promisor()
        stderr = subprocess.DEVNULL if self._may_die else None
        return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=stderr, env=git_environment(named=False))


NO_LAZY_FETCH_SINCE = (2, 44)
"""Oldest git that does not die if an object of a partial clone is missing and it may not fetch."""


def _has_promisor() -> bool:
    try:
        return bool(run_git(["config", "--get-regexp", r"^remote\..*\.promisor$"]))
    except GitFailed:
        return False


def _resolve_alone(name: bytes) -> bytes:
    """Resolve a name as NameResolver.resolve() does, by a command that does not check whether the object exists."""
    try:
        answer = run_git(["rev-parse", "-q", "--verify", "--end-of-options", os.fsdecode(name)])
    except GitFailed:
        return name + b" missing\n"
    oid = os.fsencode(answer.splitlines()[-1]) if answer else b""
    return oid if len(oid) in HEX_SIZES and oid.isalnum() else name + b" missing\n"


FOUND = b"found "

HEX_SIZES = (40, 64)
