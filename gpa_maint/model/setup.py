"""Values of `install`, `uninstall`, `schedule` and `completion`."""

from __future__ import annotations

from ..base.tuples import NamedTuple


class InstallChange(NamedTuple):
    """A hook or a setting that install or uninstall changes, and why.

    `what` is "hook" or "setting". `before` and `after` are, in order, the programs that the hook's event runs, or the
    values of the setting; None is a key without a value.
    """

    what: str
    name: str
    before: tuple[str | None, ...]
    after: tuple[str | None, ...]
    reason: str = ""


class InstallResult(NamedTuple):
    """Changes that install or uninstall made, or would make; if there are none, `reason` says why.

    `way` is how git is made to call us: "file" for scripts in `hooks_dir`, "config" for hooks in the configuration.
    """

    changes: tuple[InstallChange, ...]
    way: str
    hooks_dir: str
    gpa_dir: str
    warnings: tuple[str, ...] = ()
    reason: str = ""


class Completion(NamedTuple):
    """The script that makes a shell ("bash", "zsh" or "fish") complete `git gpa`."""

    shell: str
    script: str


class ScheduleFile(NamedTuple):
    """A file that starts maintenance from time to time, and where it belongs."""

    path: str
    content: str


class Schedule(NamedTuple):
    """Files for systemd or cron, or the hook for a whole host (`system`), and the commands that activate them."""

    system: str
    files: tuple[ScheduleFile, ...]
    commands: tuple[str, ...]
