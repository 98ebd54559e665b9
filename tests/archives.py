"""v1 archives for tests: the real ones in tests/data/v1-pages.tar.gz, others made as the original made them, and a
reader of its own.

Written from tests/data/v1-pages.tar.gz:README.md alone; nothing here comes from gpa_maint.
"""

from __future__ import annotations

import functools
import hashlib
import json
import random
import struct
import tarfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from packwriter import KIND_CODES, Kind, oid_hex

DATA = Path(__file__).parent / "data" / "v1-pages.tar.gz"
CAPACITY = 2000
INDEX_START = 24
DATA_START = 56024
HEADER = struct.Struct(">6I")
ENTRY = struct.Struct(">20s2I")
KINDS = {code: kind for kind, code in KIND_CODES.items()}
Order = Literal["little", "big"]


# -- The real ones


def unpack(target: Path) -> Path:
    """The folder with all archives; those with several pages get their list, `pages`."""
    with tarfile.open(DATA) as tar:
        for member in filter(tarfile.TarInfo.isfile, tar):
            path = target / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_content(tar, member))
    folder = target / "v1-pages"
    for name, archive in manifest()["archives"].items():
        write_list(folder / name, [page["name"] for page in archive["pages"]])
    return folder


@functools.cache
def manifest() -> dict[str, Any]:
    with tarfile.open(DATA) as tar:
        found: dict[str, Any] = json.loads(_content(tar, "v1-pages/manifest.json"))
        return found


def _content(tar: tarfile.TarFile, member: str | tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    return file.read()


def write_list(folder: Path, names: Iterable[str]) -> Path:
    path = folder / "pages"
    path.write_text("".join(f"{name}\n" for name in names))
    return path


def read_list(folder: Path) -> list[str]:
    return [line for line in (folder / "pages").read_text().split("\n") if line and not line.startswith("#")]


# -- A reader


def read_page(path: Path) -> dict[bytes, bytes]:
    """Key -> value; AssertionError where the file is not just as the original writes it."""
    data = path.read_bytes()
    version, capacity, count, index_start, data_start, size = HEADER.unpack_from(data)
    assert (1, CAPACITY, INDEX_START, DATA_START) == (version, capacity, index_start, data_start)
    assert count <= CAPACITY
    assert DATA_START + size == len(data)
    entries = [ENTRY.unpack_from(data, INDEX_START + ENTRY.size * slot) for slot in range(count)]
    assert not any(data[INDEX_START + ENTRY.size * count : DATA_START])
    assert sorted(key[0] for key, _, _ in entries) == [key[0] for key, _, _ in entries]
    values: dict[bytes, bytes] = {}
    for key, offset, length in entries:
        assert offset + length <= size
        values.setdefault(key, data[DATA_START + offset : DATA_START + offset + length])
    assert sum(map(len, values.values())) == size
    return values


def read_archive(folder: Path, names: Sequence[str] | None = None) -> dict[bytes, bytes]:
    """All values of the listed pages, the newest page first."""
    values: dict[bytes, bytes] = {}
    for name in reversed(read_list(folder) if names is None else names):
        for key, value in read_page(folder / name).items():
            values.setdefault(key, value)
    return values


def git_objects(values: dict[bytes, bytes], order: Order = "little") -> dict[str, tuple[str, bytes]]:
    """Id (hex) -> type and content; AssertionError where the content has another id."""
    found = {}
    for key, value in values.items():
        kind, content = KINDS[int.from_bytes(value[:4], order)], value[4:]
        assert key.hex() == oid_hex(kind, content)
        found[key.hex()] = kind, content
    return found


# -- A writer, which does to files what the original does


@dataclass
class OldPage:
    """A page as the original writes it: values at once, header and index when it is saved."""

    folder: Path
    name: str
    items: list[tuple[bytes, int, int]]
    size: int = 0

    @classmethod
    def begin(cls, folder: Path, rng: random.Random) -> OldPage:
        page = cls(folder, new_name(rng), [])
        page.path.touch(0o600)
        return page

    @property
    def path(self) -> Path:
        return self.folder / self.name

    def set(self, key: bytes, value: bytes) -> None:
        with self.path.open("r+b") as file:
            file.seek(DATA_START + self.size)
            file.write(value)
        self.items.append((key, self.size, len(value)))
        self.size += len(value)

    def save(self, rng: random.Random, *, only_rename: bool = False) -> str:
        """The page's new name."""
        before = self.path
        self.name = new_name(rng)
        before.rename(self.path)
        if not only_rename:
            with self.path.open("r+b") as file:
                file.write(head_bytes(self.items, self.size))
        return self.name


def head_bytes(items: list[tuple[bytes, int, int]], size: int) -> bytes:
    """Header and index."""
    index = b"".join(ENTRY.pack(*item) for item in sorted(items, key=lambda item: item[0][0]))
    header = HEADER.pack(1, CAPACITY, len(items), INDEX_START, DATA_START, size)
    return (header + index).ljust(DATA_START, b"\0")


def page_bytes(values: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A saved page."""
    items: list[tuple[bytes, int, int]] = []
    data = b""
    for key, value in values:
        items.append((key, len(data), len(value)))
        data += value
    return head_bytes(items, len(data)) + data


def new_name(rng: random.Random) -> str:
    return str(uuid.UUID(bytes=rng.randbytes(16), version=4))


def object_value(kind: Kind, content: bytes, order: Order = "little") -> tuple[bytes, bytes]:
    """Key and value of a git object."""
    return bytes.fromhex(oid_hex(kind, content)), KIND_CODES[kind].to_bytes(4, order) + content


def blobs(count: int, *, size: int = 40, seed: str = "blobs") -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of so many different blobs of about `size` bytes."""
    rng = random.Random(seed)
    return (
        object_value("blob", b"%d %b\n" % (number, rng.randbytes(size // 2).hex().encode())) for number in range(count)
    )


def make_archive(
    folder: Path, values: Iterable[tuple[bytes, bytes]], *, page_values: int = CAPACITY, seed: str = "names"
) -> list[str]:
    """An archive of saved pages with `page_values` values each, and its list; gives the names, the newest last."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    waiting = list(values)
    names = []
    for at in range(0, len(waiting), page_values):
        names.append(new_name(rng))
        (folder / names[-1]).write_bytes(page_bytes(waiting[at : at + page_values]))
        (folder / names[-1]).chmod(0o600)
    write_list(folder, names)
    return names


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
