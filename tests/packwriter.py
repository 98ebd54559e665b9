"""Packs written by hand: each entry exactly as a test wants it, where git would choose for itself.

`pack_bytes` gives the file, `add_pack` puts it into a repository and lets `git index-pack` judge and index it.
Independent of gpa_maint, so that both can be compared.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import oracle
from oracle import ObjectFormat

Kind = Literal["commit", "tree", "blob", "tag"]

KIND_CODES: dict[str, int] = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
OFS_DELTA = 6
REF_DELTA = 7

DELTA_BLOCK = 16
DELTA_COPY_MAX = 0xFFFFFF
DELTA_INSERT_MAX = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """An object stored as itself. `level` is zlib's, 0 (stored) to 9, -1 for its default."""

    kind: Kind
    content: bytes
    level: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class OfsDelta:
    """A delta on the entry at `base_index` of the same pack, which must come before this one."""

    base_index: int
    program: bytes
    level: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class RefDelta:
    """A delta on the object `base_oid` (hex), which may lie before or after it in the same pack."""

    base_oid: str
    program: bytes
    level: int = -1


Entry = Whole | OfsDelta | RefDelta


def hash_bytes(object_format: ObjectFormat, data: bytes) -> bytes:
    return hashlib.new(object_format, data).digest()


def oid_hex(kind: Kind, content: bytes, *, object_format: ObjectFormat = "sha1") -> str:
    """The name git gives to an object."""
    return hash_bytes(object_format, b"%b %d\0%b" % (kind.encode(), len(content), content)).hex()


def entry_header(code: int, size: int) -> bytes:
    """Type and inflated size: 4 bits of size in the first byte, then 7 a byte, little end first."""
    byte = code << 4 | size & 0x0F
    size >>= 4
    header = bytearray()
    while size:
        header.append(byte | 0x80)
        byte = size & 0x7F
        size >>= 7
    header.append(byte)
    return bytes(header)


def ofs_distance(distance: int) -> bytes:
    """The distance back to the base: 7 bits a byte, big end first, one added for each continuation."""
    encoded = [distance & 0x7F]
    while distance := distance >> 7:
        distance -= 1
        encoded.append(0x80 | distance & 0x7F)
    return bytes(reversed(encoded))


def delta_size(size: int) -> bytes:
    """One of the two sizes in front of a delta program."""
    encoded = bytearray()
    while size > 0x7F:
        encoded.append(0x80 | size & 0x7F)
        size >>= 7
    encoded.append(size)
    return bytes(encoded)


def copy_op(offset: int, size: int) -> bytes:
    """Copy `size` (1 to 0xffffff) base bytes from `offset`. Zero bytes are left out; size 0x10000 is written as 0."""
    size = 0 if size == 0x10000 else size
    op, operands = 0x80, bytearray()
    for bit, byte in enumerate(struct.pack("<I", offset) + struct.pack("<I", size)[:3]):
        if byte:
            op |= 1 << bit
            operands.append(byte)
    return bytes([op]) + operands


def insert_op(data: bytes) -> bytes:
    """Insert `data`, 1 to 127 bytes."""
    return bytes([len(data)]) + data


def encode_delta(source: bytes, target: bytes) -> bytes:
    """A delta program that makes `target` from `source`: greedy, by blocks of 16 bytes.

    Smaller than what it encodes wherever the two share long runs; no attempt to be the smallest.
    """
    starts = range(0, len(source) - DELTA_BLOCK + 1, DELTA_BLOCK)
    # Backwards, so that the first of several equal blocks stays: it begins the longest run.
    blocks = {source[start : start + DELTA_BLOCK]: start for start in reversed(starts)}
    program = bytearray(delta_size(len(source)) + delta_size(len(target)))
    literal = 0  # target[literal:at] is not written yet
    at = 0
    while at < len(target):
        start = blocks.get(target[at : at + DELTA_BLOCK])
        if start is None:
            at += 1
            continue
        size = _common_run(source, start, target, at)
        program += _insert(target[literal:at]) + copy_op(start, size)
        at += size
        literal = at
    return bytes(program + _insert(target[literal:]))


def _common_run(source: bytes, start: int, target: bytes, at: int) -> int:
    limit = min(len(source) - start, len(target) - at, DELTA_COPY_MAX)
    size = DELTA_BLOCK
    for step in (4096, 1):
        while size + step <= limit and _same(source, start + size, target, at + size, step):
            size += step
    return size


def _same(one: bytes, one_at: int, other: bytes, other_at: int, size: int) -> bool:
    return one[one_at : one_at + size] == other[other_at : other_at + size]


def _insert(data: bytes) -> bytes:
    pieces = (data[at : at + DELTA_INSERT_MAX] for at in range(0, len(data), DELTA_INSERT_MAX))
    return b"".join(insert_op(piece) for piece in pieces)


