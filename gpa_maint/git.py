"""Asking git itself: where the objects are, which hash they have, which settings hold.

The only module that starts git processes. Every failure is a GitFailed with git's own words.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from select import select

from . import untrusted
from .config import Settings, settings_from
from .errors import GitFailed, GpaError, Quarantined, Unsupported

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from subprocess import Popen
    from types import TracebackType
    from typing import Protocol

    class Stopping(Protocol):
        """What apply/stop.py's Stop is to a git process: `why` is empty until somebody asks for the end."""

        why: str


# What the object directory alone cannot tell, and what would make our writing wrong.
REFUSED_EXTENSIONS = {"extensions.compatobjectformat"}


class ObjectDir:
    """An object directory to work on. All paths are absolute.

    `common_dir` is where gc.pid and our own gpa/ directory live: the repository's, or for the object directory of
    another repository (--object-dir), which `is_own` denies, the directory above it.
    """

    def __init__(
        self, *, objects: str, common_dir: str, object_format: str, settings: Settings, is_own: bool = True
    ) -> None:
        self.objects = objects
        # As git does, work on the folder that a link in its place leads to; on that one until the end.
        pack_dir = os.path.join(objects, "pack")
        self.pack_dir = os.path.realpath(pack_dir) if os.path.islink(pack_dir) else pack_dir
        self.index_path = os.path.join(self.pack_dir, "multi-pack-index")
        self.common_dir = common_dir
        self.gpa_dir = os.path.join(common_dir, "gpa")
        self.object_format = object_format
        self.settings = settings
        self.is_own = is_own
        for folder in (self.gpa_dir, objects, self.pack_dir):
            untrusted.guard(folder)

    @property
    def title(self) -> str:
        """What people call it: the name of the repository's directory, without the path; of a work tree, its own."""
        parent, name = os.path.split(self.common_dir)
        return os.path.basename(parent if name == ".git" else self.common_dir) or self.common_dir

    def pack_path(self, name: str, suffix: str = ".pack") -> str:
        """The path of a pack, or of a file beside it."""
        return f"{self.pack_dir}/{name}{suffix}"


def run_git(
    args: list[str],
    *,
    cwd: str | None = None,
    stdin: str | int | None = None,
    alone: bool = False,
    objects: str | None = None,
    stop: Stopping | None = None,
) -> str:
    """git's standard output. GitFailed when it exits with anything but 0, or is not there at all.

    `stdin`: text, or a descriptor. `alone`: outside any repository. `objects`: the object directory to work on. When
    `stop` asks for it, git is ended, which is a GitFailed too. No hook and no program of the repository's runs.
    """
    hooks = _configured_hooks(cwd, stop) if args[0] in RUNS_HOOKS else ()
    with _Git(args, cwd=cwd, stdin=stdin, alone=alone, objects=objects, stop=stop, hooks=hooks) as git:
        return git.answer()


def run_git_aloud(args: list[str], *, cwd: str | None = None) -> tuple[str, str]:
    """As run_git(), with what git said on standard error beside its answer."""
    with _Git(args, cwd=cwd) as git:
        return git.answer(), git.complaint()


QUESTIONS = {"config", "rev-parse", "version", "--exec-path"}
"""What only answers from the settings, and starts nothing: settings of ours would be part of the answer."""

QUESTION_SECONDS = 60
"""How long git may take for such an answer. Settings may lead it to a file that never ends, by include.path."""

RUNS_NOTHING = ("--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false")
"""For every other command: a hook or a program that the repository names would run with the maintainer's rights."""

RUNS_HOOKS = {"pack-refs", "update-ref", "symbolic-ref"}
"""What changes refs runs the hook reference-transaction; since git 2.54 the configuration may have such hooks too."""


def _configured_hooks(cwd: str | None, stop: Stopping | None) -> tuple[str, ...]:
    """The keys that switch off each hook in the configuration."""
    keys = read_all_values(cwd=cwd, stop=stop)
    names = {key.rpartition(".")[0] for key in keys if key.startswith("hook.") and key.count(".") > 1}
    return tuple(f"{name}.enabled" for name in sorted(names))


