"""Install hooks that start maintenance after pushes and commits, and the settings that they need.

Look, decide, do, as everywhere. install records its changes first (record.py), so that uninstall can undo them exactly,
also after an install that was killed; a second install completes it. hook.sh keeps its part of I10. Any thread may call
it; of two calls at the same time in one repository the second raises Locked.
"""

from __future__ import annotations

import contextlib
import os
import sys

from gpa_maint import fs
from gpa_maint.base.arguments import checked, path_text
from gpa_maint.errors import GpaError
from gpa_maint.fs.installing import put_script
from gpa_maint.model.setup import InstallResult, Schedule, ScheduleFile
from gpa_maint.setup import settings
from gpa_maint.setup.look import Found, look, look_again
from gpa_maint.setup.plan import FILE, Plan, plan_install, wanted
from gpa_maint.setup.record import Record, write_record
from gpa_maint.setup.scripts import render

from .uninstall import _locked, _publish, _take_all, _uninstall, _without_ours

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from gpa_maint.base.arguments import StrPath


@checked
def install(
    path: StrPath | None = None, *, way: str | None = None, program: StrPath | None = None, dry_run: bool = False
) -> InstallResult:
    """Let pushes and commits to the repository at `path` (default: the current directory) start maintenance.

    `way`: "file" or "config", by default the one that fits. `program`: the git-gpa that the hooks start, by default
    that of this Python, or, if that is deleted later, the one in PATH. A first install that fails undoes its changes.
    """
    program = _own_program() if program is None else os.fspath(program)
    path = path_text(path)
    found = look(path)
    plan = plan_install(found, way=way, program=program)
    if dry_run:
        return plan.result
    with _locked(found):
        found = look_again(found)
        plan = plan_install(found, way=way, program=program)
        if plan.result.changes or found.record is None:
            try:
                _put_all(found, plan)
            except BaseException:
                if found.record is None:
                    _take_back(found)
                raise
            _take_all(found, plan)
    return plan.result._replace(warnings=(*plan.result.warnings, *_overridden(path)))


def _take_back(found: Found) -> None:
    with contextlib.suppress(GpaError, OSError):  # the first error is the one to report
        _uninstall(look_again(found))


def hook_for_host(program: str | None = None) -> Schedule:
    """Return the script that `install` puts into one repository, for a folder whose hooks many repositories run.

    It starts `program`, as for install(). The commands change the settings of the account that owns the repositories.
    """
    script = render(_own_program() if program is None else program)
    make = [f"git config --global {key} {value}" for key, value, _reason in settings.SETTINGS]
    return Schedule("hook", (ScheduleFile("post-receive", os.fsdecode(script)),), ("chmod +x post-receive", *make))


def _own_program() -> str:
    """Return the git-gpa among this Python's programs; empty if there is none."""
    program = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "git-gpa")
    return program if os.access(program, os.X_OK) else ""


def _put_all(found: Found, plan: Plan) -> None:
    """Write the record, the scripts, then the settings, which may name a script. Delete nothing."""
    shared = found.objdir.settings.shared
    record = _next_record(found, plan)
    write_record(found.objdir, found.config, record)
    if found.hooks_dir in record.made_dirs:
        fs.make_dir(found.hooks_dir, shared)
    for place in plan.puts:
        aside = place.aside_path if place.is_foreign else ""
        put_script(place.path, plan.script, shared=shared, config=found.config, aside=aside)
    _publish(found, record.configs_after[-1] if plan.values else found.content)


def _next_record(found: Found, plan: Plan) -> Record:
    old, way = found.record, plan.result.way
    if plan.values:
        before = _without_ours(found)
        after = settings.edited(before, settings.differing(settings.values_in(before), wanted(way)), found.scratch)
    else:
        before = old.config_before if old else found.content
        after = old.configs_after[-1] if old else found.content
    dirs = dict.fromkeys([*(old.hooks_dirs if old else ()), *([found.hooks_dir] if way == FILE else [])])
    made = dict.fromkeys(found.made_dirs)
    if way == FILE and not os.path.isdir(found.hooks_dir):
        made[found.hooks_dir] = None
    afters = dict.fromkeys([*(old.configs_after[-1:] if old else ()), after])
    return Record(way, tuple(dirs), tuple(made), before, tuple(afters))


def _overridden(path: str | None) -> list[str]:
    """Return warnings about settings without effect, because git reads another value later."""
    last = {one.key: one for one in settings.effective_settings(path)}
    return [
        f"'{key}' does not hold: {last[key.lower()].origin} sets it too, and git reads that later"
        for key, value, _reason in settings.SETTINGS
        if last[key.lower()].value != value
    ]
