"""A pack may hold an object twice: git index-pack accepts it, and its .idx then has equal neighbours."""

from __future__ import annotations

from pathlib import Path

import pytest
from oracle import all_objects, fsck, git, packs, verify_midx
from packwriter import OfsDelta, Whole, add_pack, encode_delta
from running import gpa

from gpa_maint import PageStore


def blob(number: int) -> Whole:
    return Whole(kind="blob", content=b"content of blob %d\n" % number)


@pytest.fixture(params=[(1, 2), (2, 2), (2, 3)], ids=lambda param: f"idx v{param[0]}, {param[1]} times")
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Four packs, each with two objects that stand in it several times, and some that other packs have too."""
    version, times = request.param
    made = tmp_path / "r.git"
    git(tmp_path, "init", "-q", "--bare", str(made))
    for pack in range(4):
        numbers = [*range(40 * pack, 40 * pack + 60), *[40 * pack + 7, 40 * pack + 30] * (times - 1)]
        add_pack(made, [blob(number) for number in numbers], index_version=version)
    return made


def test_write_repack_expire_and_run_take_such_a_pack(repo: Path) -> None:
    before = all_objects(repo)
    for verb in (["write"], ["run"], ["repack"], ["expire", "--grace=now"]):
        gpa(repo, *verb)
        verify_midx(repo)
        assert before == all_objects(repo)
    assert 1 == len(packs(repo))
    fsck(repo)


def test_verify_and_repair_find_nothing_wrong(repo: Path) -> None:
    gpa(repo, "write")
    assert "all is well" in gpa(repo, "verify", "--deep").stdout
    assert "no damage was found\n" == gpa(repo, "repair", "-n").stdout
    git(repo, "multi-pack-index", "repack")
    assert "all is well" in gpa(repo, "verify", "--deep").stdout


def test_an_index_that_git_wrote_over_such_packs_is_accepted(repo: Path) -> None:
    """git takes either copy, and complains about its own choice; each copy is the object."""
    git(repo, "multi-pack-index", "write")
    gpa(repo, "verify")
    gpa(repo, "repack")
    assert "deleted 4" in gpa(repo, "expire", "--grace=now").stdout


def test_a_store_and_cat_file_list_each_object_once(repo: Path) -> None:
    expected = sorted(all_objects(repo))
    with PageStore.for_repository(repo) as store:
        assert expected == [oid.hex() for oid in store]
        assert all(store.read(oid) for oid in expected)
    listed = gpa(repo, "cat-file", "--batch-check", "--batch-all-objects").stdout
    assert expected == [line.split()[0] for line in listed.splitlines()]


def test_a_delta_on_an_object_that_is_there_twice_is_merged(tmp_path: Path) -> None:
    repo = tmp_path / "r.git"
    git(tmp_path, "init", "-q", "--bare", str(repo))
    base = Whole(kind="blob", content=b"a base of some length that deltas stand on\n" * 20)
    target = base.content + b"and more\n"
    delta = OfsDelta(base_index=0, program=encode_delta(base.content, target))
    add_pack(repo, [base, blob(1), delta, base])
    add_pack(repo, [blob(2), blob(3)])
    before = all_objects(repo)
    gpa(repo, "repack")
    gpa(repo, "expire", "--grace=now")
    assert before == all_objects(repo)
