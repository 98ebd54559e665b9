"""Find faults, without repairs: the index as git verifies it, in git's words; with `deep`, every byte of every pack."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

from .._core.base import Progress, hash_size
from .._core.format import IdxFiles, Midx, check_pack, match_pack, open_midx, verify_midx
from ..base import safe_open
from ..base.progress import ReportProgress
from ..base.threads import in_thread
from ..errors import Corrupt, GpaError, SystemFailed, Unsupported
from ..model.inventory import Inventory
from ..model.verify import VerifyResult
from ..repo.objdir import ObjectDir
from ..repo.refs import find_broken, heads_of_worktrees, read_refs, walk
from .inventory import take_inventory


def verify_objects(
    objdir: ObjectDir, *, deep: bool = False, threads: int = 0, report: ReportProgress | None = None
) -> VerifyResult:
    """Return all findings about the combined index and an incremental chain; with `deep`, also about each pack.

    Raises Corrupt or Unsupported for a file on which git itself dies (bad signature, unknown version).
    """
    findings: list[str] = []
    objects = 0
    try:
        midx = open_midx(objdir.index_path, objdir.object_format)
    except Corrupt as error:
        if error.git_dies:
            raise
        findings += [error.reason, "multi-pack-index file exists, but failed to parse"]
        midx = None
    except SystemFailed as error:
        if not deep:
            raise
        findings.append(str(error))
        midx = None
    if midx is not None:
        with midx:
            objects = midx.object_count
            findings += _verify_index(objdir, midx, report)
    try:
        findings += chain_faults(objdir, report)
    except OSError as error:
        findings.append(f"'{CHAIN}' cannot be read: {error}")
    packs, pack_objects = 0, 0
    if deep:
        deep_findings, packs, pack_objects = _verify_packs(objdir, threads or os.cpu_count() or 1, report)
        findings += deep_findings
    return VerifyResult(findings=tuple(findings), pack_count=packs, object_count=pack_objects if deep else objects)


CHAIN = "multi-pack-index.d"
CHAIN_BYTES = 1 << 20
"""Bytes; a chain of 10,000 layers is smaller."""


def chain_faults(objdir: ObjectDir, report: ReportProgress | None = None) -> list[str]:
    """Return messages about faults of an incremental chain of indexes, which git 2.47 and newer read.

    Raises OSError if one of its files exists and cannot be read.
    """
    folder = os.path.join(objdir.pack_dir, CHAIN)
    path = os.path.join(folder, "multi-pack-index-chain")
    if not os.path.lexists(path):
        return []
    findings: list[str] = []
    text = safe_open.read_bytes(path, CHAIN_BYTES)
    seen: set[str] = set()
    for line in text.removesuffix(b"\n").split(b"\n"):
        name = line.decode("latin-1")
        if len(name) != 2 * hash_size(objdir.object_format) or name.strip("0123456789abcdef"):
            findings.append(f"'{CHAIN}/multi-pack-index-chain': line '{name:.80}' is not a hash")
            break
        if name in seen:
            findings.append(f"'{CHAIN}/multi-pack-index-chain': layer {name} is there twice")
            break
        seen.add(name)
        layer = f"multi-pack-index-{name}.midx"
        findings += [f"'{CHAIN}/{layer}': {line}" for line in _layer_faults(objdir, folder, layer, name, report)]
    return findings


def _layer_faults(objdir: ObjectDir, folder: str, layer: str, name: str, report: ReportProgress | None) -> list[str]:
    try:
        midx = Midx(os.path.join(folder, layer), objdir.object_format)
    except FileNotFoundError:
        return ["the chain names this layer, and it is not there"]
    except Corrupt as error:
        return [error.reason]
    except Unsupported as error:
        return [str(error)]
    with midx:
        own = [] if midx.trailer == name else [f"its checksum is {midx.trailer}, another than its name says"]
        gone = [pack for pack in midx.pack_names() if not os.path.exists(objdir.pack_path(pack))]
        own += [f"it names '{pack}', which is not there" for pack in gone]
        return own + _verify_index(objdir, midx, report)


def verify_refs(path: str | None, *, partial: bool) -> tuple[list[str], int]:
    """Return messages about missing objects that refs, worktrees, reflogs or indexes name; and the number of refs."""
    refs = read_refs(path)
    tips = refs.tips | {f"HEAD of '{where}'": oid for where, oid in heads_of_worktrees(path).items()}
    findings = [f"ref '{name}' cannot be read" for name in refs.unreadable]
    broken = find_broken(path, tips, partial=partial)
    if not findings and not broken:
        words = walk(path, (), partial=partial, more=["--all", "--reflog", "--indexed-objects"])
        broken = [f"what a reflog or an index names is not whole: {words}"] if words else []
    return findings + broken, len(tips)


def _verify_index(objdir: ObjectDir, midx: Midx, report: ReportProgress | None) -> list[str]:
    with ExitStack() as stack:
        idx = [_load(objdir, stack, name) for name in midx.pack_names()]
        progress = Progress()
        title = "Verifying offsets"
        lines = _counted(lambda: verify_midx(midx, idx, progress), title, progress, midx.object_count, report)
        if report:
            report(title, midx.object_count, midx.object_count)
        return lines


def _load(objdir: ObjectDir, stack: ExitStack, name: str) -> Any:
    """Return the idx of an existing pack, or None."""
    try:
        files = stack.enter_context(IdxFiles(objdir.pack_dir, [name], objdir.object_format))
        match_pack(objdir.pack_path(name), files[name])
    except (GpaError, OSError):  # git says "failed to load pack" for every cause, and so do we
        return None
    return files[name]


def _verify_packs(objdir: ObjectDir, threads: int, report: ReportProgress | None) -> tuple[list[str], int, int]:
    inventory = _packs_alone(objdir)
    total = sum(pack.object_count or 0 for pack in inventory.packs)
    findings = list(inventory.unreadable)
    progress = Progress()
    title = "Verifying objects"
    for pack in inventory.packs:
        try:
            call = partial(check_one, objdir, pack.name, threads, progress)
            findings += _counted(call, title, progress, total, report)
        except FileNotFoundError as error:
            if os.path.islink(objdir.pack_path(pack.name, ".idx")):
                findings.append(str(error))
            # else another process has deleted it since the listing
        except (Corrupt, SystemFailed, Unsupported) as error:
            findings.append(str(error))
    if report:
        report(title, total, total)
    return findings, len(inventory.packs), total


def check_one(objdir: ObjectDir, name: str, threads: int, progress: Progress | None = None) -> list[str]:
    """Return all faults of a pack whose idx parses. Raise FileNotFoundError if one of the files is gone."""
    with IdxFiles(objdir.pack_dir, [name], objdir.object_format) as files:
        lines = check_pack(objdir.pack_path(name), files[name], threads, progress or Progress())
    return [f"'{name}.pack': {line}" for line in lines]


def _packs_alone(objdir: ObjectDir) -> Inventory:
    """Return the packs, also if the index cannot be read; other code reports that."""
    try:
        return take_inventory(objdir)
    except (Corrupt, SystemFailed, Unsupported):
        return take_inventory(objdir, with_index=False)


def _counted(
    call: Callable[[], list[str]], title: str, progress: Progress, total: int, report: ReportProgress | None
) -> list[str]:
    """Run a long call into C in its own thread, so that it can be watched, and stopped by Ctrl-C."""
    watch = partial(_tell, report, title, progress, total) if report else None
    return in_thread(call, watch=watch, stop=progress.stop)


def _tell(report: ReportProgress, title: str, progress: Progress, total: int) -> None:
    report(title, progress.done, total)