class _Git:
    """A git command that is at work: it is waited for in any case."""

    # Not subprocess: importing it costs more than the two short calls that every command makes. Files in memory
    # instead of pipes, so that nothing can wait for anything.

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
        environment = _without_hooks(_environment(named=cwd is not None), hooks)
        if alone:
            environment = {**environment, "GIT_DIR": os.devnull}
        if objects is not None:
            environment = {**environment, "GIT_OBJECT_DIRECTORY": objects}
        if alone or objects is not None:
            # Its words are compared with what it says when the system refuses something.
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
                # Not ignored, whatever the caller ignores: it is how a git that hangs is ended.
                self._pid = os.posix_spawnp("git", argv, environment, file_actions=actions, setsigdef=[TERMINATE])
            except FileNotFoundError:
                complaint = "fatal: git is not installed, or not in PATH"
                raise GitFailed(self._argv, 127, complaint) from None
            self._open = stack.pop_all()

    def answer(self) -> str:
        """Its standard output, when it has ended. GitFailed unless its status is 0."""
        status = self._wait()
        answer, complaint = (os.fsdecode(os.pread(fd, os.fstat(fd).st_size, 0)) for fd in self._fds[1:])
        if status and self._ended:
            raise GitFailed(self._argv, status, f"fatal: '{' '.join(self._argv)}' was ended: {self._ended}")
        if status:
            raise GitFailed(self._argv, status, complaint)
        return answer

    def complaint(self) -> str:
        """Its standard error, when it has ended."""
        self._wait()
        return os.fsdecode(os.pread(self._fds[2], os.fstat(self._fds[2]).st_size, 0))

    def _wait(self) -> int:
        if self._status is None:
            if self._end_at is not None or self._stop is not None:
                self._end_in_time()
            self._status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self._status

    def _end_in_time(self) -> None:
        """Wait until the process has ended; end it where it is asked to, or takes too long."""
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

    def __enter__(self) -> _Git:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._wait()
        self._open.close()


TERMINATE, KILL = 15, 9
"""Not from the module signal, whose import costs more than a git."""

KILL_SECONDS = 2.0
"""How long a git that was asked to end may take to remove its locks."""

WAIT_SECONDS = 0.1


@contextmanager
def _ending_of(pid: int) -> Iterator[Callable[[], bool]]:
    """A function that waits for a moment, and says whether the child has ended; it is still to be waited for."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:  # older than Linux 5.3, or not allowed

        def has_ended() -> bool:
            time.sleep(WAIT_SECONDS / 10)
            return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

        yield has_ended
        return
    try:
        yield lambda: bool(select([fd], [], [], WAIT_SECONDS)[0])
    finally:
        os.close(fd)


# `git rev-parse --local-env-vars`: what ties git to another repository than the one it is started in.
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
"""Maintenance fetches nothing: a partial clone's settings could name any program for it. For git < 2.44 the second."""


def _environment(*, named: bool) -> Mapping[str, str]:
    """The environment, without what would lead git elsewhere when the caller names a repository."""
    left_out: Collection[str] = LOCAL_VARIABLES if named else ()
    return {name: value for name, value in os.environ.items() if name not in left_out} | NO_NETWORK


def _trusting(path: str) -> tuple[str, ...]:
    """Let git take the bare repository `path`, or the one of the object directory `path`, which the caller has named.

    safe.bareRepository guards against one that git comes across. Not by GIT_DIR: git would trust any owner then.
    """
    path = os.path.abspath(path)
    named = os.path.dirname(path) if os.path.basename(path) == "objects" else path
    is_bare = os.path.isfile(f"{named}/HEAD") and os.path.isdir(f"{named}/objects")
    return ("-c", "safe.bareRepository=all") if is_bare and not os.path.lexists(f"{path}/.git") else ()


def _without_hooks(environment: Mapping[str, str], hooks: Collection[str]) -> Mapping[str, str]:
    """With these keys set to false; as variables, since `-c` splits at the first equals sign, which a name may have."""
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
    """Every setting that holds: all values of a key in git's order, "true" for a key without one, as git reads it."""
    return parse_config(run_git(LIST_CONFIG, cwd=cwd, stop=stop))


LIST_CONFIG = ["config", "--list", "-z"]


def parse_config(text: str) -> dict[str, tuple[str, ...]]:
    """What `git config --list -z` prints."""
    values: dict[str, tuple[str, ...]] = {}
    for item in text.split("\0"):
        key, newline, value = item.partition("\n")
        if key:
            values[key] = (*values.get(key, ()), value if newline else "true")
    return values


def is_partial(path: str | None) -> bool:
    """Is it a partial clone, of which some objects are only promised?"""
    values = read_all_values(cwd=path)
    return "extensions.partialclone" in values or any(
        key.startswith("remote.") and key.endswith(".promisor") for key in values
    )


