"""The one table of all files in gpa/: each name, and the module that reads and writes it. See docs/formats/state.md."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..repo.objdir import ObjectDir

BACKUP = "backup.json"
DAMAGED = "damaged"
DATA = "data"
HISTORY = "history"
HISTORY_OLD = "history.old"
HOOK = "hook.sh"
INSTALL = "install.json"
INSTALL_LOCK = "install.lock"
JOURNAL = "journal"
LAST_RUN = "last-run.json"
LOCK = "lock"
LOG = "log"
LOST = "damaged/lost"
NEXT = "next"
NEXT_PREFIX = "next-"
RESERVE = "reserve"
SCRATCH = "config"
SAVED = "saved.json"
SAVED_LOCK = "saved.lock"
STATE = "state.json"
TMP = "tmp"
TOTALS = "totals.json"

OWNERS = {
    BACKUP: "verbs.backup",
    DAMAGED: "fs.packs",
    DATA: "databranch.intents",
    HISTORY: "state.runs",
    HISTORY_OLD: "state.runs",
    HOOK: "setup.look",
    INSTALL: "setup.record",
    INSTALL_LOCK: "fs.installing",
    JOURNAL: "store.writer",
    LAST_RUN: "state.runs",
    LOCK: "fs.locks",
    LOG: "state.runs",
    LOST: "state.lost",
    NEXT: "state.next_run",
    NEXT_PREFIX: "state.next_run",
    RESERVE: "fs.records",
    SCRATCH: "setup.look",
    SAVED: "state.saved",
    SAVED_LOCK: "state.saved",
    STATE: "state.superseded",
    TMP: "fs.temp",
    TOTALS: "state.runs",
}
"""Name -> the module that reads and writes the file, or the files of the folder."""


def path_of(objdir: ObjectDir, name: str) -> str:
    """Return the path of one of these files."""
    return f"{objdir.gpa_dir}/{name}"


def written_at(objdir: ObjectDir, name: str) -> int | None:
    """Return the second in which one of these files was written; None if it does not exist."""
    try:
        return int(os.lstat(path_of(objdir, name)).st_mtime)
    except OSError:
        return None
