"""Units for systemd, and lines for cron, that start maintenance each hour. Nothing is written here.

Paths may contain blanks, quotes, percent signs, and everything else that systemd or cron can read. Others are refused.
"""

from __future__ import annotations

import os
import sys

from ..base.arguments import checked
from ..base.tuples import NamedTuple
from ..errors import GpaError
from ..model.setup import Schedule, ScheduleFile
from ..repo.discover import find_object_dir
from ..repo.objdir import ObjectDir

USUAL_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
"""Folders in which systemd and most crons search for programs."""

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath

UNIT_DIR = "/etc/systemd/system"


@checked
def schedule(
    path: StrPath | None = None,
    *,
    system: str = "systemd",
    folder: StrPath | None = None,
    program: str = "",
    git_dir: str = "",
) -> Schedule:
    """Return units for systemd, or with `system="cron"` a line for cron, that start maintenance each hour.

    They are for the repository at `path` (default: the current directory), or for all below `folder`. `program`: the
    git-gpa to start, by default that of this Python. `git_dir`: the folder of git, by default the usual folders.
    """
    if folder is not None:
        return schedule_folder(os.fspath(folder), system=system, program=program, git_dir=git_dir)
    return schedule_repository(find_object_dir(path), system=system, program=program, git_dir=git_dir)


class Job(NamedTuple):
    """A job: `words` are started in the directory `cwd`, if any, as `user`, with the git of `git_dir`, if given."""

    name: str
    what: str
    words: tuple[str, ...]
    cwd: str
    user: str
    git_dir: str
    is_bare: bool = False
    """Whether `cwd` is a bare repository. Then GIT_DIR names it, because of safe.bareRepository."""


def schedule_repository(objdir: ObjectDir, *, system: str, program: str = "", git_dir: str = "") -> Schedule:
    """Return the schedule for one repository, run by its owner."""
    home = objdir.common_dir
    parent, name = os.path.split(home)
    title = parent if name == ".git" else home
    words = (program or own_program(), "run", "--auto")
    what = f"the git repository '{title}'"
    job = Job(_unit_name(title), what, words, home, _owner(home), git_dir, is_bare=title == home)
    return make_schedule(job, system=system)


def schedule_folder(folder: str, *, system: str, program: str = "", git_dir: str = "") -> Schedule:
    """Return the schedule for all repositories below `folder`, run by its owner. Raise GpaError for no directory."""
    folder = os.path.realpath(folder)
    if not os.path.isdir(folder):
        raise GpaError(f"'{folder}' is not a directory")
    words = (program or own_program(), "run", f"--all={folder}", "--keep-going", "--auto")
    job = Job(_unit_name(folder), f"git repositories below '{folder}'", words, "", _owner(folder), git_dir)
    return make_schedule(job, system=system)


def own_program() -> str:
    """Return the git-gpa among this Python's programs. Raise GpaError if there is none."""
    program = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "git-gpa")
    if not os.access(program, os.X_OK):
        raise GpaError(f"there is no program '{program}'")
    return program


def make_schedule(job: Job, *, system: str) -> Schedule:
    """Return the files for `system`, "systemd" or "cron". Raise GpaError for a path that they cannot contain."""
    for text in (job.cwd, *job.words, job.git_dir):
        if not text.isprintable():  # control characters; bytes that are no UTF-8
            raise GpaError(f"cannot write {text!r} into a file for {system}")
    return {"systemd": _for_systemd, "cron": _for_cron}[system](job)


def _unit_name(path: str) -> str:
    name = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "_" for char in _last(path))
    return f"git-gpa-{name}"


def _last(path: str) -> str:
    return os.path.basename(path).removesuffix(".git") or "all"


def _owner(path: str) -> str:
    """Return the name of the owner, or the number of an owner without a name; "" for root."""
    return _name_of(os.stat(path).st_uid)


def _name_of(user: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user).pw_name if user else ""
    except KeyError:
        return str(user)


def _search_path(job: Job) -> str:
    return ":".join((job.git_dir, *USUAL_PATH))


# ---- systemd ----


def _for_systemd(job: Job) -> Schedule:
    service, timer = f"{job.name}.service", f"{job.name}.timer"
    return Schedule(
        system="systemd",
        files=(
            ScheduleFile(f"{UNIT_DIR}/{service}", _service(job)),
            ScheduleFile(f"{UNIT_DIR}/{timer}", _timer(job)),
        ),
        commands=("systemctl daemon-reload", f"systemctl enable --now {timer}"),
    )


def _service(job: Job) -> str:
    program, *arguments = job.words
    if set(program) & set("\\\"'"):
        raise GpaError(f"systemd starts no program whose path has quotes or backslashes: {program}")
    lines = [
        "[Unit]",
        f"Description=Maintenance of {_percents(job.what)}",
        "",
        "[Service]",
        "Type=oneshot",
        *([f"User={job.user}"] if job.user else []),
        *([f"WorkingDirectory={_directory(job.cwd)}"] if job.cwd else []),
        *([f"Environment={_quoted('PATH=' + _search_path(job))}"] if job.git_dir else []),
        *(["Environment=GIT_DIR=."] if job.is_bare else []),
        # In the name of the program a dollar sign has no special meaning.
        " ".join([f"ExecStart={_quoted(program)}", *(_quoted(word).replace("$", "$$") for word in arguments)]),
        "# ended by SIGTERM, cleanly",
        "SuccessExitStatus=143",
        "Nice=10",
        "IOSchedulingClass=idle",
    ]
    return "\n".join([*lines, ""])


def _timer(job: Job) -> str:
    lines = [
        "[Unit]",
        f"Description=Each hour: maintenance of {_percents(job.what)}",
        "",
        "[Timer]",
        "OnCalendar=hourly",
        "RandomizedDelaySec=15min",
        "# what was missed while the machine was off is made up for",
        "Persistent=true",
        "",
        "[Install]",
        "WantedBy=timers.target",
    ]
    return "\n".join([*lines, ""])


def _percents(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(word: str) -> str:
    """Return a word quoted for systemd."""
    text = _percents(word)
    if all(char.isalnum() or char in "/-_.=:+,@%$" for char in text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _directory(path: str) -> str:
    """Return the path for a line without quotes. A blank or a backslash at its end is refused, as it would be lost."""
    return _percents(path) + ("/." if path[-1] in " \\" else "")


# ---- cron ----


def _for_cron(job: Job) -> Schedule:
    """Return a line for the owner's crontab. It is quiet, because cron mails all output."""
    import shlex

    command = shlex.join(["nice", "ionice", "-c", "3", *job.words, "-q"])
    if job.is_bare:
        command = f"GIT_DIR=. {command}"
    if job.git_dir:
        command = f"PATH={shlex.quote(_search_path(job))} {command}"
    if job.cwd:
        command = f"cd {shlex.quote(job.cwd)} && {command}"
    if "\\" in command:
        raise GpaError("cron reads backslashes in its own way: a path has one; use systemd")
    line = f"{_minute(job)} * * * * {command}".replace("%", "\\%")
    whose = f" -u {job.user}" if job.user and job.user != _name_of(os.geteuid()) else ""
    content = f"# Maintenance of {job.what}\n{line}\n"
    return Schedule("cron", (ScheduleFile("crontab", content),), (f"crontab -e{whose}",))


def _minute(job: Job) -> int:
    """Return the minute for this job, derived from a hash, so that many repositories do not all start at once."""
    import zlib

    return zlib.crc32("\0".join((job.cwd, *job.words)).encode()) % 60