def git_version() -> tuple[int, int]:
    """That of the git in PATH: (2, 39). It is asked once."""
    path = os.environ.get("PATH", os.defpath)
    if path not in _versions:
        _versions[path] = version_in(run_git(["version"]))
    return _versions[path]


_versions: dict[str, tuple[int, int]] = {}
"""PATH -> the version of the git in it."""


def version_in(text: str) -> tuple[int, int]:
    """(2, 39) of 'git version 2.39.5 (Apple Git-154)'; (0, 0) of what is no version."""
    words = text.split()
    numbers = words[2].split(".")[:2] if len(words) > 2 else []
    if len(numbers) < 2 or not all(one.isascii() and one.isdigit() and len(one) < 10 for one in numbers):
        return 0, 0
    return int(numbers[0]), int(numbers[1])


tell_unknown: Callable[[str], None] | None = None
"""Called with each gpa.* key that means nothing here, whenever settings are read; for the command line to warn."""


def find_object_dir(
    path: str | os.PathLike[str] | None = None,
    *,
    object_dir: str | os.PathLike[str] | None = None,
    stop: Stopping | None = None,
    any_folder: bool = False,
) -> ObjectDir:
    """The object directory of the repository at `path` (default: the current directory), or `object_dir` itself.

    As git does, `object_dir` must be the repository's own or one of its alternates, unless `any_folder` does, as for
    those who only look. GitFailed outside a repository
    and for one that git refuses (dubious ownership, unknown extensions); Unsupported for an extension that is not
    read here. When `stop` asks for it, git's answer is not waited for any longer.
    """
    path, object_dir = (given if given is None else os.fspath(given) for given in (path, object_dir))
    words = ["rev-parse", "--show-object-format", "--git-common-dir", "--git-path", "objects"]
    # both at the same time
    with _Git(words, cwd=path, stop=stop) as paths, _Git(LIST_CONFIG, cwd=path, stop=stop) as config:
        lines = paths.answer().removesuffix("\n").split("\n")
        values = {key: found[-1] for key, found in parse_config(config.answer()).items()}
        if len(lines) != 3:  # a path has a newline in it
            one_by_one = (words[1:2], words[2:3], words[3:])
            lines = [run_git(["rev-parse", *one], cwd=path, stop=stop).removesuffix("\n") for one in one_by_one]
    object_format, common, objects = lines
    here = os.path.abspath(path or os.getcwd())
    common, objects = os.path.join(here, common), os.path.join(here, objects)
    for key in sorted(REFUSED_EXTENSIONS & values.keys()):
        raise Unsupported(f"repository has the extension '{key.partition('.')[2]}', which is not supported")
    chosen = os.path.realpath(objects)
    if object_dir is not None:
        wanted = os.path.realpath(os.path.join(here, object_dir))
        chosen = wanted if any_folder and os.path.isdir(wanted) else _alternate(wanted, chosen, object_dir)
    if not os.path.isdir(chosen):
        raise GpaError(f"object directory '{chosen}' does not exist")
    settings = settings_from(values)
    for key in settings.unknown:
        if tell_unknown:
            tell_unknown(key)
    own = chosen == os.path.realpath(os.path.join(common, "objects"))
    return ObjectDir(
        objects=chosen,
        common_dir=os.path.realpath(common) if own else _state_home(chosen),
        object_format=object_format,
        settings=settings,
        is_own=own,
    )


def object_dir_at(objects: str, object_format: str) -> ObjectDir:
    """The object directory at a real path, with the settings of the repository it belongs to, if git knows one."""
    try:
        found = find_object_dir(objects)
    except GitFailed:
        found = None
    if found is not None and found.objects == objects:
        return found
    return ObjectDir(
        objects=objects,
        common_dir=_state_home(objects),
        object_format=object_format,
        settings=Settings(),
        is_own=False,
    )


def _state_home(objects: str) -> str:
    """Where gpa/ lives for an object directory that is not this repository's: beside it, as if it were one."""
    parent, name = os.path.split(objects)
    return parent if name == "objects" else objects


def _alternate(wanted: str, objects: str, as_given: str) -> str:
    if wanted in with_alternates(objects, *alternates_here()):
        return wanted
    raise GpaError(f"could not find object directory matching {as_given}")


def refuse_quarantine(objdir: ObjectDir) -> None:
    """Quarantined when this is called from a hook of a push into `objdir` whose objects git has not accepted yet."""
    quarantine = os.environ.get("GIT_QUARANTINE_PATH")
    if not quarantine:
        return
    quarantine = os.path.realpath(quarantine)
    if quarantine.startswith(f"{objdir.objects}/") or f"{objdir.objects}/".startswith(f"{quarantine}/"):
        raise Quarantined(f"the objects of a push are in git's quarantine, '{quarantine}'")


