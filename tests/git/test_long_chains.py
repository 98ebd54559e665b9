"""Long chains of deltas: merging reads about as many entries as there are, however often a chain is cut."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from oracle import git
from packwriter import Entry, OfsDelta, Whole, add_pack, encode_delta, oid_hex

from gpa_maint import PageStore, commands
from gpa_maint._core.merge import Merge

DELTAS = 4095
BEGIN = b"The beginning of every version, which is always the same.\n"


def version(number: int) -> bytes:
    return BEGIN + b"version %d\n" % number


@pytest.mark.parametrize("index_version", [1, 2])
def test_cutting_a_long_chain_is_linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index_version: int) -> None:
    repo = tmp_path / "r.git"
    git(tmp_path, "init", "-q", "--bare", str(repo))
    git(repo, "config", "gpa.pageObjects", "10000")
    entries: list[Entry] = [Whole(kind="blob", content=version(0))]
    entries += [
        OfsDelta(base_index=number - 1, program=encode_delta(version(number - 1), version(number)))
        for number in range(1, DELTAS + 1)
    ]
    add_pack(repo, entries, index_version=2 if index_version == 2 else 1)
    add_pack(repo, [Whole(kind="blob", content=b"another")])
    read: list[int] = []
    prove = Merge.prove

    def count(self: Merge) -> None:
        prove(self)
        read.append(self.entries_read)

    monkeypatch.setattr(Merge, "prove", count)
    assert 2 == len(commands.repack(os.fspath(repo)).merged)
    assert 0 < read[0] <= 10 * DELTAS
    with PageStore.for_repository(repo) as store:
        for number in range(0, DELTAS + 1, 13):
            assert ("blob", version(number)) == store.read(oid_hex("blob", version(number)))


def test_all_that_stands_on_a_damaged_object_stays_and_is_named(tmp_path: Path) -> None:
    """Each delta of a chain is lost with its base, in whatever order their ids are."""
    repo = tmp_path / "r.git"
    git(tmp_path, "init", "-q", "--bare", str(repo))
    count = 300
    entries: list[Entry] = [Whole(kind="blob", content=version(0))]
    entries += [
        OfsDelta(base_index=number - 1, program=encode_delta(version(number - 1), version(number)))
        for number in range(1, count)
    ]
    name = add_pack(repo, entries)
    add_pack(repo, [Whole(kind="blob", content=b"another"), Whole(kind="blob", content=b"and one more")])
    add_pack(repo, [Whole(kind="blob", content=b"a third")])
    path = repo / "objects" / "pack" / f"{name}.pack"
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[30] ^= 1  # in the stream of the whole object
    path.write_bytes(content)
    done = commands.repack(os.fspath(repo))
    assert {oid_hex("blob", version(number)) for number in range(count)} == {left.oid for left in done.left_out}
    assert path.exists()
    assert 2 <= len(done.merged)
