"""Processes of this host, looked for by their names."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ._gpa import ffi, lib


def processes_named(names: Sequence[str]) -> list[int]:
    """The numbers of the processes with one of these names, by /proc; [] where there is none.

    Of a name the first 15 bytes count, since the kernel keeps no more.
    """
    texts = [ffi.new("char[]", os.fsencode(name)) for name in names]
    count = ffi.new("uint32_t *")
    room = 64
    while True:
        pids = ffi.new("int64_t[]", room)
        lib.gpa_processes_named(count, pids, room, texts, len(texts))
        if count[0] <= room:
            return list(pids[0 : count[0]])
        room = 2 * count[0]
