"""Pushes made to cost more than they are worth: many refs, and small deltas that make much. A run after them ends.

What is counted is work: entries read, bytes made, contents held at a time. docs/security.md states time and memory.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import damage as d
import pytest
from histories import HistorySpec, pushed_history
from oracle import git, pack_dir
from packwriter import Entry, OfsDelta, Whole, add_pack, copy_op, delta_size, insert_op, oid_hex, pack_bytes
from running import gpa

from gpa_maint import commands
from gpa_maint._core.base import Progress
from gpa_maint._core.format import IdxFiles, check_pack
from gpa_maint._core.merge import Merge, Proof

MIB = 1 << 20
COPY_MOST = (1 << 24) - 1
BUSY = 75


def content(number: int, size: int) -> bytes:
    """Zeros that begin with a number: what a delta of some twenty bytes makes."""
    return number.to_bytes(8, "big") + bytes(size - 8)


def step(number: int, size: int) -> bytes:
    """The program that makes content(number) from any other number's."""
    copies = (copy_op(at, min(COPY_MOST, size - at)) for at in range(8, size, COPY_MOST))
    return delta_size(size) + delta_size(size) + insert_op(number.to_bytes(8, "big")) + b"".join(copies)


def leaf(number: int, size: int) -> bytes:
    """The program that makes 8 bytes from a content."""
    return delta_size(size) + delta_size(8) + insert_op(number.to_bytes(8, "little"))


def chain(length: int, size: int, *, first: int = 0) -> list[Entry]:
    entries: list[Entry] = [Whole(kind="blob", content=content(first, size))]
    return entries + [
        OfsDelta(base_index=number - 1, program=step(first + number, size)) for number in range(1, length)
    ]


def with_leaves(length: int, size: int, leaves: int) -> list[Entry]:
    """A chain, and small objects that all stand on its end."""
    return chain(length, size) + [
        OfsDelta(base_index=length - 1, program=leaf(number, size)) for number in range(1, leaves + 1)
    ]


def packet(line: bytes) -> bytes:
    return b"%04x%b" % (len(line) + 4, line)


def push(repo: Path, refs: dict[str, str], entries: list[Entry]) -> None:
    """What git push sends, with a pack as no git makes it."""
    lines = [f"{'0' * 40} {oid} {name}".encode() for name, oid in refs.items()]
    lines[0] += b"\0report-status"
    sent = b"".join(packet(line) for line in lines) + b"0000" + pack_bytes(entries)
    told = subprocess.run(
        ["git", "-c", "receive.unpackLimit=1", "receive-pack", str(repo)], input=sent, capture_output=True, check=True
    )
    assert b"unpack ok" in told.stdout, told
    assert b"ng refs/" not in told.stdout and told.stdout.count(b"ok refs/") == len(refs)


