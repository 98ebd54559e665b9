"""Start git processes; no other module does. Every failure raises GitFailed with git's own words."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from select import select

from ..errors import GitFailed

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Protocol

    class Stopping(Protocol):
        """The part of StopRequest (base/progress.py) that git needs: `why` is empty until a stop is requested."""

        why: str


def run_git(
    args: list[str],
    *,
    cwd: str | None = None,
    stdin: str | int | None = None,
    alone: bool = False,
    objects: str | None = None,
    stop: Stopping | None = None,
) -> str:
    """Run git, and return its standard output. Raise GitFailed if its status is not 0, or git is not found.

    `stdin`: text, or a descriptor. `alone`: outside any repository. `objects`: the object directory to work on. `stop`
    ends git, which raises GitFailed too. No hook and no other program of the repository is run.
    """
    hooks = configured_hooks(cwd, stop) if args[0] in RUNS_HOOKS else ()
    with GitProcess(args, cwd=cwd, stdin=stdin, alone=alone, objects=objects, stop=stop, hooks=hooks) as git:
        return git.answer()


def run_git_aloud(args: list[str], *, cwd: str | None = None) -> tuple[str, str]:
    """Run git as run_git() does, and return its standard output and its standard error."""
    with GitProcess(args, cwd=cwd) as git:
        return git.answer(), git.complaint()


QUESTIONS = {"config", "rev-parse", "version", "--exec-path"}
"""Commands that only print settings, and start nothing: our own settings would be part of their answer."""

QUESTION_SECONDS = 60
"""Seconds that git may take for such an answer. An include.path may name a file without end."""

RUNS_NOTHING = ("--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")
"""Settings for all other commands. Otherwise a hook or program of the repository would run as the maintainer."""

RUNS_HOOKS = {"pack-refs", "update-ref", "symbolic-ref"}
"""Commands that change refs, and so run the hook reference-transaction. Since git 2.54 it may be in the settings."""


def configured_hooks(cwd: str | None, stop: Stopping | None = None) -> tuple[str, ...]:
    """Return the keys that switch off each hook in the configuration."""
    keys = read_all_values(cwd=cwd, stop=stop)
    names = {key.rpartition(".")[0] for key in keys if key.startswith("hook.") and key.count(".") > 1}
    return tuple(f"{name}.enabled" for name in sorted(names))


class GitProcess:
    """A running git command. Its end is awaited in any case."""

    # subprocess is not used: its import costs more than the two short calls that every command makes. Files in memory
    # replace pipes, so that neither side can block.

    def __init__(
        self,
        args: list[str],
        *,
        cwd: str | None = None,
        stdin: str | int | None = None,
        alone: bool = False,
        objects: str | None = None,
        stop: Stopping | None = None,
        hooks: Collection[str] = (),
    ) -> None:
        self._argv = ["git", *(() if cwd is None else ("-C", cwd, *_trusting(cwd))), *args]
        self._status: int | None = None
        self._stop = stop
        is_question = args[0] in QUESTIONS
        self._end_at = time.monotonic() + QUESTION_SECONDS if is_question else None
        self._ended = ""
        environment = without_hooks(git_environment(named=cwd is not None), hooks)
        if alone:
            environment = {**environment, "GIT_DIR": os.devnull}
        if objects is not None:
            environment = {**environment, "GIT_OBJECT_DIRECTORY": objects}
        if alone or objects is not None:
            # Its messages are compared with known texts about errors of the system.
            environment = {**environment, "LC_ALL": "C"}
        with ExitStack() as stack:
            self._fds = [_memory_file(stack) for _ in range(3)]
            given = list(self._fds)
            if isinstance(stdin, int):
                given[0] = stdin
            elif stdin is not None:
                os.write(given[0], os.fsencode(stdin))
                os.lseek(given[0], 0, os.SEEK_SET)
            actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(given)]
            try:
                argv = ["git", *(() if is_question else RUNS_NOTHING), *self._argv[1:]]
                # git must not ignore SIGTERM, even if the caller does, because it ends a git that hangs.
                self._pid = os.posix_spawnp("git", argv, environment, file_actions=actions, setsigdef=[TERMINATE])
            except FileNotFoundError:
                complaint = "fatal: git is not installed, or not in PATH"
                raise GitFailed(self._argv, 127, complaint) from None
            self._open = stack.pop_all()

    def answer(self) -> str:
        """Wait for git, and return its standard output. Raise GitFailed unless its status is 0."""
        status = self._wait()
        answer, complaint = (os.fsdecode(os.pread(fd, os.fstat(fd).st_size, 0)) for fd in self._fds[1:])
        if status and self._ended:
            raise GitFailed(self._argv, status, f"fatal: '{' '.join(self._argv)}' was ended: {self._ended}")
        if status:
            raise GitFailed(self._argv, status, complaint)
        return answer

    def complaint(self) -> str:
        """Return the standard error of a git that has ended."""
        self._wait()
        return os.fsdecode(os.pread(self._fds[2], os.fstat(self._fds[2]).st_size, 0))

    def _wait(self) -> int:
        if self._status is None:
            if self._end_at is not None or self._stop is not None:
                self._end_in_time()
            self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._status

    def _end_in_time(self) -> None:
        """Wait until the process has ended; end it on request, or if it takes too long."""
        kill_at = 0.0
        with _ending_of(self._pid) as has_ended:
            while not has_ended():
                now = time.monotonic()
                if self._ended:
                    if now >= kill_at:
                        os.kill(self._pid, KILL)
                    continue
                if self._stop is not None and self._stop.why:
                    self._ended = self._stop.why
                elif self._end_at is not None and now >= self._end_at:
                    self._ended = f"no answer within {QUESTION_SECONDS} seconds"
                if self._ended:
                    os.kill(self._pid, TERMINATE)
                    kill_at = now + KILL_SECONDS

    def __enter__(self) -> GitProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wait()
        self._open.close()


TERMINATE, KILL = 15, 9
"""Number of the signal. The import of the module signal costs more than a git process."""

KILL_SECONDS = 2.0
"""Seconds that git may take to remove its locks after SIGTERM."""

WAIT_SECONDS = 0.1


@contextmanager
def _ending_of(pid: int) -> Iterator[Callable[[], bool]]:
    """Yield a function that waits a moment and returns whether the child has ended; the caller must still reap it."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:  # Linux is older than 5.3, or does not allow it

        def has_ended() -> bool:
            time.sleep(WAIT_SECONDS / 10)
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

        yield has_ended
        return
    try:
        yield lambda: bool(select([fd], [], [], WAIT_SECONDS)[0])
    finally:
        os.close(fd)


