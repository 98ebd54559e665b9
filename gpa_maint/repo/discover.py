"""Find the object directory of a repository, its settings and its alternates, by asking git."""

from __future__ import annotations

import os
from collections.abc import Callable

from ..base import safe_open
from ..errors import GitFailed, GpaError, Quarantined, Unsupported
from .config import Settings, settings_from
from .git import LIST_CONFIG, GitProcess, parse_config, run_git
from .objdir import ObjectDir

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from .git import Stopping


# Extensions that the object directory does not show, and with which our files would be wrong.
REFUSED_EXTENSIONS = {"extensions.compatobjectformat"}

tell_unknown: Callable[[str], None] | None = None
"""A function that is called with each unknown gpa.* key when settings are read, so that the command line can warn."""


def find_object_dir(
    path: str | os.PathLike[str] | None = None,
    *,
    object_dir: str | os.PathLike[str] | None = None,
    stop: Stopping | None = None,
    any_folder: bool = False,
) -> ObjectDir:
    """Return the object directory of the repository at `path` (default: the current directory), or `object_dir` itself.

    As in git, `object_dir` must be the repository's own or one of its alternates, unless `any_folder` is set, as for
    verbs that only read. Raises GitFailed outside a repository, and for one that git refuses (dubious ownership,
    unknown extensions); Unsupported for an extension that git-gpa does not read. `stop` ends the wait for git.
    """
    path, object_dir = (given if given is None else os.fspath(given) for given in (path, object_dir))
    words = ["rev-parse", "--show-object-format", "--git-common-dir", "--git-path", "objects"]
    # both at the same time
    with GitProcess(words, cwd=path, stop=stop) as paths, GitProcess(LIST_CONFIG, cwd=path, stop=stop) as config:
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
    """Return the object directory at a real path, with the settings of its repository, if git finds one."""
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
    """Return the parent of gpa/ for an object directory of another repository: the folder that it is in."""
    parent, name = os.path.split(objects)
    return parent if name == "objects" else objects


def _alternate(wanted: str, objects: str, as_given: str) -> str:
    if wanted in with_alternates(objects, *alternates_here()):
        return wanted
    raise GpaError(f"could not find object directory matching {as_given}")


def refuse_quarantine(objdir: ObjectDir) -> None:
    """Raise Quarantined in a hook of a push into `objdir` whose objects git has not accepted yet."""
    quarantine = os.environ.get("GIT_QUARANTINE_PATH")
    if not quarantine:
        return
    quarantine = os.path.realpath(quarantine)
    if quarantine.startswith(f"{objdir.objects}/") or f"{objdir.objects}/".startswith(f"{quarantine}/"):
        raise Quarantined(f"the objects of a push are in git's quarantine, '{quarantine}'")


ALTERNATES_DEPTH = 6
"""Length of the longest chain of alternates that git follows."""


def with_alternates(objects: str, *more: str) -> list[str]:
    """Return the object directory, then `more` and all alternates, each once, in the order in which git asks them."""
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
    """Return the object directories in the environment, by which git tells hooks of the quarantine of a push."""
    text = os.environb.get(b"GIT_ALTERNATE_OBJECT_DIRECTORIES", b"")
    return [os.path.realpath(os.fsdecode(path)) for path in _split_quoted(text)] if text else []


def _split_quoted(text: bytes) -> list[bytes]:
    """Return the paths in a list with colons. A path may be quoted as in C, and may then contain colons."""
    import re  # start-up cost: hardly ever needed

    parts = re.findall(rb'"(?:[^"\\]|\\.)*"(?=:|$)|[^:]+', text)
    return [_unquoted(part) for part in parts if part]


def alternates_of(objects: str) -> list[str]:
    """Return the object directories named in info/alternates, absolute, without comments and empty lines.

    As in git, a path may be quoted as in C, and ends at a NUL byte.
    """
    try:
        content, _, _ = safe_open.read_bytes(os.path.join(objects, "info", "alternates")).partition(b"\0")
    except (FileNotFoundError, NotADirectoryError):
        return []
    lines = [_unquoted(line) for line in content.split(b"\n") if line and not line.startswith(b"#")]
    return [os.path.realpath(os.path.join(objects, os.fsdecode(line))) for line in lines if line]


ESCAPES = dict(zip(b'abfnrtv"\\', b'\a\b\f\n\r\t\v"\\', strict=True))


def _unquoted(line: bytes) -> bytes:
    """Return the quoted text at the beginning of a line, up to a NUL byte; the line itself if git sees no quotes."""
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
