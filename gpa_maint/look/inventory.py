"""Look: read an object directory once, and return an Inventory. Change nothing.

objects/pack is listed once. An .idx without .pack is kept, because libgit2 renames the .idx first. A .pack without .idx
is invisible to every reader.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from errno import EACCES
from stat import S_ISREG

from .. import fs
from .._core.format import idx_fault, idx_object_counts, open_midx
from ..base import safe_open
from ..model.inventory import IndexInfo, Inventory, LooseObject, PackInfo
from ..repo.objdir import ObjectDir
from ..state.superseded import State, read_state


def take_inventory(objdir: ObjectDir, *, counts: bool = True, with_index: bool = True) -> Inventory:
    """Return the Inventory of `objdir`'s packs.

    Without `counts`, object counts are None and no idx is opened. Without `with_index`, the combined index is ignored.
    Raises Corrupt or Unsupported if the combined index does not parse.
    """
    there = os.listdir(objdir.pack_dir) if os.path.isdir(objdir.pack_dir) else []
    by_suffix, order, others = _sort_names(there)
    index = read_index(objdir) if with_index else None
    referenced = dict(zip(index.pack_names, index.referenced, strict=True)) if index else {}
    packs, without_pack, unreadable = _packs(objdir, by_suffix, order, referenced, read_state(objdir), counts=counts)
    present = {pack.name for pack in packs}
    return Inventory(
        object_format=objdir.object_format,
        midx=index,
        packs=packs,
        vanished=tuple(name for name in referenced if name not in present),
        idx_without_pack=without_pack,
        bitmaps=tuple(sorted(name for name in others if name.endswith((".bitmap", ".rev")))),
        has_chain="multi-pack-index.d" in others
        and os.path.exists(os.path.join(objdir.pack_dir, "multi-pack-index.d", "multi-pack-index-chain")),
        temporary_files=len(fs.temporary_files(objdir, there)),
        unreadable=unreadable,
    )


LEFTOVER_SECONDS = 14 * 86400
"""Seconds. An older temporary file of git is of a killed process, as in `git gc` by default."""


def look_around(objdir: ObjectDir, inventory: Inventory, *, now: int) -> Inventory:
    """Return the Inventory with loose objects, loose refs, and files of killed git processes."""
    loose, leftovers, closed = _scan_loose(objdir)
    orphans = _orphans(objdir, now)
    found = [*leftovers, *_temporaries(objdir.objects, "pack"), *_temporaries(objdir.objects, ""), *orphans]
    old = [name for name in found if _is_old(os.path.join(objdir.objects, name), now)]
    held = {f"{pack.name}.keep" for pack in inventory.packs if pack.held}
    keeps_of_dead = fs.dead_keeps(objdir.pack_dir, now - objdir.settings.keep_expire, passed_over=held)
    keeps = [os.path.join("pack", name) for name in keeps_of_dead]
    return inventory._replace(
        loose_count=loose,
        unreadable=(*inventory.unreadable, *closed),
        orphans=tuple(orphans),
        loose_refs=_count_loose_refs(objdir),
        git_leftovers=tuple(sorted((*old, *keeps))),
    )


def look_at_everything(objdir: ObjectDir, *, now: int, with_index: bool = True) -> Inventory:
    """Return the Inventory with everything that a run needs to decide: take_inventory(), then look_around()."""
    return look_around(objdir, take_inventory(objdir, with_index=with_index), now=now)


def _temporaries(objects: str, folder: str) -> list[str]:
    """Return the names of git's temporary files and folders, those of its repack included; ours are not among them."""
    try:
        names = os.listdir(os.path.join(objects, folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
    prefixes = ("tmp_", ".tmp-")
    return [os.path.join(folder, name) for name in names if name.startswith(prefixes) and not fs.is_ours(name)]


ORPHAN_SECONDS = 3600
"""Seconds. git writes the files of a pack one after the other; a file without pack for longer is left over."""

BESIDE_PACKS = (".rev", ".bitmap", ".mtimes", ".promisor")


def _orphans(objdir: ObjectDir, now: int) -> list[str]:
    """Return files of packs whose .pack and .idx are gone, for example after a failed unlink, and holds without page.

    A .keep of another program may belong to a pack that is being written.
    """
    try:
        there = set(os.listdir(objdir.pack_dir))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for name in sorted(there):
        stem, suffix = os.path.splitext(name)
        is_hold = suffix == ".keep" and fs.read_hold(objdir.pack_path(name, "")) is not None
        if not (is_hold or suffix in BESIDE_PACKS) or name.startswith((*TEMPORARY, "multi-pack-index")):
            continue
        if there.isdisjoint({f"{stem}.pack", f"{stem}.idx", f"{stem}.keep"} - {name}):
            try:
                stat = os.lstat(objdir.pack_path(name, ""))
            except FileNotFoundError:
                continue
            if S_ISREG(stat.st_mode) and stat.st_mtime < now - ORPHAN_SECONDS:
                found.append(f"pack/{name}")
    return found


def _is_old(path: str, now: int) -> bool:
    try:
        return os.lstat(path).st_mtime < now - LEFTOVER_SECONDS
    except FileNotFoundError:
        return False


def _count_loose_refs(objdir: ObjectDir) -> int:
    """Count the files below refs/; other kinds of ref storage have none."""
    refs = safe_open.walk(os.path.join(objdir.common_dir, "refs"))
    return sum(not safe_open.is_folder(entry) for _, entries in refs for entry in entries)


def link_among_refs(objdir: ObjectDir) -> str:
    """Return a link through which packing refs would change another repository or file; "" for none."""
    refs = os.path.join(objdir.common_dir, "refs")
    for path in (os.path.join(objdir.common_dir, "packed-refs"), refs):
        if os.path.islink(path):
            return path
    links = (entry for _, entries in safe_open.walk(refs) for entry in entries if entry.is_symlink())
    return next((entry.path for entry in links if os.path.isdir(entry.path)), "")


def read_index(objdir: ObjectDir) -> IndexInfo | None:
    midx = open_midx(objdir.index_path, objdir.object_format)
    if midx is None:
        return None
    with midx:
        return IndexInfo(
            trailer=midx.trailer,
            size=midx.size,
            object_count=midx.object_count,
            pack_names=midx.pack_names(),
            referenced=midx.referenced(),
            has_bitmap_chunks=midx.has_bitmap_chunks,
        )


def index_is_sound(objdir: ObjectDir) -> bool:
    """Return whether the combined index has the checksum that it ends with, or there is no index."""
    midx = open_midx(objdir.index_path, objdir.object_format)
    if midx is None:
        return True
    with midx:
        return midx.is_sound()


def complaints_of(inventory: Inventory) -> tuple[str, ...]:
    """Return a line about each pack and other file that cannot be used."""
    return (*(pack.fault for pack in inventory.packs if pack.fault), *inventory.unreadable)


CONTROLS = frozenset(map(chr, (*range(32), *range(127, 160))))
"""Characters in the name of a file that is left alone: git never makes one, and it could control a terminal."""

TEMPORARY = (".", "tmp_")
"""Name of a pack that git repack is writing. git deletes it if the repack fails, so nothing may depend on it, although
git multi-pack-index names it like any other pack."""

SUFFIXES = ("pack", "idx", "keep", "promisor", "mtimes")


def _sort_names(there: list[str]) -> tuple[dict[str, set[str]], list[str], list[str]]:
    """Return the names by suffix, the .idx names in directory order, and the files of combined indexes."""
    by_suffix: dict[str, set[str]] = {suffix: set() for suffix in SUFFIXES}
    order: list[str] = []
    others: list[str] = []
    for file_name in there:
        if file_name.startswith(TEMPORARY) or (not file_name.isprintable() and CONTROLS.intersection(file_name)):
            continue
        if file_name.startswith("multi-pack-index"):
            others.append(file_name)
            continue
        stem, _, suffix = file_name.rpartition(".")
        if suffix in by_suffix:
            by_suffix[suffix].add(stem)
            if suffix == "idx":
                order.append(stem)
    return by_suffix, order, others


def _packs(
    objdir: ObjectDir,
    by_suffix: dict[str, set[str]],
    order: list[str],
    referenced: Mapping[str, int],
    state: State,
    *,
    counts: bool,
) -> tuple[tuple[PackInfo, ...], tuple[str, ...], tuple[str, ...]]:
    """Return the packs, the names of idx files without pack, and a line about each pack that cannot be looked at."""
    found: list[tuple[str, os.stat_result, int]] = []
    without_pack: list[str] = []
    unreadable: list[str] = []
    for name in order:
        path = objdir.pack_path(name)
        try:
            if name not in by_suffix["pack"]:
                raise FileNotFoundError
            found.append((name, os.stat(path), _made_ns(objdir, name)))
        except FileNotFoundError:  # not yet renamed, or deleted since the listing
            without_pack.append(name)
            if name in by_suffix["pack"] and os.path.islink(path):
                unreadable.append(f"'{path}' is a link that leads nowhere")
        except OSError as error:
            without_pack.append(name)
            unreadable.append(_cannot_access(path, error))
    names = [name for name, *_ in found]
    there = frozenset(names)
    holds = fs.holds_of(objdir.pack_dir, by_suffix["keep"] & there)
    numbers = idx_object_counts(objdir.pack_dir, names, objdir.object_format) if counts else [None] * len(names)
    packs = tuple(
        PackInfo(
            name=name,
            size=stat.st_size,
            mtime=int(stat.st_mtime),
            object_count=count,
            referenced=referenced.get(name),
            kept=name in by_suffix["keep"] and name not in holds,
            promisor=name in by_suffix["promisor"],
            cruft=name in by_suffix["mtimes"],
            superseded_since=(state.superseded if name in referenced else state.merged).get(name),
            doomed=name in state.doomed,
            returned=name in state.dropped,
            fault=_pack_fault(objdir, name, stat)
            or (idx_fault(objdir.pack_dir, name, objdir.object_format) if counts and count is None else ""),
            made_ns=made_ns,
            held=holds[name].kind if name in holds else "",
            held_for=sum(source in there for source in holds[name].sources) if name in holds else 0,
        )
        for (name, stat, made_ns), count in zip(found, numbers, strict=True)
    )
    return packs, tuple(without_pack), tuple(unreadable)


def _made_ns(objdir: ObjectDir, name: str) -> int:
    """Return the mtime (ns) of the idx; 0 if it cannot be read."""
    try:
        return os.lstat(objdir.pack_path(name, ".idx")).st_mtime_ns
    except FileNotFoundError:
        raise
    except OSError:
        return 0


LEAST_PACK = 32
"""Size of a pack without objects: header and SHA-1 trailer."""


def _pack_fault(objdir: ObjectDir, name: str, stat: os.stat_result) -> str:
    """Return a message about faults of a pack that show without opening it. There may be many packs."""
    if S_ISREG(stat.st_mode) and stat.st_size >= LEAST_PACK and stat.st_mode & 0o444 == 0o444:
        return ""
    path = objdir.pack_path(name)
    if not S_ISREG(stat.st_mode):
        return f"corrupt '{path}': not a regular file"
    if stat.st_size < LEAST_PACK:
        return f"corrupt '{path}': pack is {stat.st_size} bytes, too short for header and trailer"
    return "" if os.access(path, os.R_OK) else f"cannot open '{path}': {os.strerror(EACCES)}"


# ---- loose objects ----

HEX_DIGITS = "0123456789abcdef"


def count_loose(objdir: ObjectDir) -> int:
    """Count the loose objects, by their names alone."""
    return _scan_loose(objdir)[0]


def loose_objects(objdir: ObjectDir, closed: list[str] | None = None) -> tuple[LooseObject, ...]:
    """Return every loose object, reachable or not, ordered by id. Only regular files count.

    A folder that cannot be read is skipped, as in git; `closed` gets a line about it.
    """
    closed = [] if closed is None else closed
    found: list[LooseObject] = []
    for folder, names in _loose_folders(objdir.objects, closed):
        for name in sorted(name for name in names if _is_loose(name, objdir)):
            path = f"{objdir.objects}/{folder}/{name}"
            try:
                stat = os.lstat(path)
            except FileNotFoundError:  # another process has pruned it since the listing
                continue
            except OSError as error:
                closed.append(_cannot_access(path, error))
                break
            if S_ISREG(stat.st_mode):
                found.append(LooseObject(folder + name, stat.st_size, stat.st_mtime_ns))
    return tuple(found)


def _scan_loose(objdir: ObjectDir) -> tuple[int, list[str], list[str]]:
    """Count the loose objects by their names.

    Returns the count, the names of unfinished files relative to objects/, and a line about each unreadable folder.
    """
    count = 0
    unfinished: list[str] = []
    closed: list[str] = []
    for folder, names in _loose_folders(objdir.objects, closed):
        count += sum(_is_loose(name, objdir) for name in names)
        unfinished += [f"{folder}/{name}" for name in names if name.startswith("tmp_obj_")]
    return count, unfinished, closed


def _loose_folders(objects: str, closed: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders 00 to ff in order, and the names in each. One that is a symbolic link is not followed."""
    with os.scandir(objects) as entries:
        folders = [entry.name for entry in entries if _is_hex(entry.name, 2) and entry.is_dir(follow_symlinks=False)]
    for folder in sorted(folders):
        path = f"{objects}/{folder}"
        try:
            names = os.listdir(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            closed.append(_cannot_access(path, error))
            continue
        yield folder, names


def _cannot_access(path: str, error: OSError) -> str:
    return f"cannot access '{path}': {os.strerror(error.errno or 0)}"


def _is_loose(name: str, objdir: ObjectDir) -> bool:
    return _is_hex(name, 38 if objdir.object_format == "sha1" else 62)


def _is_hex(name: str, length: int) -> bool:
    return len(name) == length and not name.strip(HEX_DIGITS)
