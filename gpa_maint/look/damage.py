"""Read everything in an object directory, and report damage. Change nothing.

Every byte of every pack and loose object is read, so all other files are sound. An error of the operating system (no
permission, no descriptors, no memory, a failing disk) is reported separately, because it does not prove damage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from .. import fs
from .._core.base import directory
from .._core.format import IdxFiles, check_idx
from .._core.merge import BadLoose, LoosePageWriter
from ..base.progress import ReportProgress
from ..errors import Corrupt, GpaError, SystemFailed, Unsupported
from ..model.repair import Diagnosis, LooseFault, PackHealth
from ..repo.objdir import ObjectDir
from ..state.superseded import read_state
from .inventory import loose_objects, take_inventory
from .verify import CHAIN, chain_faults, check_one, verify_objects

TITLE = "Examining packs"


def diagnose(objdir: ObjectDir, *, now: int, threads: int = 0, report: ReportProgress | None = None) -> Diagnosis:
    """Return the health of each pack, the loose objects that are damaged, and the first fault of the combined index."""
    there = set(os.listdir(objdir.pack_dir)) if os.path.isdir(objdir.pack_dir) else set()
    names = sorted({name.rpartition(".")[0] for name in there if name.endswith((".pack", ".idx"))})
    packs = []
    for number, name in enumerate(names):
        if report:
            report(TITLE, number, len(names))
        with suppress(FileNotFoundError):  # another process has deleted it since the listing
            packs.append(_health(objdir, name, there, now, threads or os.cpu_count() or 1))
    if report:
        report(TITLE, len(names), len(names))
    fault, unread = "", ""
    try:
        fault = index_fault(objdir)
    except (SystemFailed, OSError) as error:
        unread = str(error)
    chain_fault, chain_unread = "", ""
    try:
        chain_fault = next(iter(chain_faults(objdir)), "")
    except OSError as error:
        chain_unread = str(error)
    return Diagnosis(
        packs=tuple(packs),
        loose=_loose_faults(objdir),
        index_fault=fault,
        index_unread=unread,
        chain_fault=chain_fault,
        chain_unread=chain_unread,
    )


def _health(objdir: ObjectDir, name: str, there: set[str], now: int, threads: int) -> PackHealth:
    has_pack, has_idx = (name + suffix in there for suffix in (".pack", ".idx"))
    path = objdir.pack_path(name, ".pack" if has_pack else ".idx")
    fault, unread = "", False
    try:
        if has_pack and has_idx:
            fault = pack_fault(objdir, name, threads)
        else:
            fault = "there is no idx" if has_pack else "there is no pack"
            with fs.reading(path) as file:
                file.read(1)
    except (SystemFailed, OSError) as error:
        gone = isinstance(error, FileNotFoundError)
        if gone and not all(os.path.lexists(objdir.pack_path(name, suffix)) for suffix in _suffixes(has_pack, has_idx)):
            raise
        fault, unread = f"a link that leads nowhere: {error}" if gone else str(error), True
    return PackHealth(
        name=name,
        has_pack=has_pack,
        has_idx=has_idx,
        fault=fault,
        seconds=max(0, now - int(os.lstat(path).st_mtime)),
        protection=fs.protection(objdir, there, name),
        doomed=name in read_state(objdir).doomed,
        unread=unread,
    )


def _suffixes(has_pack: bool, has_idx: bool) -> list[str]:
    return [suffix for suffix, is_there in ((".pack", has_pack), (".idx", has_idx)) if is_there]


def pack_fault(objdir: ObjectDir, name: str, threads: int) -> str:
    """Return a message about damage in a pack or its idx, "" for none.

    Raises SystemFailed or another OSError if one of them cannot be read, FileNotFoundError if one is gone.
    """
    try:
        with IdxFiles(objdir.pack_dir, [name], objdir.object_format) as files:
            check_idx(files[name], objdir.pack_path(name, ".idx"))
        findings = check_one(objdir, name, threads)
    except OSError:
        raise
    except GpaError as error:
        return str(error)
    more = f", and {len(findings) - 1} more" if len(findings) > 1 else ""
    return f"{findings[0]}{more}" if findings else ""


def index_fault(objdir: ObjectDir) -> str:
    """Return a message about the first fault of the combined index; "" if it is sound or missing.

    SystemFailed when it cannot be read.
    """
    try:
        findings = [line for line in verify_objects(objdir).findings if not line.startswith(f"'{CHAIN}")]
        gone = [f"pack '{name}' is gone" for name in take_inventory(objdir, counts=False).vanished]
    except (Corrupt, Unsupported) as error:
        return str(error)
    # An existing pack that cannot be loaded is a fault of that pack; a loaded pack that lacks an object is not.
    others = ("failed to load pack",)
    if not any(line.startswith("failed to load pack in position") for line in findings):
        others = ("failed to load pack-index",)
    own = [line for line in findings if not line.startswith(others)]
    return next(iter([*own, *gone]), "")


def _loose_faults(objdir: ObjectDir) -> tuple[LooseFault, ...]:
    faults: list[LooseFault] = []
    closed: list[str] = []
    with _loose_checker(objdir) as fault_of:
        for one in loose_objects(objdir, closed):
            try:
                fault = fault_of(one.oid)
            except SystemFailed as error:
                faults.append(LooseFault(one.oid, str(error), unread=True))
            else:
                if fault:
                    faults.append(LooseFault(one.oid, fault))
    return (*faults, *(LooseFault("objects", line, unread=True) for line in closed))


def loose_fault(objdir: ObjectDir, oid: str) -> str | None:
    """Return a message about damage in a loose object (hex id), "" for none, None if there is no such file.

    Raises SystemFailed if it cannot be read.
    """
    with _loose_checker(objdir) as fault_of:
        return fault_of(oid)


@contextmanager
def _loose_checker(objdir: ObjectDir) -> Iterator[Callable[[str], str | None]]:
    with directory(objdir.objects) as fd, open(os.devnull, "wb") as nowhere:
        page = LoosePageWriter(
            nowhere.fileno(), os.devnull, objdir.objects, fd, objdir.object_format, object_count=1, level=0
        )
        with page:
            yield partial(_fault_of_loose, page)


def _fault_of_loose(page: LoosePageWriter, oid: str) -> str | None:
    try:
        page.check_loose(oid)
    except BadLoose as error:
        if isinstance(error.cause, FileNotFoundError):
            return None
        if isinstance(error.cause, SystemFailed):
            raise error.cause from None
        return str(error.cause)
    return ""
