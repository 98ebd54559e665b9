"""Every error this package raises on purpose.

GpaError
|- Corrupt          a file breaks its own format (path, byte offset)
|  `- DamagedArchive   a page of a v1 archive does, or one entry of it (fault)
|- Malformed        also a ValueError: a new tree, commit or tag does not look like one (kind, reason)
|- ObjectMissing    also a KeyError
|- AmbiguousPrefix  several objects begin so (candidates)
|- Locked           another writer holds it (path, holder if known)
|- StalePlan        the index or the packs changed after planning
|- Unsupported      a version, hash or feature we do not read
|- Refused          the repository asks us to leave it alone
|  `- Quarantined   a push waits in git's quarantine
|- Stopped          the caller asked for the end before it was reached
|- SystemFailed     also an OSError: a file could not be read or written (path, errno)
|  `- FileGone      also a FileNotFoundError
`- GitFailed        a git command failed (argv, status, stderr)

A message is worded as git words them: lower case, no full stop, the subject in single quotes. `hint`, where there is
one, says the next command or that nothing was lost. Each can be pickled and copied, with its type, fields and text.
"""


class GpaError(Exception):
    """Base of all errors that a caller may want to catch; `str()` is the message, `hint` may be empty."""

    hint: str = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        if hint:
            self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Support pickle and copy, which would call the class with the message alone. An OSError has its own fields."""
        given = {name: getattr(self, name, None) for name in ("errno", "strerror", "filename", "filename2")}
        fields = {name: value for name, value in given.items() if value is not None}
        return _made_again, (type(self), self.args), {**vars(self), **fields}


def _made_again(kind: type[GpaError], args: tuple[object, ...]) -> GpaError:
    """Return an error with this message; pickle sets its fields afterwards."""
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class Corrupt(GpaError):
    """A file breaks its own format."""

    def __init__(
        self, path: str, reason: str, *, offset: int | None = None, git_dies: bool = False, hint: str = ""
    ) -> None:
        at = "" if offset is None else f" at byte {offset}"
        super().__init__(f"corrupt '{path}'{at}: {reason}", hint=hint)
        self.path = path
        self.reason = reason
        self.offset = offset
        self.git_dies = git_dies


class DamagedArchive(Corrupt):
    """A page of a v1 archive, or one entry of it, is damaged; `fault` is a word of docs/formats/archive-v1.md."""

    def __init__(self, path: str, reason: str, *, fault: str, offset: int | None = None) -> None:
        super().__init__(path, reason, offset=offset)
        self.fault = fault


class Malformed(GpaError, ValueError):
    """A new tree, commit or tag is malformed: git would refuse it. Nothing was written.

    `reason` is the id of git's rule and its words, as "treeNotSorted: not properly sorted"; see git-fsck(1).
    """

    def __init__(self, kind: str, reason: str, *, where: str = "") -> None:
        super().__init__(f"refusing to write malformed {kind}{where}: {reason}")
        self.kind = kind
        self.reason = reason


class ObjectMissing(GpaError, KeyError):
    """There is no object with that id."""

    __str__ = Exception.__str__  # KeyError's would quote the message


class AmbiguousPrefix(GpaError):
    """Several ids begin with the prefix; `candidates` are the first of them, raw, ascending."""

    def __init__(self, prefix: str, candidates: tuple[bytes, ...]) -> None:
        super().__init__(f"short object ID {prefix} is ambiguous")
        self.prefix = prefix
        self.candidates = candidates


class Locked(GpaError):
    """Another process holds the lock; nothing was changed."""

    hint = "nothing was changed, and running again later is safe"

    def __init__(self, message: str, *, path: str, holder: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.path = path
        self.holder = holder


class StalePlan(GpaError):
    """The state on which the plan is based has changed; plan again."""


class Unsupported(GpaError):
    """A version, hash or feature that is not read here."""


class Refused(GpaError):
    """The repository's own settings forbid the operation."""


class Quarantined(Refused):
    """The objects of a push wait in git's quarantine: new files would become part of the push."""

    hint = "nothing was changed; call it from the hook post-receive, when the objects are in their place"


class Stopped(GpaError):
    """The caller's Progress.stop() was called."""

    def __init__(self) -> None:
        super().__init__("stopped before the end; nothing is lost, and the next run goes on")


class SystemFailed(GpaError, OSError):
    """The operating system refused: `errno` says why, `filename` which file."""

    def __init__(self, message: str, *, path: str, errno: int) -> None:
        GpaError.__init__(self, message)
        self.filename = path
        self.errno = errno

    __str__ = Exception.__str__


class FileGone(SystemFailed, FileNotFoundError):
    """The file does not exist, or was deleted."""


class GitFailed(GpaError):
    """A git command failed; its own words are the message."""

    def __init__(self, argv: list[str], status: int, stderr: str) -> None:
        words = stderr.strip()
        super().__init__(words or f"'{' '.join(argv)}' failed with exit status {status}")
        self.argv = argv
        self.status = status
        self.stderr = stderr