def entry_bytes(entry: Entry, *, offset: int, offsets: Sequence[int]) -> bytes:
    """One entry as it lies in a pack at `offset`; `offsets` are those of the entries before it."""
    match entry:
        case Whole(kind=kind, content=data):
            head = entry_header(KIND_CODES[kind], len(data))
        case OfsDelta(base_index=base_index, program=data):
            head = entry_header(OFS_DELTA, len(data)) + ofs_distance(offset - offsets[base_index])
        case RefDelta(base_oid=base_oid, program=data):
            head = entry_header(REF_DELTA, len(data)) + bytes.fromhex(base_oid)
    return head + zlib.compress(data, entry.level)


def pack_bytes(entries: Sequence[Entry], *, object_format: ObjectFormat = "sha1") -> bytes:
    """A version 2 pack that holds exactly `entries`, in their order."""
    pack = bytearray(struct.pack(">4sII", b"PACK", 2, len(entries)))
    offsets: list[int] = []
    for entry in entries:
        here = len(pack)
        pack += entry_bytes(entry, offset=here, offsets=offsets)
        offsets.append(here)
    return bytes(pack) + hash_bytes(object_format, bytes(pack))


def idx_bytes(pack: bytes, entries: Sequence[Whole], *, object_format: ObjectFormat = "sha1") -> bytes:
    """The version 2 idx of `pack`, made of `entries`: what git index-pack writes, without starting it."""
    rows, at = [], 12
    for entry in entries:
        size = len(entry_bytes(entry, offset=at, offsets=()))
        oid = bytes.fromhex(oid_hex(entry.kind, entry.content, object_format=object_format))
        rows.append((oid, zlib.crc32(pack[at : at + size]), at))
        at += size
    rows.sort()
    fanout = [sum(oid[0] <= first for oid, _, _ in rows) for first in range(256)]
    body = b"\xfftOc" + struct.pack(">I256I", 2, *fanout) + b"".join(oid for oid, _, _ in rows)
    for column in (1, 2):
        body += struct.pack(f">{len(rows)}I", *(row[column] for row in rows))
    body += pack[at:]
    return body + hash_bytes(object_format, body)


def add_many_packs(repo: Path, count: int) -> None:
    """Packs of one blob each, as from `count` tiny pushes; a second or two for thousands."""
    folder = oracle.objects_dir(repo) / "pack"
    for number in range(count):
        entries = [Whole(kind="blob", content=b"pack %d\n" % number)]
        data = pack_bytes(entries)
        path = folder / f"pack-{data[-20:].hex()}.pack"
        path.write_bytes(data)
        path.with_suffix(".idx").write_bytes(idx_bytes(data, entries))


def add_pack(repo: Path, entries: Sequence[Entry], *, index_version: Literal[1, 2] = 2) -> str:
    """Write `entries` as a pack of `repo` and index it with git. Gives the pack's name.

    Fails when git finds the pack broken. A thin pack is broken: bases must be among `entries`.
    """
    object_format = oracle.object_format(repo)
    data = pack_bytes(entries, object_format=object_format)
    trailer = data[-hashlib.new(object_format).digest_size :]
    path = oracle.objects_dir(repo) / "pack" / f"pack-{trailer.hex()}.pack"
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # the same pack once more: only root could write into it
    path.write_bytes(data)
    path.chmod(0o444)
    oracle.git(repo, "index-pack", f"--index-version={index_version}", path)
    return path.stem


def add_liar(
    repo: Path, entries: Sequence[tuple[Entry, str]], *, object_format: ObjectFormat = "sha1", index_version: int = 2
) -> str:
    """A pack of these entries, with an idx that calls each as is said."""
    pack = pack_bytes([entry for entry, _ in entries], object_format=object_format)
    size = len(hash_bytes(object_format, b""))
    rows: list[tuple[bytes, int, int]] = []
    at = 12
    for entry, oid in entries:
        data = entry_bytes(entry, offset=at, offsets=[offset for _, _, offset in rows])
        rows.append((bytes.fromhex(oid), zlib.crc32(data), at))
        at += len(data)
    rows.sort()
    idx = struct.pack(">256I", *(sum(oid[0] <= first for oid, _, _ in rows) for first in range(256)))
    if index_version == 1:
        idx += b"".join(struct.pack(">I", offset) + oid for oid, _, offset in rows)
    else:
        idx = b"\xfftOc" + struct.pack(">I", 2) + idx + b"".join(oid for oid, _, _ in rows)
        for column in (1, 2):
            idx += struct.pack(f">{len(rows)}I", *(row[column] for row in rows))
    idx += pack[-size:]
    path = oracle.objects_dir(repo) / "pack" / f"pack-{pack[-size:].hex()}"
    path.with_suffix(".pack").write_bytes(pack)
    path.with_suffix(".idx").write_bytes(idx + hash_bytes(object_format, idx))
    return path.name
