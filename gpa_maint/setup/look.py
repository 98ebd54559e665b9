"""The state of a repository, for install and uninstall."""

from __future__ import annotations

import os

from gpa_maint.base.tuples import NamedTuple
from gpa_maint.fs.installing import read_bytes
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.repo.git import git_version, run_git
from gpa_maint.repo.objdir import ObjectDir
from gpa_maint.setup import scripts, settings
from gpa_maint.setup.record import Record, read_record
from gpa_maint.setup.scripts import Place
from gpa_maint.setup.settings import Setting, Values
from gpa_maint.state.paths import HOOK, SCRATCH, path_of

SCRIPT = "gpa-hook.sh"
"""Name of the script in the common directory."""


class Found(NamedTuple):
    """Configuration and hooks of a repository.

    `config` is the path of the configuration file, `values` its content. git looks for hooks in `hooks_dir`.
    `shared_by` says why other repositories may use that folder too, "" if none does.
    """

    objdir: ObjectDir
    config: str
    content: bytes
    values: Values
    record: Record | None
    hooks_dir: str
    shared_by: str
    version: tuple[int, int]

    @property
    def script(self) -> Place:
        """Script that a hook in the configuration starts.

        It is beside the configuration, because users who may write to gpa/ need not be trusted with the programs that
        other users run.
        """
        return scripts.look_at(os.path.join(self.objdir.common_dir, SCRIPT))

    @property
    def old_script(self) -> Place:
        """Script of earlier versions."""
        return scripts.look_at(path_of(self.objdir, HOOK))

    @property
    def scratch(self) -> str:
        """Path of a file in which settings are edited."""
        return path_of(self.objdir, SCRATCH)

    @property
    def our_dirs(self) -> tuple[str, ...]:
        """Folders that may have our scripts, also without a record. A shared folder counts only if it is recorded."""
        recorded = tuple(name for name in self.record.hooks_dirs if self._is_ours(name)) if self.record else ()
        return recorded if self.shared_by or self.hooks_dir in recorded else (*recorded, self.hooks_dir)

    @property
    def made_dirs(self) -> tuple[str, ...]:
        """Folders that install created. A record may name any folder; only those in the repository count."""
        made = self.record.made_dirs if self.record else ()
        return tuple(name for name in made if self.is_within(name))

    def is_within(self, folder: str) -> bool:
        """Return whether a folder, with all links resolved, is in the repository or its work tree."""
        common_dir = self.objdir.common_dir
        parent, name = os.path.split(common_dir)
        return os.path.realpath(folder).startswith(f"{parent if name == '.git' else common_dir}/")

    def _is_ours(self, folder: str) -> bool:
        return folder == self.hooks_dir or self.is_within(folder)

    def ours(self) -> list[Place]:
        """Return our scripts, and the hooks that were set aside for them."""
        places = [place for name in self.our_dirs for place in scripts.places_of_ours(name)]
        return [*places, *(place for place in (self.script, self.old_script) if place.is_marked)]


def look(path: str | None, objdir: ObjectDir | None = None) -> Found:
    """Return the state. Raise as find_object_dir() unless `objdir` is given, and Corrupt if the record is damaged."""
    objdir = objdir or find_object_dir(path)
    config = os.path.join(objdir.common_dir, "config")
    content = read_bytes(config)
    named = [one for one in settings.effective_settings(path) if one.key == "core.hookspath"]
    hooks_dir = _hooks_dir(path, named)
    return Found(
        objdir=objdir,
        config=config,
        content=content,
        values=settings.values_in(content),
        record=read_record(objdir, config),
        hooks_dir=hooks_dir,
        shared_by=_sharing(hooks_dir, named),
        version=git_version(),
    )


def look_again(found: Found) -> Found:
    """Return the state again, because another install or uninstall may have changed it."""
    content = read_bytes(found.config)
    values = found.values if content == found.content else settings.values_in(content)
    return found._replace(content=content, values=values, record=read_record(found.objdir, found.config))


def _hooks_dir(path: str | None, named: list[Setting]) -> str:
    if named and not named[-1].value:
        return os.devnull  # git searches in /, where there are no hooks
    here = os.path.abspath(path or os.getcwd())
    answer = run_git(["rev-parse", "--git-path", "hooks"], cwd=path).removesuffix("\n")
    return os.path.normpath(os.path.join(here, answer))


def _sharing(hooks_dir: str, named: list[Setting]) -> str:
    if named:
        last = named[-1]
        return "" if last.scope in ("local", "worktree") else f"core.hooksPath is set in {last.origin}"
    return f"it is a link to '{os.path.realpath(hooks_dir)}'" if os.path.islink(hooks_dir) else ""