# `git rev-parse --local-env-vars`: variables that bind git to another repository than that of its folder.
LOCAL_VARIABLES = {
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_CONFIG",
    "GIT_CONFIG_PARAMETERS",
    "GIT_CONFIG_COUNT",
    "GIT_OBJECT_DIRECTORY",
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_GRAFT_FILE",
    "GIT_INDEX_FILE",
    "GIT_NO_REPLACE_OBJECTS",
    "GIT_REPLACE_REF_BASE",
    "GIT_PREFIX",
    "GIT_SHALLOW_FILE",
    "GIT_COMMON_DIR",
    "GIT_INTERNAL_SUPER_PREFIX",
}

NO_NETWORK = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": ""}
"""Settings that forbid fetching, because a partial clone may name any program for it. The second is for git < 2.44."""


def git_environment(*, named: bool) -> Mapping[str, str]:
    """Return the environment; if the caller names a repository, without variables that name another one."""
    left_out: Collection[str] = LOCAL_VARIABLES if named else ()
    return {name: value for name, value in os.environ.items() if name not in left_out} | NO_NETWORK


def _trusting(path: str) -> tuple[str, ...]:
    """Let git take the bare repository `path`, or the one of the object directory `path`, which the caller has named.

    safe.bareRepository guards against a repository that git finds by chance. GIT_DIR is not used, because with it git
    would trust any owner.
    """
    path = os.path.abspath(path)
    named = os.path.dirname(path) if os.path.basename(path) == "objects" else path
    is_bare = os.path.isfile(f"{named}/HEAD") and os.path.isdir(f"{named}/objects")
    return ("-c", "safe.bareRepository=all") if is_bare and not os.path.lexists(f"{path}/.git") else ()


def without_hooks(environment: Mapping[str, str], hooks: Collection[str]) -> Mapping[str, str]:
    """Return the environment with these keys set to false. `-c` would not do: a name may contain an equals sign."""
    if not hooks:
        return environment
    count = environment.get("GIT_CONFIG_COUNT", "0")
    first = int(count) if count.isdecimal() else 0
    more = {"GIT_CONFIG_COUNT": str(first + len(hooks))}
    for number, key in enumerate(hooks, start=first):
        more |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": "false"}
    return {**environment, **more}


def _memory_file(stack: ExitStack) -> int:
    fd = os.memfd_create("git-gpa", os.MFD_CLOEXEC)
    stack.callback(os.close, fd)
    return fd


def read_all_values(*, cwd: str | None = None, stop: Stopping | None = None) -> dict[str, tuple[str, ...]]:
    """Return all settings: the values of each key in git's order, "true" for a key without a value, as git reads it."""
    return parse_config(run_git(LIST_CONFIG, cwd=cwd, stop=stop))


LIST_CONFIG = ["config", "--list", "-z"]


def parse_config(text: str) -> dict[str, tuple[str, ...]]:
    """Return the values in the output of `git config --list -z`, by key."""
    values: dict[str, tuple[str, ...]] = {}
    for item in text.split("\0"):
        key, newline, value = item.partition("\n")
        if key:
            values[key] = (*values.get(key, ()), value if newline else "true")
    return values


def is_partial(path: str | None) -> bool:
    """Return whether the repository is a partial clone, in which a remote promises some objects."""
    values = read_all_values(cwd=path)
    return "extensions.partialclone" in values or any(
        key.startswith("remote.") and key.endswith(".promisor") for key in values
    )


def git_version() -> tuple[int, int]:
    """Return the version of the git in PATH, such as (2, 39). git is asked once."""
    path = os.environ.get("PATH", os.defpath)
    if path not in _versions:
        _versions[path] = version_in(run_git(["version"]))
    return _versions[path]


_versions: dict[str, tuple[int, int]] = {}
"""PATH -> version of its git."""


def version_in(text: str) -> tuple[int, int]:
    """Return (2, 39) for 'git version 2.39.5 (Apple Git-154)'; (0, 0) if there is no version."""
    words = text.split()
    numbers = words[2].split(".")[:2] if len(words) > 2 else []
    if len(numbers) < 2 or not all(one.isascii() and one.isdigit() and len(one) < 10 for one in numbers):
        return 0, 0
    return int(numbers[0]), int(numbers[1])
