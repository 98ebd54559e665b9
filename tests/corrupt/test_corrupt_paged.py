"""Damaged v1 pages through the API of the original: its own exceptions where it had one, pygit2's through a repository;
nothing ends the process, and no wrong bytes come out.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import archives as a
import pygit2
import pytest
from oracle import git
from packwriter import oid_hex
from test_corrupt_archive import ENTRIES, KEY, NOTHING_WRONG, PAGES, page_of

from gpa_maint import paged_archive
from gpa_maint.archive_v1 import repack_archive
from gpa_maint.archive_v1.listing import INDEX_NAME
from gpa_maint.errors import GpaError
from gpa_maint.paged_archive import ArchiveLibFileReadError, ArchiveRepository, PagedArchive

DAMAGED = a.manifest()["damaged"]

# Where the original's own is not in the manifest, since it read the values without looking at them.
GIT_ERRORS: dict[str, type[Exception]] = {
    "value-shorter-than-type": pygit2.GitError,
    "unknown-type": KeyError,
    "wrong-data-for-key": pygit2.GitError,
    "wrong-type": pygit2.GitError,
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real archives; not to be changed."""
    return a.unpack(tmp_path_factory.mktemp("real"))


@pytest.fixture
def repo(tmp_path: Path) -> str:
    git(tmp_path, "init", "--quiet", "--bare", "repo.git")
    return str(tmp_path / "repo.git")


def open_damaged(real: Path, name: str) -> PagedArchive:
    path = page_of(real / "damaged" / name)
    return PagedArchive(f"{path.parent}/", [path.name])


@pytest.mark.parametrize("name", PAGES)
def test_a_damaged_page_gives_the_error_that_the_original_gave(real: Path, name: str) -> None:
    fault, reason = PAGES[name]
    with pytest.raises(OSError, match=reason) as caught:
        open_damaged(real, name)
    assert DAMAGED[name]["original"]["open"] == type(caught.value).__name__
    assert isinstance(caught.value, GpaError)
    assert (fault, str(page_of(real / "damaged" / name))) == (caught.value.fault, caught.value.filename)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [*ENTRIES, *NOTHING_WRONG])
def test_a_value_is_what_the_original_gave_or_its_error(real: Path, name: str) -> None:
    archive = open_damaged(real, name)
    for key, told in DAMAGED[name]["original"].get("get", {}).items():
        words = told.split()
        if words[0] == "ok":
            assert words[1] == f"sha256:{a.sha256(archive.get(bytes.fromhex(key)))}"
            continue
        with pytest.raises(getattr(paged_archive, words[0])) as caught:
            archive.get(bytes.fromhex(key))
        if words[0] == "ArchiveLibItemNotFoundError":
            assert bytes.fromhex(key) not in archive
        else:
            assert ENTRIES[name][1] in str(caught.value)
            assert bytes.fromhex(key) in archive
    assert sorted(archive) == list(archive)


@pytest.mark.parametrize("name", GIT_ERRORS)
def test_a_damaged_object_is_an_error_of_pygit2_and_the_others_are_read(real: Path, repo: str, name: str) -> None:
    through = ArchiveRepository(repo, open_damaged(real, name))
    path = page_of(real / "damaged" / name)
    with pytest.raises(GIT_ERRORS[name]) as caught:
        through[KEY]
    if GIT_ERRORS[name] is pygit2.GitError:
        assert str(caught.value).endswith(f"corrupt '{path.name}': {ENTRIES[name][1]}")
    for oid in through.odb:
        if str(oid) != KEY:
            found = through[oid]
            assert str(oid) == str(found.id)


@pytest.mark.skipif(not hasattr(pygit2.Odb, "read_header"), reason="this pygit2 asks for no headers")
@pytest.mark.parametrize("name", ["value-shorter-than-type", "unknown-type"])
def test_a_header_of_a_damaged_object_is_an_error_too(real: Path, repo: str, name: str) -> None:
    through = ArchiveRepository(repo, open_damaged(real, name))
    with pytest.raises(GIT_ERRORS[name]):
        through.odb.read_header(KEY)


def test_types_of_the_other_byte_order_are_read(real: Path, repo: str) -> None:
    through = ArchiveRepository(repo, open_damaged(real, "big-endian-types"))
    expected = a.git_objects(a.read_page(page_of(real / "damaged" / "big-endian-types")), "big")
    assert sorted(expected) == [str(oid) for oid in through.odb]
    for oid, (_kind, content) in expected.items():
        assert content == through[oid].read_raw()


