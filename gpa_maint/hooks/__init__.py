"""install and uninstall: hooks that start maintenance after pushes and commits, and the settings that go with them.

Look, decide, do, as everywhere. What install changes is recorded first (record.py), so that uninstall takes it back
exactly, also after an install that was killed; a second install completes it. hook.sh keeps its part of I10. May be
called from any thread; of two calls at a time in one repository the second gets Locked.
"""

from __future__ import annotations

import contextlib
import os
import sys

from gpa_maint import fs
from gpa_maint.arguments import checked
from gpa_maint.errors import GpaError
from gpa_maint.fs.installing import install_lock, left_beside, put_script, replace_config, take_script
from gpa_maint.git import refuse_quarantine
from gpa_maint.hooks import settings
from gpa_maint.hooks.look import Found, look, look_again
from gpa_maint.hooks.plan import FILE, OURS, Plan, plan_install, plan_uninstall, undone_values, wanted
from gpa_maint.hooks.record import Record, record_path, write_record
from gpa_maint.hooks.scripts import EVENTS, render
from gpa_maint.reports import InstallResult, Schedule, ScheduleFile

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from gpa_maint.arguments import StrPath


@checked
def install(
    path: StrPath | None = None, *, way: str | None = None, program: StrPath | None = None, dry_run: bool = False
) -> InstallResult:
    """Let pushes and commits to the repository at `path` (default: the current directory) start maintenance.

    `way`: "file" or "config", by default what fits. `program`: the git-gpa that the hooks start, by default the one of
    this Python, and where that is gone later, the one in PATH. A first install that fails takes back what it did.
    """
    program = _own_program() if program is None else os.fspath(program)
    path = None if path is None else os.fspath(path)
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


@checked
def uninstall(path: StrPath | None = None, *, dry_run: bool = False) -> InstallResult:
    """Bring hooks and settings back to what they were before install; what somebody changed since stays."""
    found = look(None if path is None else os.fspath(path))
    plan = plan_uninstall(found)
    if dry_run or not (found.record or plan.takes or left_beside(_paths(found))):
        return plan.result
    with _locked(found):
        return _uninstall(look_again(found))


def _uninstall(found: Found) -> InstallResult:
    plan = plan_uninstall(found)
    _publish(found, _without_ours(found))
    _take_all(found, plan)
    for name in found.made_dirs:
        fs.remove_empty_dir(name)
    fs.unlink(record_path(found.objdir))
    fs.fsync_dir(found.objdir.gpa_dir)
    return plan.result


def _take_back(found: Found) -> None:
    with contextlib.suppress(GpaError, OSError):  # the error that led here is the one to tell
        _uninstall(look_again(found))


def _locked(found: Found) -> contextlib.AbstractContextManager[None]:
    refuse_quarantine(found.objdir)
    return install_lock(found.objdir, _paths(found))


def _paths(found: Found) -> list[str]:
    """All that is ever written."""
    dirs = {found.hooks_dir, *found.our_dirs}
    hooks = [os.path.join(name, hook) for name in dirs for event in EVENTS for hook in (event, f"{event}.d/gpa")]
    scripts = (found.script.path, found.old_script.path)
    return [*hooks, os.path.realpath(found.config), *scripts, found.scratch, record_path(found.objdir)]


def hook_for_host(program: str | None = None) -> Schedule:
    """The script that `install` puts into one repository, for a folder whose hooks many repositories run.

    `program` is what it starts, as for install(). The commands are for the settings of the account that owns them.
    """
    script = render(_own_program() if program is None else program)
    make = [f"git config --global {key} {value}" for key, value, _reason in settings.SETTINGS]
    return Schedule("hook", (ScheduleFile("post-receive", os.fsdecode(script)),), ("chmod +x post-receive", *make))


def _own_program() -> str:
    """git-gpa where this Python's programs are; empty when it is not there."""
    program = os.path.join(os.path.dirname(os.path.abspath(sys.executable)), "git-gpa")
    return program if os.access(program, os.X_OK) else ""


def _put_all(found: Found, plan: Plan) -> None:
    """The record, the scripts, then the settings, which may name one. Deletes nothing."""
    shared = found.objdir.settings.shared
    record = _next_record(found, plan)
    write_record(found.objdir, found.config, record)
    if found.hooks_dir in record.made_dirs:
        fs.make_dir(found.hooks_dir, shared)
    for place in plan.puts:
        aside = place.aside_path if place.is_foreign else ""
        put_script(place.path, plan.script, shared=shared, config=found.config, aside=aside)
    _publish(found, record.configs_after[-1] if plan.values else found.content)


def _take_all(found: Found, plan: Plan) -> None:
    for place in plan.takes:
        take_script(place.path, place.aside_path)


def _publish(found: Found, content: bytes) -> None:
    if content != found.content:
        replace_config(found.config, found.content, content)


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


def _without_ours(found: Found) -> bytes:
    """The configuration file without our settings: the very bytes of before, when nobody changed it since."""
    if found.record and found.content in found.record.configs_after:
        return found.record.config_before
    return settings.edited(found.content, undone_values(found)[0], found.scratch)


def _overridden(path: str | None) -> list[str]:
    """Warnings about settings that do not hold, since something that git reads later says otherwise."""
    last = {one.key: one for one in settings.effective_settings(path)}
    return [
        f"'{key}' does not hold: {last[key.lower()].origin} sets it too, and git reads that later"
        for key, value, _reason in settings.SETTINGS
        if last[key.lower()].value != value
    ]


__all__ = ["OURS", "hook_for_host", "install", "uninstall"]
