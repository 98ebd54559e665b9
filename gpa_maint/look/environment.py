"""Look at settings, locks, permissions, and files of killed processes, for `git gpa status`.

It changes nothing and takes no lock. Other processes may be writing the files: one that vanishes, or cannot be read,
counts as missing.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Mapping

from .. import fs
from ..base import safe_open
from ..model.inventory import Inventory
from ..model.status import LockFile, Surroundings
from ..repo.config import NEVER, parse_time
from ..repo.git import git_version, read_all_values
from ..repo.objdir import ObjectDir
from ..setup.starting import find_faults, has_hook
from ..state.next_run import is_worth_while
from ..state.paths import INSTALL, LAST_RUN, NEXT, written_at

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any

KEYS = (
    "gc.auto",
    "receive.autogc",
    "maintenance.auto",
    "maintenance.geometric-repack.auto",
    "receive.unpacklimit",
    "fetch.unpacklimit",
    "transfer.unpacklimit",
)

STRAY_SECONDS = 3600
"""Seconds. libgit2 renames an idx before its pack; meanwhile it writes the pack."""

REFLOGS = 1000
"""Largest number of reflogs that are read."""

REFLOG_BYTES = 4096
"""Bytes; the first line of a reflog is not longer, apart from its message."""


def look_at_surroundings(
    objdir: ObjectDir, inventory: Inventory, *, path: str | None, counting_since: int | None, now: int
) -> Surroundings:
    """Return the surroundings. `path` is the repository whose settings count, as for find_object_dir()."""
    values = read_all_values(cwd=path) if objdir.is_own else {}
    gc = fs.gc_holder(objdir, now)
    installed_at = written_at(objdir, INSTALL)
    return Surroundings(
        is_own=objdir.is_own,
        git_version=git_version(),
        settings=tuple((key, values[key][-1]) for key in KEYS if key in values),
        is_scheduled=_is_scheduled(objdir, values),
        installed_at=installed_at,
        counting_since=counting_since,
        at_work=fs.run_at_work(objdir) or (f"git gc, {gc}" if gc else ""),
        locks=tuple(
            LockFile(lock, since, ours=ours, dead=lock.endswith("/gc.pid") and not gc)
            for lock, since, ours in fs.locks_there(objdir)
        ),
        dead_keeps=tuple(name.removesuffix(".keep") for name in fs.dead_keeps(objdir.pack_dir)),
        stray_idx=tuple(_stray_idx(objdir, inventory, now)),
        closed_paths=tuple(_closed_paths(objdir)),
        foreign_packs=_foreign_packs(objdir, inventory),
        old_reflog=_old_reflog(objdir, values, now) if objdir.is_own else "",
        has_commit_graph=_has_commit_graph(objdir),
        standstill=find_faults(path, objdir) if objdir.is_own else (),
        has_hook=objdir.is_own and installed_at is None and has_hook(path, objdir),
        **_leftovers(objdir),
        **_owners(objdir),
        next_at=written_at(objdir, NEXT) or 0,
        waiting_since=_waiting_since(objdir, inventory, now),
    )


def _leftovers(objdir: ObjectDir) -> dict[str, Any]:
    """Return `leftovers` and `leftover_bytes`: temporary files whose names have the number of a dead process."""
    paths, size = [], 0
    told = {fs.inode_of(path) for path in fs.lock_paths(objdir)}
    for path in [] if fs.run_at_work(objdir) else fs.temporary_files(objdir):
        if not fs.is_of_live_process(path) and fs.inode_of(path) not in told:
            with contextlib.suppress(OSError):
                size += os.lstat(path).st_size
                paths.append(path)
    return {"leftovers": tuple(sorted(paths)), "leftover_bytes": size}


def _owners(objdir: ObjectDir) -> dict[str, Any]:
    """Return `wrong_owner` and `right_owner` if our files belong to another user than the repository, unshared."""
    import pwd

    owner = _owner(objdir.objects)
    for path in (objdir.gpa_dir, *(os.path.join(objdir.gpa_dir, name) for name in sorted(_names_in(objdir.gpa_dir)))):
        with contextlib.suppress(OSError):
            status = os.lstat(path)
            if owner is not None and status.st_uid != owner and not status.st_mode & 0o022:
                try:
                    name = pwd.getpwuid(owner).pw_name
                except KeyError:
                    name = str(owner)
                return {"wrong_owner": path, "right_owner": name}
    return {}


def _waiting_since(objdir: ObjectDir, inventory: Inventory, now: int) -> int | None:
    """Return when the last push came, if a hook should have started a run then, and no run has ended since."""
    if not is_worth_while(objdir.common_dir, objdir.objects, now=now):
        return None
    last = max((pack.mtime for pack in inventory.packs if not pack.is_superseded), default=0)
    ended = written_at(objdir, LAST_RUN) or written_at(objdir, INSTALL)
    return last if ended is not None and last > ended + 1 else None


def _mtime(path: str) -> int | None:
    try:
        return int(os.lstat(path).st_mtime)
    except OSError:
        return None


def _names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _is_scheduled(objdir: ObjectDir, values: Mapping[str, tuple[str, ...]]) -> bool:
    """Return whether the user's settings name the work tree or bare repository, as `git maintenance start` does."""
    parent, name = os.path.split(objdir.common_dir)
    homes = {objdir.common_dir, parent} if name == ".git" else {objdir.common_dir}
    return any(os.path.realpath(os.path.expanduser(home)) in homes for home in values.get("maintenance.repo", ()))


