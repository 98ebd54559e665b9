"""A damaged loose object stays where it is and is named with the reason; all others go into the page.

Each row damages a small file, which goes through memory at once, and a large one, which is read in pieces.
"""

from __future__ import annotations

import os
import random
import socket
import zlib
from pathlib import Path

import damage as d
import pytest
from loose import MIB, loose_oids, loose_path, pack_all_loose, pack_planned, write_loose
from oracle import fsck, git, packed_objects, packs
from packwriter import oid_hex

from gpa_maint import fs

RANDOM = random.Random("loose").randbytes(3 * MIB)
CONTENTS = {"small": RANDOM[:1000], "large": RANDOM}


def deflated(header: bytes, content: bytes) -> bytes:
    return zlib.compress(header + content, 1)


def header(content: bytes, *, more: int = 0) -> bytes:
    return b"blob %d\0" % (len(content) + more)


# Name of the damage -> from the content, the file; what is said of it.
FILES = {
    "empty": (lambda content: b"", "names no type"),
    "one byte": (lambda content: b"\x78", "not a zlib stream"),
    "zeros": (lambda content: bytes(len(content)), "not a zlib stream"),
    "text": (lambda content: header(content) + content, "not a zlib stream"),
    "cut in the middle": (lambda content: d.truncated(-400)(deflated(header(content), content)), "does not inflate to"),
    "cut by a byte": (lambda content: d.truncated(-1)(deflated(header(content), content)), "does not inflate to"),
    "checksum of the stream": (
        lambda content: d.flipped(-1)(deflated(header(content), content)),
        "does not inflate to",
    ),
    "garbage behind": (lambda content: deflated(header(content), content) + b"x", "garbage after the loose object"),
    "a second stream behind": (
        lambda content: deflated(header(content), content) * 2,
        "garbage after the loose object",
    ),
    "much garbage behind": (
        lambda content: deflated(header(content), content) + bytes(2 * MIB),
        "garbage after the loose object",
    ),
    "another object": (lambda content: deflated(header(content), content[::-1]), "content has the id"),
    "one bit": (lambda content: deflated(header(content), d.flipped(-1, 1)(content)), "content has the id"),
    "another type": (
        lambda content: deflated(header(content).replace(b"blob", b"tree"), content),
        "content has the id",
    ),
    "unknown type": (lambda content: deflated(header(content).replace(b"blob", b"blub"), content), "names no type"),
    "no end of the header": (lambda content: deflated(b"blob 3", b"3" * len(content)), "names no type"),
    "no header": (lambda content: deflated(b"", b"x" + content), "names no type"),
    "size too small": (lambda content: deflated(header(content, more=-1), content), "does not inflate to"),
    "size too large": (lambda content: deflated(header(content, more=1), content), "does not inflate to"),
    "size of nothing": (lambda content: deflated(b"blob 0\0", content), "does not inflate to"),
    "size of a petabyte": (lambda content: deflated(b"blob 1125899906842624\0", content), "does not inflate to"),
    "size beyond 64 bits": (lambda content: deflated(b"blob 99999999999999999999\0", content), "bad size"),
    "size with a leading zero": (lambda content: deflated(b"blob 0%d\0" % len(content), content), "bad size"),
    "negative size": (lambda content: deflated(b"blob -1\0", content), "bad size"),
}


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Five sound loose objects, before and after others in the order of a page."""
    git(tmp_path, "init", "--quiet", "--bare", "repo")
    repo = tmp_path / "repo"
    for number in range(4):
        write_loose(repo / "objects", "blob", b"sound %d\n" % number)
    write_loose(repo / "objects", "blob", RANDOM[: 2 * MIB])
    return repo


def put_loose(repo: Path, oid: str, data: bytes) -> Path:
    path = loose_path(repo, oid)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("size", CONTENTS)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_loose_object_is_left_and_the_others_are_packed(repo: Path, name: str, size: str) -> None:
    make, says = FILES[name]
    content = CONTENTS[size]
    sound = loose_oids(repo)
    oid = oid_hex("blob", content)
    broken = make(content)
    path = put_loose(repo, oid, broken)
    os.utime(path, (1, 1))  # so it is not the last in the page
    result = pack_all_loose(repo)
    (left,) = result.left_out
    assert (str(path), oid) == (left.pack, left.oid)
    assert left.reason.startswith(f"corrupt '{path}'")
    assert says in left.reason
    assert (5, 5) == (result.object_count, result.removed_count)
    assert broken == path.read_bytes()
    assert {oid} == loose_oids(repo)
    assert sound == {entry.oid for pack in packs(repo) for entry in packed_objects(repo, pack)}
    path.unlink()
    fsck(repo)


@pytest.mark.parametrize("level", [0, -1])
def test_many_damaged_objects_cost_one_more_beginning(repo: Path, monkeypatch: pytest.MonkeyPatch, level: int) -> None:
    git(repo, "config", "core.compression", str(level))
    steps: list[tuple[str, str]] = []
    monkeypatch.setattr(fs.door, "before_step", lambda operation, path: steps.append((operation, path)))
    sound = loose_oids(repo)
    broken = {oid_hex("blob", b"broken %d" % number) for number in range(40)}
    for oid in broken:
        put_loose(repo, oid, deflated(b"blob 6\0", b"broken"))
    result = pack_all_loose(repo)
    assert broken == {left.oid for left in result.left_out} == loose_oids(repo)
    assert len(sound) == result.removed_count
    assert 2 == len([path for operation, path in steps if operation == "create" and path.endswith(".pack")])
    assert not list((repo / "gpa" / "tmp").iterdir())


def test_where_every_object_is_damaged_no_page_is_made(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "repo")
    repo = tmp_path / "repo"
    oids = {oid_hex("blob", b"%d" % number) for number in range(3)}
    for oid in oids:
        put_loose(repo, oid, b"")
    result = pack_all_loose(repo)
    assert ((), 0) == (result.pages, result.object_count)
    assert "no loose object that can be packed" in result.reason
    assert oids == {left.oid for left in result.left_out} == loose_oids(repo)
    assert {} == packs(repo)


def test_a_file_that_cannot_be_read_is_left_and_the_others_are_packed(
    repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket in the place of a loose object: opening it fails, as it does without permission."""
    oid = oid_hex("blob", b"unreadable")
    path = put_loose(repo, oid, b"x")
    path.unlink()
    monkeypatch.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as plug:
        plug.bind(path.name)
    plan = sorted({*loose_oids(repo), oid})
    result = pack_planned(repo, plan)
    assert [oid] == [left.oid for left in result.left_out]
    assert f"cannot open '{path}'" in result.left_out[0].reason
    assert 5 == result.removed_count