def run(repo: Path, *, limit: int = 1 << 40) -> None:
    """`git gpa run` with so much address space, as soon as what the hook started has ended."""
    words = ["prlimit", f"--as={limit}", "git", "gpa", "run"]
    while (told := subprocess.run(words, cwd=repo, capture_output=True)).returncode == BUSY:
        time.sleep(0.1)
    assert (0, b"") == (told.returncode, told.stderr)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """Six pushes and the hook."""
    server = pushed_history(tmp_path, HistorySpec(pushes=6, files=8)).server
    for key, value in {"gpa.autoPages": "2", "gpa.autoRefs": "1", "gpa.expireGrace": "now"}.items():
        git(server, "config", key, value)
    gpa(server, "install")
    return server


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "--bare", "empty.git")
    return tmp_path / "empty.git"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many entries each merge read to make objects."""
    counts: list[int] = []
    prove = Merge.prove

    def count(self: Merge) -> None:
        prove(self)
        counts.append(self.entries_read)

    monkeypatch.setattr(Merge, "prove", count)
    yield counts


@pytest.mark.memory
@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_many_refs_in_one_push(repo: Path, count: int) -> None:
    blob = Whole(kind="blob", content=b"what all of them name")
    push(repo, {f"refs/tags/many/{number}": oid_hex("blob", blob.content) for number in range(count)}, [blob])
    run(repo)
    assert count <= len((repo / "packed-refs").read_text().splitlines())
    assert not (repo / "refs" / "tags" / "many").exists()


@pytest.mark.memory
@pytest.mark.parametrize(
    ("length", "size", "leaves"),
    [(20, 5 * MIB, 50), pytest.param(51, 5 * MIB, 100_000, marks=pytest.mark.slow)],
    ids=["small", "large"],
)
def test_a_push_of_small_deltas_that_make_much(repo: Path, length: int, size: int, leaves: int) -> None:
    git(repo, "config", "gpa.depth", str(length - 1))
    last = (leaves).to_bytes(8, "little")
    push(repo, {"refs/tags/bomb": oid_hex("blob", last)}, with_leaves(length, size, leaves))
    run(repo)
    gpa(repo, "verify")
    assert (
        last
        == subprocess.run(
            ["git", "cat-file", "blob", "refs/tags/bomb"], cwd=repo, capture_output=True, check=True
        ).stdout
    )


@pytest.mark.memory
def test_deltas_upon_deltas_of_16_mib_are_pushed_and_verified(repo: Path) -> None:
    size, length = 16 * MIB, 12
    push(repo, {"refs/tags/bomb": oid_hex("blob", content(length - 1, size))}, chain(length, size))
    run(repo, limit=1 << 29)
    told = subprocess.run(
        ["prlimit", f"--as={1 << 29}", "git", "gpa", "verify", "--deep"], cwd=repo, capture_output=True
    )
    assert (0, b"") == (told.returncode, told.stderr)


def test_small_objects_on_a_chain_of_large_ones_stay_deltas(empty: Path, read: list[int]) -> None:
    """To cut the chain of each would make the large ones again for each of them."""
    leaves = 400
    git(empty, "config", "gpa.depth", "9")
    add_pack(empty, with_leaves(10, 5 * MIB, leaves))
    add_pack(empty, [Whole(kind="blob", content=b"another")])
    assert 2 == len(commands.repack(os.fspath(empty)).merged)
    assert 0 < read[-1] < 2 * leaves
    git(empty, "fsck")


def test_a_chain_of_large_objects_is_proved_once(empty: Path, read: list[int]) -> None:
    """Larger than all that a proof keeps: the last one is kept all the same."""
    length, size = 8, 17 * MIB
    add_pack(empty, chain(length, size))
    reverse: list[Entry] = [Whole(kind="blob", content=content(length - 1, size), level=1)]
    reverse += [OfsDelta(base_index=at, program=step(length - 2 - at, size), level=0) for at in range(length - 1)]
    add_pack(empty, reverse)
    assert 2 == len(commands.repack(os.fspath(empty)).merged)
    assert length <= read[-1] <= 2 * length


def test_expire_makes_the_large_ones_of_a_chain_a_few_times(empty: Path) -> None:
    """A holder's pack that makes far more than was asked for is checked as a whole."""
    leaves, size = 400, 5 * MIB
    name = add_pack(empty, with_leaves(10, size, leaves))
    with IdxFiles(os.fspath(pack_dir(empty)), [name], "sha1") as idx, Proof(None, [idx[name]]) as proof:
        proof.holders(proof.begin(idx[name], ()), name)
        (span,) = proof.unchecked()
        assert {} == proof.check_copies(os.fspath(pack_dir(empty) / f"{name}.pack"), span, None)
        assert 0 < proof.bytes_made < 3 << 30 < leaves * 10 * size


@pytest.mark.memory
def test_verify_keeps_few_contents_of_a_family(empty: Path) -> None:
    """A chain whose every object has one delta more on it, which git's order has after the whole chain."""
    length, size = 220, MIB
    entries = chain(length, size)
    add_pack(empty, entries + [OfsDelta(base_index=at, program=leaf(at, size)) for at in range(length)])
    told = subprocess.run(
        ["prlimit", f"--as={256 * MIB}", "git", "gpa", "verify", "--deep"], cwd=empty, capture_output=True
    )
    assert (0, b"") == (told.returncode, told.stderr)


def test_a_cycle_of_many_objects_is_opened_in_bounded_steps(empty: Path, read: list[int]) -> None:
    """Two packs whose chains run against each other: every second object is smaller in the other one."""
    count, size = 2_000, 64
    git(empty, "config", "gpa.pageObjects", "10000")

    def entries(order: list[int], small: int) -> list[Entry]:
        made: list[Entry] = [Whole(kind="blob", content=content(order[0], size), level=0)]
        for at, number in enumerate(order[1:]):
            level = 9 if number % 2 == small else 0
            made.append(OfsDelta(base_index=at, program=step(number, size), level=level))
        return made

    add_pack(empty, entries(list(range(count)), 0))
    add_pack(empty, entries(list(reversed(range(count))), 1))
    assert 2 == len(commands.repack(os.fspath(empty)).merged)
    assert read[-1] <= 30 * count
    git(empty, "fsck")


def test_a_check_that_is_stopped_says_nothing_of_the_trailer(empty: Path) -> None:
    """It is not hashed to its end: that alone takes seconds for a large pack."""
    name = add_pack(empty, [Whole(kind="blob", content=b"one")])
    path = pack_dir(empty) / f"{name}.pack"
    path.chmod(0o644)
    path.write_bytes(d.flipped(path.stat().st_size - 30)(path.read_bytes()))
    with IdxFiles(os.fspath(pack_dir(empty)), [name], "sha1") as idx:
        found = []
        for is_stopped in (False, True):
            progress = Progress()
            if is_stopped:
                progress.stop()
            found.append(check_pack(os.fspath(path), idx[name], 1, progress))
        assert found[0] and not found[1]
