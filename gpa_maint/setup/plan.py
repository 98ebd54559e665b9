"""Decide the changes of install and uninstall from the state that was found. Nothing is changed here."""

from __future__ import annotations

import os
from collections.abc import Iterable

from gpa_maint.base.tuples import NamedTuple
from gpa_maint.errors import Refused
from gpa_maint.model.setup import InstallChange, InstallResult
from gpa_maint.setup import scripts, settings
from gpa_maint.setup.look import Found
from gpa_maint.setup.scripts import EVENTS, Place
from gpa_maint.setup.settings import Values

FILE, CONFIG = "file", "config"

CONFIG_HOOKS_SINCE = (2, 54)

OURS = "git-gpa"
"""Label of our own script in InstallChange.before and .after."""

# The command of a hook in the configuration. git may append "$@". The script is found through GIT_DIR, so that the
# repository can be moved.
START = (
    'gpa=${GIT_DIR:-.git}/gpa-hook.sh; [ -x "$gpa" ] || gpa=$(git rev-parse --git-common-dir)/gpa-hook.sh; '
    '[ ! -x "$gpa" ] || "$gpa"'
)


class Plan(NamedTuple):
    """Places for `script`, files to remove, and values that the configuration lacks; `result` has it in words."""

    script: bytes
    puts: tuple[Place, ...]
    takes: tuple[Place, ...]
    values: Values
    result: InstallResult


def choose_way(asked: str | None, *, hooks_dir: str, shared_by: str, before: str, version: tuple[int, int]) -> str:
    """Return how git will call us: FILE or CONFIG. `before` is how it does now, "" for not at all.

    A hooks directory that other repositories use too is changed only on request. Raises Refused if no way is left.
    """
    has_config_hooks = version >= CONFIG_HOOKS_SINCE
    if asked == CONFIG and not has_config_hooks:
        since, this = (".".join(map(str, numbers)) for numbers in (CONFIG_HOOKS_SINCE, version))
        raise Refused(f"hooks in the configuration need git {since}; this is git {this}")
    if asked or before == FILE or (before == CONFIG and has_config_hooks):
        return asked or before
    if not shared_by:
        return FILE
    if has_config_hooks:
        return CONFIG
    raise Refused(
        f"not writing to the hooks directory '{hooks_dir}': {shared_by}, so other repositories may use it",
        hint="let the hooks there call 'git gpa run --auto --detach', or start it from a timer (see 'git gpa "
        "schedule'); '--hook=file' writes there all the same",
    )


def plan_install(found: Found, *, way: str | None, program: str) -> Plan:
    """Return the plan for a `way` and the `program` of the hooks. Raise Refused if a hook cannot be set aside."""
    record = found.record
    before = record.way if record and (record.way == CONFIG or found.hooks_dir in record.hooks_dirs) else ""
    way = choose_way(way, hooks_dir=found.hooks_dir, shared_by=found.shared_by, before=before, version=found.version)
    script = scripts.render(program)
    places = _places(found) if way == FILE else [found.script]
    puts = tuple(place for place in places if place.now != script and not place.is_edited)
    for place in puts:
        _refuse_two_hooks(place)
    paths = {place.path for place in places}
    others = [place for place in found.ours() if place.path not in paths]
    takes = tuple(filter(_is_to_go, others))
    values = settings.differing(found.values, wanted(way))
    changes = (*map(_put, puts), *_value_changes(found.values, values), *map(_taken, takes))
    warnings = [*_edited([*places, *others]), *_renamed(puts)]
    return Plan(script, puts, takes, values, _result(found, changes, way, warnings, "already installed"))


def wanted(way: str) -> Values:
    """Return the configuration values that make git call us in this way."""
    return settings.wanted_values(START if way == CONFIG else "", EVENTS)


