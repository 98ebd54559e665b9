"""Where names appear and vanish: temporary files, locks, publishing, unlinking. The only room that does any of it.

Keeps I1, I3, I4 and I5 together with its callers' order. Every step goes through door.step(), so that a test can stop
the program before the 1st, 2nd, 3rd ... of them. Nothing here prints.

What `git gpa install` puts in place is in installing.py, and what is done to archives of v1 pages in archives.py: few
commands need these.
"""

from __future__ import annotations

from . import door
from .door import (
    adopt,
    fsync_dir,
    fsync_file,
    make_dir,
    move_name,
    open_to_remove,
    reading,
    rename,
    shared_bits,
    unlink,
    unlink_in,
)
from .holds import Hold, holds_of, read_hold
from .index import (
    check_index_lock,
    finish_deleting,
    index_lock,
    index_locked,
    remove_chain,
    remove_index,
    remove_index_files,
)
from .locks import (
    check_git_locks,
    dead_keeps,
    flock,
    gc_holder,
    git_locks,
    is_dead,
    is_dead_keep,
    is_held,
    locks_there,
    maintenance_lock,
    run_at_work,
)
from .packs import (
    adopt_pack,
    finish_pack,
    held_as_new,
    hide_idx,
    make_as_young,
    private_objects,
    protection,
    publish_pack,
    set_aside,
    unlink_pack,
)
from .processes import Deleter, deleters, latest_age_ns
from .records import (
    LOG_BYTES,
    NO_ROOM,
    append_line,
    keep_reserve,
    put_marker,
    release_reserve,
    replace_file,
    replace_locked,
)
from .temp import TempFile, TempFiles, Workspace, is_ours, remove_empty_dir, remove_leftover, temporary_files, workspace

__all__ = [
    "LOG_BYTES",
    "NO_ROOM",
    "Deleter",
    "Hold",
    "TempFile",
    "TempFiles",
    "Workspace",
    "adopt",
    "adopt_pack",
    "append_line",
    "check_git_locks",
    "check_index_lock",
    "dead_keeps",
    "deleters",
    "door",
    "finish_deleting",
    "finish_pack",
    "flock",
    "fsync_dir",
    "fsync_file",
    "gc_holder",
    "git_locks",
    "held_as_new",
    "hide_idx",
    "holds_of",
    "index_lock",
    "index_locked",
    "is_dead",
    "is_dead_keep",
    "is_held",
    "is_ours",
    "keep_reserve",
    "latest_age_ns",
    "locks_there",
    "maintenance_lock",
    "make_as_young",
    "make_dir",
    "move_name",
    "open_to_remove",
    "private_objects",
    "protection",
    "publish_pack",
    "put_marker",
    "read_hold",
    "reading",
    "release_reserve",
    "remove_chain",
    "remove_empty_dir",
    "remove_index",
    "remove_index_files",
    "remove_leftover",
    "rename",
    "replace_file",
    "replace_locked",
    "run_at_work",
    "set_aside",
    "shared_bits",
    "temporary_files",
    "unlink",
    "unlink_in",
    "unlink_pack",
    "workspace",
]
