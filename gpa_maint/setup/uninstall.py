"""Restore hooks and settings to their state before install."""

from __future__ import annotations

import contextlib
import os

from gpa_maint import fs
from gpa_maint.base.arguments import checked, path_text
from gpa_maint.fs.installing import install_lock, left_beside, replace_config, take_script
from gpa_maint.model.setup import InstallResult
from gpa_maint.repo.discover import refuse_quarantine
from gpa_maint.setup import settings
from gpa_maint.setup.look import Found, look, look_again
from gpa_maint.setup.plan import Plan, plan_uninstall, undone_values
from gpa_maint.setup.record import record_path
from gpa_maint.setup.scripts import EVENTS

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from gpa_maint.base.arguments import StrPath


@checked
def uninstall(path: StrPath | None = None, *, dry_run: bool = False) -> InstallResult:
    """Restore hooks and settings to their state before install; those changed since stay."""
    found = look(path_text(path))
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


def _locked(found: Found) -> contextlib.AbstractContextManager[None]:
    refuse_quarantine(found.objdir)
    return install_lock(found.objdir, _paths(found))


def _paths(found: Found) -> list[str]:
    """Return all paths that install and uninstall ever write."""
    dirs = {found.hooks_dir, *found.our_dirs}
    hooks = [os.path.join(name, hook) for name in dirs for event in EVENTS for hook in (event, f"{event}.d/gpa")]
    scripts = (found.script.path, found.old_script.path)
    return [*hooks, os.path.realpath(found.config), *scripts, found.scratch, record_path(found.objdir)]


def _take_all(found: Found, plan: Plan) -> None:
    for place in plan.takes:
        take_script(place.path, place.aside_path)


def _publish(found: Found, content: bytes) -> None:
    if content != found.content:
        replace_config(found.config, found.content, content)


def _without_ours(found: Found) -> bytes:
    """Return the configuration file without our settings: the original bytes, if it was not changed since."""
    if found.record and found.content in found.record.configs_after:
        return found.record.config_before
    return settings.edited(found.content, undone_values(found)[0], found.scratch)