ALTERNATES_DEPTH = 6
"""How many object directories in a row git follows from one to the next."""


def with_alternates(objects: str, *more: str) -> list[str]:
    """The object directory, then `more` and all alternates, each once, in the order in which git asks them."""
    found = {objects: None}

    def follow(directory: str, depth: int) -> None:
        for path in alternates_of(directory) if depth < ALTERNATES_DEPTH else ():
            if path not in found:
                found[path] = None
                follow(path, depth + 1)

    for path in more:
        if path not in found:
            found[path] = None
            follow(path, 1)
    follow(objects, 0)
    return list(found)


def alternates_here() -> list[str]:
    """The object directories that git is told of by the environment, as it tells hooks of a push."""
    text = os.environb.get(b"GIT_ALTERNATE_OBJECT_DIRECTORIES", b"")
    return [os.path.realpath(os.fsdecode(path)) for path in _split_quoted(text)] if text else []


def _split_quoted(text: bytes) -> list[bytes]:
    """Paths between colons, each of which may be quoted as in C, and then may have colons itself."""
    import re  # start-up cost: hardly ever needed

    parts = re.findall(rb'"(?:[^"\\]|\\.)*"(?=:|$)|[^:]+', text)
    return [_unquoted(part) for part in parts if part]


def alternates_of(objects: str) -> list[str]:
    """The object directories named in info/alternates, absolute; comments and empty lines passed over.

    As in git, a path may be quoted as in C, and what is behind a NUL byte does not count.
    """
    try:
        content, _, _ = untrusted.read_bytes(os.path.join(objects, "info", "alternates")).partition(b"\0")
    except (FileNotFoundError, NotADirectoryError):
        return []
    lines = [_unquoted(line) for line in content.split(b"\n") if line and not line.startswith(b"#")]
    return [os.path.realpath(os.path.join(objects, os.fsdecode(line))) for line in lines if line]


ESCAPES = dict(zip(b'abfnrtv"\\', b'\a\b\f\n\r\t\v"\\', strict=True))


def _unquoted(line: bytes) -> bytes:
    """What stands in quotes at its beginning, as far as a NUL byte; the line as it is where git sees no quotes."""
    if not line.startswith(b'"'):
        return line
    import re  # start-up cost: hardly ever needed

    found = re.match(rb'"((?:[^"\\]|\\[abfnrtv"\\]|\\[0-3][0-7]{2})*)"', line)
    if found is None:
        return line

    def byte(escape: re.Match[bytes]) -> bytes:
        number = ESCAPES.get(escape[1][0])
        return bytes([int(escape[1], 8) if number is None else number])

    return re.sub(rb"\\([0-7]{3}|.)", byte, found[1]).partition(b"\0")[0]


# -- Names of objects


def replaced_objects() -> dict[str, str]:
    """oid -> the oid that git reads in its place; see git-replace(1)."""
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
    """A git that says which object a name means, as `HEAD` or `main:file`; started when it is first asked."""

    def __init__(self, *, delimiter: bytes) -> None:
        """`delimiter`: a newline, or a NUL byte where names may have newlines."""
        self._delimiter = delimiter
        self._process: Popen[bytes] | None = None
        self._may_die = False

    def resolve(self, name: bytes) -> bytes:
        """The oid, as hex digits, or git's answer instead of one, as `<name> missing` and a newline."""
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
        return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=stderr, env=_environment(named=False))


NO_LAZY_FETCH_SINCE = (2, 44)
"""An older git dies when an object of a partial clone is not here and it may not fetch."""


def _has_promisor() -> bool:
    try:
        return bool(run_git(["config", "--get-regexp", r"^remote\..*\.promisor$"]))
    except GitFailed:
        return False


def _resolve_alone(name: bytes) -> bytes:
    """As NameResolver.resolve(), by a command that does not look whether the object is here."""
    try:
        answer = run_git(["rev-parse", "-q", "--verify", "--end-of-options", os.fsdecode(name)])
    except GitFailed:
        return name + b" missing\n"
    oid = os.fsencode(answer.splitlines()[-1]) if answer else b""
    return oid if len(oid) in HEX_SIZES and oid.isalnum() else name + b" missing\n"


FOUND = b"found "
HEX_SIZES = (40, 64)