def _stray_idx(objdir: ObjectDir, inventory: Inventory, now: int) -> Iterator[str]:
    for name in sorted(inventory.idx_without_pack):
        mtime = _mtime(objdir.pack_path(name, ".idx"))
        if mtime is not None and mtime < now - STRAY_SECONDS:
            yield name


def _closed_paths(objdir: ObjectDir) -> Iterator[str]:
    """Yield the directories that a run writes to and this user may not."""
    gpa_dir = objdir.gpa_dir if os.path.isdir(objdir.gpa_dir) else objdir.common_dir
    for folder in (gpa_dir, objdir.pack_dir):
        if os.path.isdir(folder) and not os.access(folder, os.W_OK | os.X_OK):
            yield folder


def _foreign_packs(objdir: ObjectDir, inventory: Inventory) -> int:
    """Count the packs that only their owner may delete, because objects/pack has the sticky bit."""
    user = os.geteuid()
    try:
        folder = os.stat(objdir.pack_dir)
    except OSError:
        return 0
    if user in (0, folder.st_uid) or not folder.st_mode & stat.S_ISVTX:
        return 0
    return sum(_owner(objdir.pack_path(pack.name)) not in (None, user) for pack in inventory.packs)


def _owner(path: str) -> int | None:
    try:
        return os.lstat(path).st_uid
    except OSError:
        return None


# ---- what git would do ----


def _old_reflog(objdir: ObjectDir, values: Mapping[str, tuple[str, ...]], now: int) -> str:
    """Return a ref whose reflog begins before gc.reflogExpire; "" if there is none, or if the setting is a date."""
    try:
        age = parse_time(values.get("gc.reflogexpire", ("90.days",))[-1])
    except ValueError:
        return ""
    if age == NEVER:
        return ""
    logs = os.path.join(objdir.common_dir, "logs")
    for number, path in enumerate(_files_below(logs)):
        name = os.path.relpath(path, logs)
        if number >= REFLOGS:
            break
        # git expires the stash only if a setting says so
        if name != os.path.join("refs", "stash") and _first_entry(path, now) < now - age:
            return name
    return ""


def _files_below(folder: str) -> Iterator[str]:
    for _, entries in safe_open.walk(folder):
        yield from (entry.path for entry in entries if not safe_open.is_folder(entry))


def _first_entry(path: str, default: int) -> int:
    r"""Return the second of a reflog's first entry: `<old> <new> <name> <<mail>> <second> <zone>\t<message>`."""
    try:
        first = safe_open.read_bytes(path, REFLOG_BYTES).partition(b"\n")[0]
        words = first.partition(b"\t")[0].rpartition(b"> ")[2].split()
    except OSError:
        return default
    return int(words[0]) if words and words[0].isdigit() else default


def _has_commit_graph(objdir: ObjectDir) -> bool:
    info = os.path.join(objdir.objects, "info")
    chain = os.path.join(info, "commit-graphs", "commit-graph-chain")
    return os.path.exists(os.path.join(info, "commit-graph")) or os.path.exists(chain)
