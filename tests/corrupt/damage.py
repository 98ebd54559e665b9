"""Breaking files on purpose: where things lie in a pack, an idx and a combined index, and how to make them wrong.

A damage is a function from a file's bytes to other bytes. `resealed` puts the right checksum below, so that what lies
behind the checksum is reached.
"""

from __future__ import annotations

import hashlib
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path

Damage = Callable[[bytes], bytes]

SHA1_SIZE = 20
IDX_FANOUT = 8
IDX_OIDS = IDX_FANOUT + 1024
MIDX_TOC = 12
MIDX_TOC_ROW = 12


def truncated(size: int) -> Damage:
    """Only the first `size` bytes, or without the last -size ones."""
    return lambda data: data[:size]


def flipped(at: int, mask: int = 0xFF) -> Damage:
    """One byte changed; `at` may count from the end."""

    def damage(data: bytes) -> bytes:
        place = at % len(data)
        return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]

    return damage


def replaced(at: int, piece: bytes) -> Damage:
    def damage(data: bytes) -> bytes:
        assert data[at : at + len(piece)] != piece, "nothing would be damaged"
        return data[:at] + piece + data[at + len(piece) :]

    return damage


def number(at: int, value: int) -> Damage:
    """A big-endian 32-bit number at `at`."""
    return replaced(at, struct.pack(">I", value))


def resealed(damage: Damage) -> Damage:
    def sealed(data: bytes) -> bytes:
        body = damage(data)[:-SHA1_SIZE]
        return body + hashlib.sha1(body).digest()

    return sealed


def number_at(data: bytes, at: int) -> int:
    value: int = struct.unpack_from(">I", data, at)[0]
    return value


# -- Places in an idx v2


def idx_count(data: bytes) -> int:
    return number_at(data, IDX_FANOUT + 4 * 255)


def idx_offsets(data: bytes) -> int:
    """Where the offsets begin."""
    return IDX_OIDS + idx_count(data) * (SHA1_SIZE + 4)


def idx_swapped_oids(data: bytes) -> bytes:
    """The first two ids change places."""
    one, two = IDX_OIDS, IDX_OIDS + SHA1_SIZE
    return data[:one] + data[two : two + SHA1_SIZE] + data[one:two] + data[two + SHA1_SIZE :]


def idx_offset_set(position: int, value: int) -> Damage:
    return lambda data: number(idx_offsets(data) + 4 * position, value)(data)


def idx_same_offset_twice(data: bytes) -> bytes:
    return idx_offset_set(1, number_at(data, idx_offsets(data)))(data)


# -- Places in a combined index


def midx_chunk(data: bytes, name: bytes) -> tuple[int, int]:
    """Begin and end of a chunk."""
    row = midx_toc_row(data, name)
    begin, end = (struct.unpack_from(">Q", data, at + 4)[0] for at in (row, row + MIDX_TOC_ROW))
    return begin, end


def midx_toc_row(data: bytes, name: bytes) -> int:
    for row in range(data[6]):
        at = MIDX_TOC + MIDX_TOC_ROW * row
        if data[at : at + 4] == name:
            return at
    raise AssertionError(f"no chunk {name!r}")


def midx_in_chunk(name: bytes, at: int, piece: bytes) -> Damage:
    return lambda data: replaced(midx_chunk(data, name)[0] + at, piece)(data)


def midx_renamed_chunk(name: bytes, other: bytes) -> Damage:
    return lambda data: replaced(midx_toc_row(data, name), other)(data)


def midx_swapped_oids(data: bytes) -> bytes:
    """The first two ids change places."""
    one = midx_chunk(data, b"OIDL")[0]
    two, end = one + SHA1_SIZE, one + 2 * SHA1_SIZE
    return data[:one] + data[two:end] + data[one:two] + data[end:]


def midx_swapped_names(data: bytes) -> bytes:
    begin, end = midx_chunk(data, b"PNAM")
    names = data[begin:end].split(b"\0")
    names[0], names[1] = names[1], names[0]
    return data[:begin] + b"\0".join(names) + data[end:]


# -- Files and folders


def rewrite(path: Path, damage: Damage) -> None:
    """Damage a file in place, also one that is read-only; its times stay."""
    times = path.stat()
    data = path.read_bytes()
    broken = damage(data)
    assert broken != data, "nothing was damaged"
    path.chmod(0o644)
    path.write_bytes(broken)
    path.chmod(stat.S_IMODE(times.st_mode))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def make_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def make_dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def photograph(repo: Path) -> dict[str, tuple[int, bytes]]:
    """Path -> (kind and mode, content or target) of all that is in a repository, but for gpa/."""
    seen = {}
    for folder, folders, files in os.walk(repo):
        for name in [*folders, *files]:
            path = Path(folder, name)
            mode = path.lstat().st_mode
            content = b""
            if stat.S_ISLNK(mode):
                content = os.readlink(os.fsencode(path))
            elif stat.S_ISREG(mode):
                content = path.read_bytes()
            seen[str(path.relative_to(repo))] = (mode, content)
        if Path(folder) == repo and "gpa" in folders:
            folders.remove("gpa")
            del seen["gpa"]
    return seen
