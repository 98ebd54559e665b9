"""Put the objects that dead writers left in gpa/journal/ into pages, when a writer is opened (docs/formats/journal.md).

A locked journal belongs to a live writer, and is left alone. A journal that cannot be recovered stays, and is reported.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from typing import Any

from .. import fs
from .._core.format import IdxFiles, check_idx, match_pack, pack_trailer
from .._core.write import CoreWriter
from ..base.tuples import NamedTuple
from ..errors import Corrupt, GpaError
from ..repo.objdir import ObjectDir
from ..state.runs import log

PIECE_BYTES = 1 << 20
NAMES = 16
"""Number of names that are tried for a page. A page has its second name only if another page has the same bytes."""
TEMPORARY = re.compile(r"(?:tmp_pack_)?([0-9]+-[0-9a-f]{8})-[0-9]+\.(?:pack|idx|keep)")


class Recovered(NamedTuple):
    """Result for one journal: objects put into pages, objects that existed already, bytes of an unfinished record.

    With a `problem`, the journal stays in its place.
    """

    journal: str
    objects: int = 0
    known: int = 0
    cut_bytes: int = 0
    problem: str = ""


def recover(core: CoreWriter, objdir: ObjectDir, directory: str) -> Iterator[Recovered]:
    """Put the objects of dead writers into pages, through `core`, and remove their files. Yield one value a journal."""
    left = _left_behind(objdir, directory)
    for path in left:
        if path.endswith(".idx"):
            _finish_page(objdir, path)
    for name in sorted(os.listdir(directory)):
        if name.endswith(".journal") and (found := _recover_one(core, name)):
            log(objdir, _describe_recovery(found), now=int(time.time()))
            yield found
    for path in left:
        fs.unlink(path)


def _recover_one(core: CoreWriter, name: str) -> Recovered | None:
    """Recover one journal. Return None if its writer lives, or the journal is empty."""
    try:
        found = core.recover(name)
    except GpaError as error:  # a bad journal must not prevent writing
        return Recovered(name, problem=str(error))
    return Recovered(name, *found) if found and any(found) else None


def _describe_recovery(found: Recovered) -> str:
    if found.problem:
        return f"writer: cannot recover the journal '{found.journal}': {found.problem}"
    cut = f", {found.cut_bytes} bytes of an unfinished record dropped" if found.cut_bytes else ""
    return (
        f"writer: recovered the journal '{found.journal}' of a process that died: {found.objects} objects put into "
        f"pages, {found.known} were there{cut}"
    )


def _left_behind(objdir: ObjectDir, directory: str) -> list[str]:
    """Return files of dead writers' unfinished pages: beside the journals, or in objects/pack on another disk."""
    folders, found = [directory], []
    if os.stat(directory).st_dev != os.stat(objdir.pack_dir).st_dev:
        folders.append(objdir.pack_dir)
    for folder in folders:
        for name in os.listdir(folder):
            writer = TEMPORARY.fullmatch(name)
            # This journal is created before all other files of its writer, locked while it lives, and deleted last.
            if writer and not fs.is_held(os.path.join(directory, f"{writer[1]}-0.journal")):
                found.append(os.path.join(folder, name))
    return found


def _finish_page(objdir: ObjectDir, path: str) -> None:
    """Rename an idx to the name that its .pack has, if no .idx has it. Without its .idx the pack is invisible.

    The writer died between the two renames, or `git gc` deleted the .idx (csrc/write/gc_guard.c). Pages with the same
    bytes have different names, so all names that this page may have are tried.
    """
    folder, stem = os.path.dirname(path), os.path.basename(path).removesuffix(".idx")
    try:
        with IdxFiles(folder, [stem], objdir.object_format) as idx_files:
            check_idx(idx_files[stem], path)
            trailer = pack_trailer(idx_files[stem], objdir.object_format)
            name = f"pack-{trailer}"
            for _ in range(NAMES):
                if _lacks_idx(objdir, name, idx_files[stem], trailer):
                    fs.finish_pack(objdir, path, name)
                    return
                name = fs.next_name(objdir, name)
    except (GpaError, FileNotFoundError):
        pass  # the page has no name yet: its journal has the objects


def _lacks_idx(objdir: ObjectDir, name: str, idx: Any, trailer: str) -> bool:
    """Return whether `name` is a complete pack that this idx belongs to, and has no .idx."""
    pack_path = objdir.pack_path(name)
    if os.path.lexists(objdir.pack_path(name, ".idx")) or not os.path.lexists(pack_path):
        return False
    try:
        match_pack(pack_path, idx)
    except Corrupt:
        return False
    return _own_hash(pack_path, objdir.object_format) == trailer


def _own_hash(path: str, object_format: str) -> str:
    """Return the hash (hex) of a pack without its trailer."""
    digest = hashlib.new(object_format)
    with fs.reading(path) as file:
        left = os.fstat(file.fileno()).st_size - digest.digest_size
        while left > 0 and (piece := file.read(min(left, PIECE_BYTES))):
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()