@pytest.mark.parametrize("name", GIT_ERRORS)
def test_a_damaged_object_is_passed_over_for_an_older_one_and_mended_by_writing_it(
    real: Path, repo: str, tmp_path: Path, name: str
) -> None:
    damaged = page_of(real / "damaged" / name)
    sound = next(
        (key, value)
        for folder in (real / "04-git", real / "05-git-resaved")
        for key, value in a.read_archive(folder).items()
        if key.hex() == KEY
    )
    older = a.make_archive(tmp_path / "archive", [sound], seed="older")
    shutil.copy(damaged, tmp_path / "archive")
    through = ArchiveRepository.from_path(repo, str(tmp_path / "archive"), [*older, damaged.name])
    assert sound[1][4:] == through[KEY].read_raw()
    alone = ArchiveRepository.from_path(repo, str(tmp_path / "archive"), [damaged.name])
    assert KEY == str(alone.create_blob(sound[1][4:]))
    assert 1 == alone.backend_archive.unsaved[0]
    assert sound[1][4:] == alone[KEY].read_raw()
    names = list(alone.backend_archive.save())
    assert damaged.name == names[0]
    again = ArchiveRepository.from_path(repo, str(tmp_path / "archive"), names)
    assert sound[1][4:] == again[KEY].read_raw()


def test_a_value_that_is_no_object_is_an_error_before_it_is_saved_too(tmp_path: Path, repo: str) -> None:
    archive = PagedArchive(f"{tmp_path}/", [])
    through = ArchiveRepository(repo, archive)
    archive[b"a" * 20] = b"\3\0\0"
    archive[b"b" * 20] = b"\x09\0\0\0x"
    archive[b"c" * 20] = b"\3\0\0\0" + b"not its id"
    for _ in range(2):
        with pytest.raises(pygit2.GitError, match="too short for an object's type"):
            through["61" * 20]
        with pytest.raises(KeyError):
            through["62" * 20]
        with pytest.raises(pygit2.GitError):
            through["63" * 20]
        archive.save()


def test_an_index_that_leads_astray_is_no_loss(real: Path, tmp_path: Path) -> None:
    """Whatever its bytes say: each value is that of its key, or there is none where the index knows it no more."""
    values = dict(a.blobs(90))
    names = a.make_archive(tmp_path / "archive", values.items(), page_values=30)
    repack_archive(str(tmp_path / "archive"))
    names = a.read_list(tmp_path / "archive")
    index = tmp_path / "archive" / INDEX_NAME
    sound = index.read_bytes()
    rng = random.Random("astray")
    for _ in range(150):
        damaged = bytearray(sound)
        for _ in range(rng.choice([1, 4])):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        index.write_bytes(damaged)
        with PagedArchive(f"{tmp_path}/archive/", names) as archive:
            for key, value in values.items():
                if key in archive:
                    assert value == archive[key]
            assert set(archive) <= {*values}


def test_any_bytes_changed_in_a_page_end_no_process_and_give_no_object_of_another_id(
    real: Path, repo: str, tmp_path: Path
) -> None:
    (tmp_path / "archive").mkdir()
    sound = page_of(real / "damaged" / "big-endian-types").read_bytes()
    rng = random.Random("pages")
    opened = 0
    for number in range(200):
        damaged = bytearray(sound)
        for _ in range(rng.choice([1, 3, 30])):
            damaged[rng.choice([rng.randrange(24), rng.randrange(24, 600), rng.randrange(56024, len(sound))])] ^= 1 << (
                rng.randrange(8)
            )
        name = f"{number:08x}-0000-4000-8000-000000000000"
        (tmp_path / "archive" / name).write_bytes(damaged)
        try:
            through = ArchiveRepository.from_path(repo, str(tmp_path / "archive"), [name])
        except OSError:
            continue
        opened += 1
        for oid in through.odb:
            try:
                found = through.odb.read(oid)
            except (KeyError, pygit2.GitError):
                continue
            kind = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}[int(found[0])]
            assert str(oid) == oid_hex(kind, found[1])  # type: ignore[arg-type]
    assert opened > 20


def test_a_page_that_is_no_file_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "97dfac0c-4662-4b41-931e-d116066a77e2").mkdir()
    with pytest.raises((OSError, GpaError)):
        PagedArchive(f"{tmp_path}/", ["97dfac0c-4662-4b41-931e-d116066a77e2"])
    os.mkfifo(tmp_path / "07dfac0c-4662-4b41-931e-d116066a77e2")
    with pytest.raises((OSError, GpaError)):
        PagedArchive(f"{tmp_path}/", ["07dfac0c-4662-4b41-931e-d116066a77e2"])


def test_a_page_whose_value_is_cut_off_is_not_written_on(real: Path, tmp_path: Path) -> None:
    path = page_of(real / "damaged" / "entry-size-past-end")
    shutil.copy(path, tmp_path)
    archive = PagedArchive(f"{tmp_path}/", [path.name])
    archive[bytes(20)] = b"new"
    first, second = archive.save()
    assert path.name == first
    assert {bytes(20): b"new"} == a.read_page(tmp_path / second)
    (key,) = DAMAGED["entry-size-past-end"]["original"]["get"]
    with pytest.raises(ArchiveLibFileReadError):
        archive.get(bytes.fromhex(key))