def _places(found: Found) -> list[Place]:
    if os.path.lexists(found.hooks_dir) and not os.path.isdir(found.hooks_dir):
        raise Refused(f"the hooks directory '{found.hooks_dir}' is not a directory")
    if not os.path.isdir(found.hooks_dir) and not found.is_within(found.hooks_dir):
        raise Refused(
            f"the hooks directory '{found.hooks_dir}' is not there, and is none of this repository's folders",
            hint="make it, or let core.hooksPath name another one",
        )
    return [scripts.place_for(found.hooks_dir, event) for event in EVENTS]


def _refuse_two_hooks(place: Place) -> None:
    if place.is_foreign and place.aside not in (None, place.now):
        raise Refused(
            f"cannot set '{place.path}' aside: '{place.aside_path}' is another hook",
            hint="nothing was changed; remove the one of the two that is not needed any more",
        )


def plan_uninstall(found: Found) -> Plan:
    """Return the plan that restores hooks and values; those changed since install stay, with a warning."""
    ours = found.ours()
    takes = tuple(filter(_is_to_go, ours))
    warnings = [*_edited(ours), *_kept_aside(ours)]
    values: Values = {}
    if found.record:
        values, left = undone_values(found)
        warnings += [f"left '{key}' as it is: somebody changed it" for key in left]
    elif takes:
        keys = ", ".join(key for key, *_ in settings.SETTINGS)
        warnings.append(f"the record of what was set before is gone; these are left as they are: {keys}")
    undone = [change._replace(reason="") for change in _value_changes(found.values, values)]
    changes = (*undone, *map(_taken, takes))
    reason = "hooks and settings are as before" if found.record else "not installed"
    way = found.record.way if found.record else FILE
    return Plan(b"", (), takes, values, _result(found, changes, way, warnings, reason))


def undone_values(found: Found) -> tuple[Values, list[str]]:
    """Return the values that undo our settings, and the keys that were changed since."""
    if not found.record:
        return {}, []
    before, *afters = map(settings.values_in, (found.record.config_before, *found.record.configs_after))
    return settings.undone(found.values, before, afters)


def _is_to_go(place: Place) -> bool:
    """Return whether the script is ours, or missing, or, after a crash, the hook that was set aside."""
    return place.is_ours or (place.aside is not None and place.now in (None, place.aside))


def _edited(places: Iterable[Place]) -> list[str]:
    return [f"left '{place.path}' as it is: somebody changed it" for place in places if place.is_edited]


def _kept_aside(places: Iterable[Place]) -> list[str]:
    left = [place for place in places if place.is_foreign and not _is_to_go(place)]
    return [f"left '{place.aside_path}' where it is: '{place.path}' is not ours any more" for place in left]


def _renamed(puts: Iterable[Place]) -> list[str]:
    asking = [place for place in puts if place.is_foreign and place.asks_for_its_name]
    return [
        f"'{place.path}' seems to look at its own name: it is called with {scripts.ASIDE} added" for place in asking
    ]


# ---- descriptions ----


def _result(
    found: Found, changes: tuple[InstallChange, ...], way: str, warnings: list[str], reason: str
) -> InstallResult:
    return InstallResult(
        changes=changes,
        way=way,
        hooks_dir=found.hooks_dir,
        gpa_dir=found.objdir.gpa_dir,
        warnings=tuple(warnings),
        reason="" if changes else reason,
    )


def _programs(place: Place) -> tuple[str, ...]:
    """Return the programs that the event runs now, in order."""
    if place.now is None or place.is_foreign:
        return () if place.now is None else (os.path.basename(place.path),)
    return (OURS,) if place.aside is None else (os.path.basename(place.aside_path), OURS)


def _put(place: Place) -> InstallChange:
    is_kept = place.is_foreign or place.aside is not None
    after = (os.path.basename(place.aside_path), OURS) if is_kept else (OURS,)
    return InstallChange("hook", place.name, _programs(place), after)


def _taken(place: Place) -> InstallChange:
    after = () if place.aside is None else (os.path.basename(place.path),)
    return InstallChange("hook", place.name, _programs(place), after)


def _value_changes(now: Values, values: Values) -> list[InstallChange]:
    return [
        InstallChange("setting", key, now.get(key.lower(), ()), after, settings.REASONS[key])
        for key, after in values.items()
    ]
