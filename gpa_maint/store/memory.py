"""The memory that this process may use, limited by the machine, its control groups and its resource limits."""

from __future__ import annotations

import os
from collections.abc import Iterator

MAP_LEAST = 256 << 20
MAP_MOST = 8 << 30
"""Bounds of default_map_bytes(). With less than the first, a store would read its packs from the disk repeatedly."""

SHARE = 2
"""Divisor of the memory for packs; the rest is for the program itself."""

ADDRESS_SHARE = 4
"""Divisor of the address space for packs; other maps need more of it."""

CGROUP_FILES = ("memory.max", "memory.high", "memory/memory.limit_in_bytes", "memory.limit_in_bytes")
CGROUP_ROOT = "/sys/fs/cgroup"
NO_LIMIT = 1 << 60
"""Version 1 of control groups says "no limit" by a number of this size."""


def default_map_bytes(*, root: str = CGROUP_ROOT, process: str = "/proc/self/cgroup") -> int:
    """Return the bytes of packs that a store keeps mapped: half of this process's memory, 256 MiB to 8 GiB.

    If RLIMIT_AS limits the address space, it is at most a quarter of that, even below 256 MiB.
    """
    most = min(MAP_MOST, max(MAP_LEAST, memory_bytes(root=root, process=process) // SHARE))
    return min(most, _address_space() // ADDRESS_SHARE)


def memory_bytes(*, root: str = CGROUP_ROOT, process: str = "/proc/self/cgroup") -> int:
    """Return the bytes of memory of the machine, or the lowest limit of a control group of this process."""
    try:
        physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        physical = 0
    return min([*([physical] if physical > 0 else []), *_cgroup_limits(root, process)], default=0)


def _cgroup_limits(root: str, process: str) -> Iterator[int]:
    """Yield the limits of this process's control groups, up to the outermost. A container sees its own as the root."""
    for folder in _cgroup_folders(root, process):
        for name in CGROUP_FILES:
            try:
                with open(os.path.join(folder, name), "rb") as file:
                    limit = int(file.read(64))
            except (OSError, ValueError):  # not there, or "max"
                continue
            if 0 < limit < NO_LIMIT:
                yield limit


def _cgroup_folders(root: str, process: str) -> Iterator[str]:
    yield root
    try:
        with open(process, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read(65536).splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        base = os.path.join(root, "memory") if controllers else root
        parts = [part for part in path.split("/") if part not in ("", "..", ".")]
        for count in range(1, len(parts) + 1):
            yield os.path.join(base, *parts[:count])


def _address_space() -> int:
    try:
        import resource  # not on every system

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    except (ImportError, OSError, ValueError):
        return NO_LIMIT
    return NO_LIMIT if limit == resource.RLIM_INFINITY else limit
