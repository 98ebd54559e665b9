"""Files that the disk has to read first, many of them at a time, say what they say when memory has them."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from histories import init_server
from oracle import all_objects, objects_dir, pack_dir
from packwriter import add_many_packs

from gpa_maint import PageStore, commands
from gpa_maint._core.format import idx_object_counts

PACKS = 150


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """More packs than are read at a time; none of their bytes are in memory, where the file system can forget them."""
    repo = init_server(tmp_path / "server")
    add_many_packs(repo, PACKS)
    for path in pack_dir(repo).iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return repo


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What other tests have not closed yet may lie between the free ones.
    free = [os.open("/", os.O_RDONLY) for _ in range(count)]
    for fd in free:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(free) + 1, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def names_of(repo: Path) -> list[str]:
    return sorted(path.stem for path in pack_dir(repo).glob("*.idx"))


def test_a_store_finds_every_object(server: Path) -> None:
    with PageStore.open(objects_dir(server)) as store:
        assert sorted(all_objects(server)) == [oid.hex() for oid in store]


def test_packs_are_merged(server: Path) -> None:
    before = all_objects(server)
    commands.repack(os.fspath(server))
    commands.expire(os.fspath(server), grace_seconds=0)
    assert before == all_objects(server)
    assert 1 == len(names_of(server))


def test_objects_are_counted_where_descriptors_are_few(server: Path) -> None:
    names = [*names_of(server), "pack-missing"]
    with descriptors_left(12):
        counts = idx_object_counts(os.fspath(pack_dir(server)), names, "sha1")
    assert [1] * PACKS + [None] == counts


def test_an_idx_that_is_cut_short_is_told_from_the_others(server: Path) -> None:
    names = names_of(server)
    os.truncate(pack_dir(server) / f"{names[70]}.idx", 900)
    counts = idx_object_counts(os.fspath(pack_dir(server)), names, "sha1")
    assert [None if number == 70 else 1 for number in range(PACKS)] == counts
