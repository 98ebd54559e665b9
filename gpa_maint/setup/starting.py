"""Find causes that keep installed hooks from starting maintenance, because a hook fails silently.

No program is started for it: a hook may name any program.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Iterator

from gpa_maint.base import safe_open
from gpa_maint.errors import GpaError
from gpa_maint.model.status import StatusWarning
from gpa_maint.repo.objdir import ObjectDir
from gpa_maint.setup import scripts
from gpa_maint.setup.look import Found, look
from gpa_maint.setup.plan import FILE
from gpa_maint.setup.scripts import EVENTS, Place
from gpa_maint.setup.settings import COMMAND, EVENT

AGAIN = "git gpa install"


def find_faults(path: str | None, objdir: ObjectDir) -> tuple[StatusWarning, ...]:
    """Return one warning for each cause why installed hooks of the repository at `path` start nothing."""
    try:
        return tuple(_faults(look(path, objdir)))
    except (GpaError, OSError) as error:
        return (StatusWarning("hooks-unreadable", str(error), getattr(error, "hint", "") or AGAIN),)


def has_hook(path: str | None, objdir: ObjectDir) -> bool:
    """Return whether git runs a hook of ours for some event, also from a template, core.hooksPath or a link."""
    try:
        return any(_is_run(place) for place in _places(look(path, objdir)))
    except (GpaError, OSError):
        return False


def _is_run(place: Place) -> bool:
    if not _may_run(place.path):
        return False
    now = place.now
    if os.path.islink(place.path):
        with contextlib.suppress(OSError):
            now = safe_open.read_whole(os.path.realpath(place.path))[0]
    return now is not None and now.startswith(scripts.MARK)


def _faults(found: Found) -> Iterator[StatusWarning]:
    if found.record is None:
        places = [place for place in _places(found) if place.is_marked]
    elif found.record.way == FILE:
        places = _places(found)
        yield from _in_folder(found, places)
    else:
        places = [found.script]
        yield from _in_config(found)
    yield from _of_programs(place for place in places if place.is_marked)


def _places(found: Found) -> list[Place]:
    """Return the place from which git starts our script, for each event."""
    return [scripts.place_for(found.hooks_dir, event) for event in EVENTS]


def _in_folder(found: Found, places: Iterable[Place]) -> Iterator[StatusWarning]:
    """Yield warnings about hooks that are files."""
    record = found.record
    missing = [place for place in places if place.now is None]
    replaced = [place for place in places if place.is_foreign and not _starts_it(place)]
    elsewhere = record is not None and found.hooks_dir not in record.hooks_dirs
    if elsewhere and (missing or replaced):
        text = f"git looks for hooks in '{found.hooks_dir}' (core.hooksPath), where none of git gpa's is"
        yield StatusWarning("hooks-elsewhere", text, f"{AGAIN}, or git config --unset core.hooksPath")
        return
    if missing:
        yield StatusWarning("hook-missing", f"the hook {_paths(missing)} is gone", AGAIN)
    if replaced:
        text = f"the hook {_paths(replaced)} was replaced by another program, which starts no maintenance"
        yield StatusWarning("hook-replaced", text, AGAIN)
    closed = [place for place in places if place.is_marked and not _may_run(place.path)]
    if closed:
        text = f"the hook {_paths(closed)} is not executable, so git does not run it"
        yield StatusWarning(
            "hook-not-executable", text, f"chmod +x {' '.join(_quoted(place.path) for place in closed)}"
        )


def _starts_it(place: Place) -> bool:
    """Return whether a hook of another program names our program, or runs the script that was moved."""
    return re.search(rb"git[- ]gpa|gpa_maint", place.now or b"") is not None


def _in_config(found: Found) -> Iterator[StatusWarning]:
    """Yield warnings about a hook that the configuration names."""
    if found.script.now is None:
        yield StatusWarning("hook-missing", f"the script '{found.script.path}' is gone", AGAIN)
    elif not _may_run(found.script.path):
        text = f"the script '{found.script.path}' is not executable"
        yield StatusWarning("hook-not-executable", text, f"chmod +x {_quoted(found.script.path)}")
    for key in (COMMAND, EVENT):
        if not found.values.get(key):
            yield StatusWarning("hook-missing", f"the setting {key} is gone", AGAIN)
    if found.version < (2, 54):
        version = ".".join(map(str, found.version))
        text = f"git {version} runs no hooks of the configuration"
        yield StatusWarning("hook-unsupported", text, f"{AGAIN} --hook=file")


def _of_programs(places: Iterable[Place]) -> Iterator[StatusWarning]:
    """Yield warnings about the programs that the scripts start, once for each program."""
    programs = {found[1]: place for place in places if (found := PROGRAM.search(place.now or b""))}
    for line, place in programs.items():
        program = _unquoted(line)
        if program == "@PROGRAM@":
            text = f"the hook '{place.path}' is the text from the package: the program to start is not filled in"
            yield StatusWarning("hook-not-filled-in", text, f"git gpa schedule --print=hook > {_quoted(place.path)}")
        elif program:
            fault = _fault_of(program)
            if fault:
                text = f"the program that hooks start, '{program}', {fault}"
                yield StatusWarning("hook-program", text, AGAIN)


MOST_SETTINGS = 64 << 10
"""Bytes; more than any pyvenv.cfg has."""

PROGRAM = re.compile(rb"^program=(.*)$", re.MULTILINE)


def _unquoted(line: bytes) -> str:
    import shlex

    try:
        return "".join(shlex.split(os.fsdecode(line), comments=True)[:1])
    except ValueError:
        return ""


def _fault_of(program: str) -> str:
    """Return why this program cannot be started, as far as its files show; "" if it can."""
    if not os.path.exists(program):
        return "is gone"
    if not os.access(program, os.X_OK):
        return "is not executable"
    try:
        with safe_open.reading(program) as file:
            first = file.readline(4096)
    except OSError:
        return ""
    if not first.startswith(b"#!"):
        return ""
    interpreter = os.fsdecode(first[2:].strip().split(b" ")[0])
    if not os.access(interpreter, os.X_OK):
        return f"needs '{interpreter}', which is gone"
    return _fault_of_environment(interpreter)


def _fault_of_environment(interpreter: str) -> str:
    """Return a virtual environment whose Python was replaced by another version, which does not find its packages."""
    folder = os.path.dirname(os.path.dirname(interpreter))
    try:
        with safe_open.reading(os.path.join(folder, "pyvenv.cfg")) as file:
            text = file.read(MOST_SETTINGS).decode("utf-8", "replace")
    except OSError:
        return ""
    made_with = re.search(r"^version(?:_info)?\s*=\s*(\d+\.\d+)", text, re.MULTILINE)
    now = re.search(r"python(\d+\.\d+)$", os.path.realpath(interpreter))
    if made_with and now and made_with[1] != now[1]:
        return f"is of an environment of Python {made_with[1]}, and its Python is {now[1]} now"
    return ""


def _may_run(path: str) -> bool:
    """Return whether some user may run it. root may if any user may."""
    try:
        return bool(os.stat(path).st_mode & 0o111) and os.access(path, os.X_OK)
    except OSError:
        return False


def _paths(places: list[Place]) -> str:
    return ", ".join(f"'{place.path}'" for place in places)


def _quoted(path: str) -> str:
    import shlex

    return shlex.quote(path)
