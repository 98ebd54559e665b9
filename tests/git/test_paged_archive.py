"""The API of the original library over its own files: real archives by the manifest, what pygit2 writes, and what an
independent reader finds in the pages afterwards.
"""

from __future__ import annotations

import mmap
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import archives as a
import pygit2
import pytest
from histories import HistorySpec, pushed_history
from oracle import all_objects, fsck, git, git_line
from pygit2.enums import FileMode, ObjectType
from test_archive_v1 import ARCHIVES, GIT_ARCHIVES, copy_of, names_of, packed, rows_of

from gpa_maint import fs, paged_archive
from gpa_maint.archive_v1 import expire_archive, export_archive, import_archive, repack_archive, verify_archive
from gpa_maint.archive_v1.tables import TAIL_PAGES
from gpa_maint.errors import GpaError, Locked
from gpa_maint.fs.archives import archive_space
from gpa_maint.paged_archive import (
    ArchiveLibIndexMaxSizeOverflowException,
    ArchiveLibItemNotFoundError,
    ArchiveRepository,
    PagedArchive,
    clone_repo_object,
    saving,
)

KINDS = {"commit": ObjectType.COMMIT, "tree": ObjectType.TREE, "blob": ObjectType.BLOB, "tag": ObjectType.TAG}
HAS_HEADERS = hasattr(pygit2.Odb, "read_header")  # older pygit2 asks for none
WHO = pygit2.Signature("A. U. Thor", "author@example.com", 1_700_000_000, 0)
VALUES = dict(a.blobs(120))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real archives; not to be changed."""
    return a.unpack(tmp_path_factory.mktemp("real"))


@pytest.fixture
def repo(tmp_path: Path) -> str:
    """A bare repository for the refs."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=trunk", "repo.git")
    return str(tmp_path / "repo.git")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "archive"
    path.mkdir()
    return path


def root(folder: Path) -> str:
    return f"{folder}/"


def set_all(archive: PagedArchive, values: dict[bytes, bytes]) -> None:
    for key, value in values.items():
        archive.set(key, value)


def some(first: int, end: int) -> dict[bytes, bytes]:
    return dict(list(VALUES.items())[first:end])


def in_child(work: Callable[[], bool]) -> bool:
    """What a forked process says."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            status = 0 if work() else 1
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# -- Real archives


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_value_of_a_real_archive_is_read_as_the_manifest_has_it(real: Path, name: str) -> None:
    archive = PagedArchive(root(real / name), names_of(name))
    keys = set()
    for row in rows_of(name):
        key = bytes.fromhex(row["key"])
        keys.add(key)
        content = archive.get(key)[4 if ARCHIVES[name]["kind"] == "git" else 0 :]
        assert (row["size"], row["sha256"]) == (len(content), a.sha256(content))
        assert content == archive[key][-len(content) or len(archive[key]) :]
        assert archive.has(key)
        assert key in archive
    assert sorted(keys) == list(archive)
    assert len(keys) == len(archive)
    assert OrderedDict.fromkeys(names_of(name), False) == archive.save()


@pytest.mark.parametrize("name", GIT_ARCHIVES)
def test_every_object_of_a_real_archive_is_read_through_pygit2(real: Path, repo: str, name: str) -> None:
    through = ArchiveRepository.from_path(repo, str(real / name), names_of(name))
    for row in rows_of(name):
        if HAS_HEADERS:
            assert (KINDS[row["type"]], row["size"]) == through.odb.read_header(row["key"])
        found = through[row["key"]]
        assert (KINDS[row["type"]], row["size"]) == (found.type, len(found.read_raw()))
        assert row["sha256"] == a.sha256(found.read_raw())
        assert row["key"] in through
    expected = sorted(row["key"] for row in rows_of(name))
    assert expected == [str(oid) for oid in through.odb] == [str(oid) for oid in through]
    assert pygit2.Repository in type(through).__mro__
    for ref, oid in packed(real / name).items():
        through.references.create(ref, oid)
        assert oid == str(through.references[ref].target)
    for commit in through.walk(through.references["refs/heads/main"].target):
        assert commit.tree.id in through


def test_opening_needs_no_permission_to_write_and_keeps_no_descriptor(real: Path, tmp_path: Path) -> None:
    copy = copy_of(real / "03-three-pages", tmp_path / "copy")
    for path in (*copy.iterdir(), copy):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = os.listdir("/proc/self/fd")
    archive = PagedArchive(root(copy))
    assert 5000 == len(archive)
    assert before == os.listdir("/proc/self/fd")
    copy.chmod(0o755)


def test_the_newest_page_wins_and_the_order_says_which_that_is(real: Path) -> None:
    names = names_of("06-newest-wins")
    newest, oldest = next(rows_of("06-newest-wins")), next(rows_of("06-newest-wins", "shadowed"))
    for order, row in ((names, newest), (names[::-1], oldest)):
        archive = PagedArchive(root(real / "06-newest-wins"), order)
        assert row["sha256"] == a.sha256(archive.get(bytes.fromhex(row["key"])))


# -- Keys, values, errors


def test_what_is_not_there_is_a_key_error_and_a_wrong_key_is_what_it_was(folder: Path) -> None:
    archive = PagedArchive(root(folder), [])
    assert bytes(20) not in archive
    for miss in (KeyError, GpaError, ArchiveLibItemNotFoundError):
        with pytest.raises(miss, match="no object 0000"):
            archive.get(bytes(20))
    for look in (archive.get, archive.has, archive.__contains__, archive.__getitem__):
        with pytest.raises(ValueError, match="a key has 20 bytes, not 3"):
            look(b"abc")
    with pytest.raises(KeyError):
        archive.set(b"abc", b"")
    with pytest.raises(TypeError):
        archive.set(bytes(20), None)  # type: ignore[arg-type]


def test_setting_a_key_that_is_there_changes_nothing(folder: Path) -> None:
    archive = PagedArchive(root(folder), [])
    key = bytes(range(20))
    archive[key] = b"first"
    archive[key] = b"second"
    assert b"first" == archive[key]
    (name,) = archive.save()
    archive[key] = b"third"
    assert {name: False} == archive.save()
    assert b"first" == PagedArchive(root(folder), [name])[key]


def test_a_folder_that_is_not_there_and_a_page_that_is_not_there_are_os_errors(folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        PagedArchive(root(folder / "none"), [])
    with pytest.raises(FileNotFoundError, match="97dfac0c"):
        PagedArchive(root(folder), ["97dfac0c-4662-4b41-931e-d116066a77e2"])


def test_a_value_for_which_no_page_has_room_is_refused(folder: Path) -> None:
    archive = PagedArchive(root(folder), [])
    huge = mmap.mmap(-1, (1 << 32) - 56024)
    with pytest.raises(OverflowError, match="a page has room for") as caught:
        archive.set(bytes(20), huge)  # type: ignore[arg-type]
    assert ArchiveLibIndexMaxSizeOverflowException is caught.type
    assert (0, 0) == archive.unsaved


def test_a_root_without_a_slash_is_the_beginning_of_the_names(folder: Path) -> None:
    """As the original joins them. Such a folder may be that of several archives: it gets no list."""
    for begin in ("one-", "other-"):
        archive = PagedArchive(f"{folder}/{begin}", [])
        set_all(archive, VALUES)
        (name,) = archive.save()
        archive[bytes(20)] = b"more"
        (newer,) = archive.save()
        assert {f"{begin}{name}", f"{begin}{newer}"} == {there for there in os.listdir(folder) if begin in there}
        assert {**VALUES, bytes(20): b"more"} == a.read_page(folder / f"{begin}{newer}")
        assert 121 == len(PagedArchive(f"{folder}/{begin}", [newer]))
    assert "pages" not in os.listdir(folder)


# -- save()


def test_a_save_gives_all_names_in_order_and_says_which_are_new(folder: Path) -> None:
    archive = PagedArchive(root(folder), [])
    values = dict(a.blobs(4500, size=10))
    set_all(archive, values)
    assert (4500, sum(map(len, values.values()))) == archive.unsaved
    first = archive.save()
    assert isinstance(first, OrderedDict)
    assert [True] * 3 == list(first.values())
    assert [2000, 2000, 500] == [len(a.read_page(folder / name)) for name in first]
    assert dict.fromkeys(first, False) == archive.save()
    archive[bytes(20)] = b"more"
    second = archive.save()
    assert [False, False, True] == list(second.values())
    assert list(first)[:2] == list(second)[:2]
    assert list(first)[2] not in second
    assert {**values, bytes(20): b"more"} == a.read_archive(folder, list(second)) == a.read_archive(folder)
    assert tuple(second) == archive.pages == tuple(a.read_list(folder))
    for name in second:
        assert 0o600 == stat.S_IMODE((folder / name).stat().st_mode)


def test_a_page_is_byte_for_byte_what_the_original_writes(folder: Path) -> None:
    archive = PagedArchive(root(folder), [])
    set_all(archive, VALUES)
    (name,) = archive.save()
    assert a.page_bytes(VALUES.items()) == (folder / name).read_bytes()
    more = dict(a.blobs(9, seed="more"))
    set_all(archive, more)
    (name,) = archive.save()
    assert a.page_bytes({**VALUES, **more}.items()) == (folder / name).read_bytes()


def test_a_new_archive_without_values_is_one_empty_page(folder: Path) -> None:
    archive = PagedArchive(root(folder), [])
    ((name, is_new),) = archive.save().items()
    assert is_new
    assert a.page_bytes(()) == (folder / name).read_bytes()
    assert {name: False} == archive.save()
    archive[bytes(20)] = b""
    ((name, is_new),) = archive.save().items()
    assert {bytes(20): b""} == a.read_page(folder / name)


@pytest.mark.parametrize("name", ARCHIVES)
def test_values_are_added_to_the_last_page_of_a_real_archive(real: Path, tmp_path: Path, name: str) -> None:
    copy = copy_of(real / name, tmp_path / "copy")
    old = a.read_archive(copy)
    with PagedArchive(root(copy), names_of(name)) as archive:
        set_all(archive, VALUES)
        names = list(archive.save())
    assert names_of(name)[:-1] == names[:-1]
    assert len(names_of(name)) == len(names)
    assert {**VALUES, **old} == a.read_archive(copy, names) == a.read_archive(copy)
    assert () == verify_archive(str(copy), raw=ARCHIVES[name]["kind"] == "raw").findings


def test_a_replaced_page_stays_until_the_save_after_and_what_is_left_over_expires(folder: Path) -> None:
    archive = PagedArchive(root(folder), [])
    names = []
    for number in range(4):
        set_all(archive, some(10 * number, 10 * number + 10))
        names.append(*archive.save())
        assert {*names[-2:], "pages"} == set(os.listdir(folder))
    assert () == verify_archive(str(folder)).strays
    assert (1, ()) == (expire_archive(str(folder)).waiting, expire_archive(str(folder)).deleted)
    assert (names[2],) == expire_archive(str(folder), grace_seconds=0).deleted
    assert {names[3], "pages"} == set(os.listdir(folder))
    assert some(0, 40) == a.read_archive(folder)
    assert 40 == len(PagedArchive(root(folder)))


def test_what_ended_programs_replaced_goes_after_an_hour_when_all_of_it_is_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values of any kind: each has to be given by the archive, byte for byte."""

    def save(number: int) -> None:
        archive = PagedArchive(root(folder), None if number else [])
        archive[bytes([number]) * 20] = b"raw %d" % number
        archive.save()

    for number in range(12):
        save(number)
    replaced = [line.split()[2] for line in (folder / "pages").read_text().splitlines() if line.startswith("#")]
    assert 11 == len(replaced)
    assert 13 == len(os.listdir(folder))
    assert () == verify_archive(str(folder), raw=True).strays
    (folder / replaced[0]).write_bytes(a.page_bytes([(b"k" * 20, b"of nobody else")]))
    (folder / replaced[1]).write_bytes(a.page_bytes([(bytes(20), b"another value")]))
    monkeypatch.setattr(saving, "GRACE_SECONDS", -1)
    for number in range(12, 15):
        save(number)
    latest = (folder / "pages").read_text().split()[-2]
    assert {*replaced[:2], latest, *a.read_list(folder), "pages"} == set(os.listdir(folder))
    result = expire_archive(str(folder), grace_seconds=0)
    assert {*replaced[:2]} == {name for name, _why in result.kept_back}
    assert {bytes([number]) * 20: b"raw %d" % number for number in range(15)} == a.read_archive(folder)


def test_a_caller_that_lost_the_answer_of_a_save_goes_on_with_the_list_it_has(folder: Path) -> None:
    first = PagedArchive(root(folder), [])
    set_all(first, some(0, 10))
    old = list(first.save())
    set_all(first, some(10, 20))
    first.save()
    again = PagedArchive(root(folder), old)
    assert some(0, 10) == {key: again[key] for key in again}
    set_all(again, some(20, 30))
    names = again.save()
    assert some(0, 30) == a.read_archive(folder, list(names)) == {key: again[key] for key in again}


def test_a_full_last_page_a_large_one_and_a_damaged_one_stay_what_they_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (full,) = a.make_archive(folder, a.blobs(2000, size=4, seed="full"))
    archive = PagedArchive(root(folder))
    archive[bytes(20)] = b"x" * 1000
    names = list(archive.save())
    assert full == names[0]
    monkeypatch.setattr(saving, "COPIED_BYTES", 999)
    archive[bytes(19) + b"1"] = b"y"
    names = list(archive.save())
    assert [2000, 1, 1] == [len(a.read_page(folder / name)) for name in names]
    with (folder / names[2]).open("r+b") as page:
        page.seek(24 + 20)
        page.write(b"\x7f")
    archive = PagedArchive(root(folder))
    archive[bytes(19) + b"2"] = b"z"
    *old, _new = archive.save()
    assert names == old


def test_what_is_not_saved_is_not_there_for_others_and_lost_with_the_archive(folder: Path) -> None:
    archive = PagedArchive(root(folder), [])
    set_all(archive, VALUES)
    assert VALUES == {key: archive[key] for key in archive}
    assert [] == os.listdir(folder)
    archive.close()
    with pytest.raises(ValueError, match="archive is closed"):
        archive.get(bytes(20))


# -- Through pygit2


def write_something(through: pygit2.Repository) -> pygit2.Oid:
    """A commit with a tree made by the index, and a tag of it."""
    names = {"deep/er/file": b"below\n", "empty": b"", "large": random.Random(1).randbytes(300_000)}
    index = pygit2.Index()
    for name, content in names.items():
        index.add(pygit2.IndexEntry(name, through.create_blob(content), FileMode.BLOB))
    tree = index.write_tree(through)
    builder = through.TreeBuilder(tree)
    builder.insert("link", through.create_blob(b"empty"), FileMode.LINK)
    commit = through.create_commit("refs/heads/trunk", WHO, WHO, "first\n", builder.write(), [])
    second = through.create_commit("refs/heads/trunk", WHO, WHO, "second\n", tree, [commit])
    return through.create_tag("v1", second, ObjectType.COMMIT, WHO, "a tag\n")


def test_what_pygit2_writes_lands_in_pages_and_git_agrees(folder: Path, repo: str, tmp_path: Path) -> None:
    through = ArchiveRepository.from_path(repo, str(folder), [])
    tag = write_something(through)
    archive = through.backend_archive
    assert 11 == archive.unsaved[0] == len(list(through.odb))
    assert b"second\n" == through[tag].get_object().message.encode()
    assert [] == [path for path in Path(repo, "objects").glob("??/*") if path.is_file()]
    names = list(archive.save())
    found = a.git_objects(a.read_archive(folder, names))
    assert found[str(tag)][0] == "tag"
    assert sorted(found) == [str(oid) for oid in through.odb]
    git(tmp_path, "init", "--quiet", "--bare", "imported.git")
    import_archive(str(folder), path=str(tmp_path / "imported.git"))
    assert sorted(found) == sorted(all_objects(tmp_path / "imported.git"))
    git(tmp_path / "imported.git", "update-ref", "refs/tags/v1", str(tag))
    fsck(tmp_path / "imported.git")
    again = ArchiveRepository(repo, PagedArchive(root(folder)))
    assert [str(oid) for oid in through.odb] == [str(oid) for oid in again.odb]
    assert again.diff("refs/heads/trunk~1", "refs/heads/trunk").stats.files_changed == 1


def test_writing_what_is_there_adds_nothing(folder: Path, repo: str) -> None:
    through = ArchiveRepository.from_path(repo, str(folder), [])
    write_something(through)
    through.backend_archive.save()
    write_something_again = through.create_blob(b"below\n")
    assert write_something_again in through
    assert (0, 0) == through.backend_archive.unsaved


def test_only_the_archive_is_read_not_the_objects_of_the_repository(folder: Path, repo: str) -> None:
    there = pygit2.Repository(repo).create_blob(b"loose\n")
    through = ArchiveRepository.from_path(repo, str(folder), [])
    assert there not in through
    with pytest.raises(KeyError):
        through[there]
    if HAS_HEADERS:
        with pytest.raises(KeyError):
            through.odb.read_header(there)


def test_an_id_may_be_cut_after_any_digit(folder: Path, repo: str) -> None:
    """The original ignored an odd digit, wanted at least six, and took the first of several."""
    archive = PagedArchive(root(folder), [])
    through = ArchiveRepository(repo, archive)
    set_all(archive, VALUES)
    oids = [key.hex() for key in VALUES]
    for is_saved in (False, True):
        if is_saved:
            archive.save()
        for oid in oids:
            for digits in (4, 5, 6, 7, 8, 9, 20, 39, 40):
                if [oid] == [one for one in oids if one.startswith(oid[:digits])]:
                    assert oid == str(through[oid[:digits]].id)
                    assert oid[:digits] in through
        gone = f"{oids[0][:38]}{'0' if oids[0][38] != '0' else '1'}"
        assert gone not in through
    first = oids[0]
    archive[bytes.fromhex(f"{first[:6]}{'0' if first[6] != '0' else '1'}{'0' * 33}")] = b"\3\0\0\0"
    assert first == str(through[first[:7]].id)
    with pytest.raises(ValueError, match="ambiguous"):
        through[first[:6]]


def test_a_repository_outlives_its_archive_and_both_may_go_in_any_order(real: Path, repo: str) -> None:
    def open_it() -> tuple[ArchiveRepository, PagedArchive]:
        archive = PagedArchive(root(real / "04-git"), names_of("04-git"))
        return ArchiveRepository(repo, archive), archive

    oid = next(rows_of("04-git"))["key"]
    through, archive = open_it()
    odb = through.odb
    archive.close()
    del archive
    assert oid in through
    del through
    assert oid in odb
    through, archive = open_it()
    del through
    assert bytes.fromhex(oid) in archive


def test_two_repositories_over_one_archive_see_what_the_other_wrote(folder: Path, repo: str) -> None:
    archive = PagedArchive(root(folder), [])
    one, other = ArchiveRepository(repo, archive), ArchiveRepository(repo, archive)
    oid = one.create_blob(b"shared")
    assert b"shared" == other[oid].data
    archive.save()
    assert b"shared" == other[oid].data


# -- clone_repo_object()


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pushed_history(tmp_path_factory.mktemp("history"), HistorySpec(pushes=8)).server


def test_one_object_is_copied_and_none_that_it_reaches(history: Path, folder: Path, repo: str) -> None:
    source = pygit2.Repository(str(history))
    target = ArchiveRepository.from_path(repo, str(folder), [])
    tip = git_line(history, "rev-parse", "main")
    with pytest.raises(KeyError):
        target[tip]
    clone_repo_object(source, target, tip)
    assert [tip] == [str(oid) for oid in target.odb]
    with pytest.raises((KeyError, pygit2.GitError)):
        _ = target[tip].tree
    with pytest.raises(KeyError):
        clone_repo_object(source, target, tip[::-1])


def test_an_object_is_copied_with_all_that_it_reaches_and_what_is_there_is_not_again(
    history: Path, folder: Path, repo: str
) -> None:
    source = pygit2.Repository(str(history))
    target = ArchiveRepository.from_path(repo, str(folder), [])
    tip = git_line(history, "rev-parse", "main")
    clone_repo_object(source, target, f"{tip}", reachable=True)
    reached = git(history, "rev-list", "--objects", "--no-object-names", tip).stdout.split()
    assert sorted(reached) == [str(oid) for oid in target.odb]
    target.backend_archive.save()
    clone_repo_object(source, target, tip, reachable=True)
    assert (0, 0) == target.backend_archive.unsaved


def test_a_long_history_is_copied_without_recursion(folder: Path, repo: str, tmp_path: Path) -> None:
    source = pygit2.init_repository(str(tmp_path / "long.git"), bare=True)
    tree = source.TreeBuilder().write()
    parents: list[pygit2.Oid] = []
    for number in range(3000):
        parents = [source.create_commit(None, WHO, WHO, f"{number}\n", tree, parents)]
    tag = source.create_tag("end", parents[0], ObjectType.COMMIT, WHO, "end\n")
    target = ArchiveRepository.from_path(repo, str(folder), [])
    clone_repo_object(source, target, str(tag), reachable=True)
    assert 3002 == len(target.backend_archive)
    assert 2 == len(target.backend_archive.save())


def test_the_commit_of_a_submodule_is_passed_over(folder: Path, repo: str, tmp_path: Path) -> None:
    source = pygit2.init_repository(str(tmp_path / "source.git"), bare=True)
    builder = source.TreeBuilder()
    builder.insert("module", "11" * 20, FileMode.COMMIT)
    tree = builder.write()
    target = ArchiveRepository.from_path(repo, str(folder), [])
    clone_repo_object(source, target, str(tree), reachable=True)
    assert [tree] == list(target.odb)


# -- Other verbs


def test_export_and_the_old_api_and_import_give_the_same_objects(history: Path, folder: Path, tmp_path: Path) -> None:
    export_archive(str(folder), path=str(history))
    through = ArchiveRepository.from_path(str(history), str(folder), None)
    assert sorted(all_objects(history)) == [str(oid) for oid in through.odb]
    new = through.create_blob(b"by the old api\n")
    through.backend_archive.save()
    git(tmp_path, "init", "--quiet", "--bare", "imported.git")
    import_archive(str(folder), path=str(tmp_path / "imported.git"))
    assert {*all_objects(history), str(new)} == set(all_objects(tmp_path / "imported.git"))


def test_an_archive_is_written_on_after_a_repack_with_its_index(folder: Path) -> None:
    values = dict(a.blobs(300, seed="repacked"))
    names = a.make_archive(folder, values.items(), page_values=20)
    old = PagedArchive(root(folder), names)
    repack_archive(str(folder))
    expire_archive(str(folder), grace_seconds=0)
    assert values == {key: old[key] for key in old}
    set_all(old, VALUES)
    assert 1 == len(old.save())
    again = PagedArchive(root(folder))
    assert {**values, **VALUES} == {key: again[key] for key in again} == a.read_archive(folder)
    repack_archive(str(folder))
    again[bytes(19) + b"1"] = b"\3\0\0\0last"
    names = list(again.save())
    assert {**values, **VALUES} == {key: a.read_archive(folder, names)[key] for key in {**values, **VALUES}}
    repack_archive(str(folder), raw=True)
    expire_archive(str(folder), grace_seconds=0)
    assert () == verify_archive(str(folder), raw=True).findings
    assert set(os.listdir(folder)) == {*a.read_list(folder), "pages", "combined-index-v1"}


def test_a_look_up_asks_no_more_tables_however_many_pages_there_are(folder: Path, tmp_path: Path) -> None:
    """What a look-up costs is that of one table or two: none of them asks the pages one after the other."""
    values = list(a.blobs(500, size=4))
    a.make_archive(folder, values, page_values=1)
    archive = PagedArchive(root(folder))
    assert 1 == len(archive._tables.lent(archive.pages))
    repack_archive(str(folder))
    many = shutil.copytree(folder, tmp_path / "many")
    later = a.make_archive(tmp_path / "later", a.blobs(3, seed="later"), page_values=1)
    for name in later:
        shutil.copy(tmp_path / "later" / name, many)
    a.write_list(many, [*a.read_list(folder), *later])
    archive = PagedArchive(root(many))
    assert 2 == len(archive._tables.lent(archive.pages))
    for number in range(2 * TAIL_PAGES + 2):
        set_all(archive, dict(a.blobs(2000, size=20, seed=f"{number}")))
        archive.save()
    assert 4 == len(archive._tables.lent(archive.pages))
    assert len(archive) == 500 + 3 + 2000 * (2 * TAIL_PAGES + 2)
    assert all(key in archive for key in archive)


# -- Several at once


def test_two_writers_in_one_folder_both_keep_what_they_saved(folder: Path) -> None:
    first = PagedArchive(root(folder), [])
    set_all(first, some(0, 10))
    names = list(first.save())
    second = PagedArchive(root(folder), names)
    set_all(first, some(10, 30))
    set_all(second, some(20, 50))
    ((_, is_new),) = first.save().items()
    assert is_new
    ((newest, is_new),) = second.save().items()
    assert is_new
    assert some(0, 50) == a.read_archive(folder, [newest]) == {key: second[key] for key in second}
    assert {*first.pages, newest, "pages"} <= set(os.listdir(folder))
    set_all(first, some(50, 51))
    assert some(0, 51) == a.read_archive(folder, list(first.save()))


def test_the_second_of_two_that_set_the_same_takes_over_what_is_there(folder: Path) -> None:
    first = PagedArchive(root(folder), [])
    set_all(first, some(0, 10))
    names = list(first.save())
    second = PagedArchive(root(folder), names)
    for archive in (first, second):
        set_all(archive, some(10, 20))
    mine = first.save()
    assert mine == second.save()
    assert (0, 0) == second.unsaved
    assert some(0, 20) == {key: second[key] for key in second}


def test_where_several_archives_share_a_folder_none_gets_a_list_and_a_lost_page_is_told(folder: Path) -> None:
    (foreign,) = a.make_archive(folder, some(100, 110).items(), seed="foreign")
    (folder / "pages").unlink()
    first = PagedArchive(root(folder), [])
    set_all(first, some(0, 10))
    names = list(first.save())
    second = PagedArchive(root(folder), names)
    for number in range(2):
        set_all(first, some(10 + number, 11 + number))
        first.save()
    set_all(second, some(20, 30))
    with pytest.raises(Locked, match="was replaced by another writer"):
        second.save()
    assert 10 == second.unsaved[0]
    assert some(0, 12) == a.read_archive(folder, first.pages)
    assert {foreign, *first.pages} <= set(os.listdir(folder))
    assert "pages" not in os.listdir(folder)


def test_a_list_of_another_archive_is_left_alone(folder: Path) -> None:
    names = a.make_archive(folder, some(0, 10).items())
    archive = PagedArchive(root(folder), [])
    set_all(archive, some(20, 30))
    (name,) = archive.save()
    assert names == a.read_list(folder)
    assert some(20, 30) == a.read_archive(folder, [name])


def test_a_list_that_was_left_behind_follows(folder: Path) -> None:
    """The original knows no list: what it made since is only in the list of the caller."""
    names = a.make_archive(folder, some(0, 20).items(), page_values=10)
    more = a.make_archive(folder, some(20, 30).items(), seed="more")
    a.write_list(folder, names)
    archive = PagedArchive(root(folder), [*names, *more])
    set_all(archive, some(30, 40))
    assert list(archive.save()) == a.read_list(folder)
    assert some(0, 40) == a.read_archive(folder)


def test_while_another_works_in_the_folder_a_save_waits_and_then_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = PagedArchive(root(folder), [])
    set_all(archive, VALUES)
    monkeypatch.setattr(saving, "ATTEMPTS", 3)
    with archive_space(str(folder)), pytest.raises(Locked, match="held by another process"):
        archive.save()
    monkeypatch.setattr(saving, "ATTEMPTS", 200)
    with archive_space(str(folder)) as space:
        timer = threading.Timer(0.2, space.remove_all)
        timer.start()
        saver = threading.Thread(target=archive.save)
        saver.start()
        timer.join()
        assert saver.is_alive()
    saver.join()
    assert VALUES == a.read_archive(folder)


def test_many_processes_write_at_once_and_nothing_is_lost(folder: Path) -> None:
    with PagedArchive(root(folder), []) as archive:
        archive[bytes(20)] = b"begin"
        names = list(archive.save())

    opened = [PagedArchive(root(folder), names) for _ in range(4)]

    def work(number: int) -> bool:
        mine = opened[number]
        for at in range(number * 30, number * 30 + 30, 5):
            set_all(mine, some(at, at + 5))
            mine.save()
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda number: in_child(partial(work, number)), range(4)))
    assert {bytes(20): b"begin", **VALUES} == a.read_archive(folder)


def test_threads_set_read_and_save_at_once(folder: Path, repo: str) -> None:
    archive = PagedArchive(root(folder), [])
    through = ArchiveRepository(repo, archive)
    values = dict(a.blobs(1200, size=30, seed="threads"))
    shares = [list(values.items())[at::6] for at in range(6)]
    failed: list[BaseException] = []

    def work(share: list[tuple[bytes, bytes]], number: int) -> None:
        try:
            for at, (key, value) in enumerate(share):
                if number % 2:
                    archive.set(key, value)
                else:
                    through.create_blob(value[4:])
                assert value == archive.get(key)
                if at % 50 == 49:
                    archive.save()
                    assert {*(key for key, _ in share[: at + 1])} <= {*archive}
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(share, number)) for number, share in enumerate(shares)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == failed
    archive.save()
    assert values == a.read_archive(folder) == {key: archive[key] for key in archive}


def test_a_forked_process_goes_on_with_what_waited_and_both_save(folder: Path, repo: str) -> None:
    archive = PagedArchive(root(folder), [])
    through = ArchiveRepository(repo, archive)
    archive.save()
    before = through.create_blob(b"before")
    busy = threading.Event()

    def read() -> None:
        while not busy.is_set():
            assert bytes.fromhex(str(before)) in archive

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()

    def work() -> bool:
        oid = through.create_blob(b"in the child")
        archive.save()
        return b"before" == through[before].data and oid in through

    for _ in range(5):
        assert in_child(work)
    busy.set()
    for reader in readers:
        reader.join()
    through.create_blob(b"in the parent")
    archive.save()
    found = a.git_objects(a.read_archive(folder))
    assert {b"before", b"in the child", b"in the parent"} == {content for _kind, content in found.values()}


def test_a_process_forked_during_a_save_can_save_and_holds_nothing_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = PagedArchive(root(folder), [])
    archive[bytes(20)] = b"begin"
    archive.save()
    inside, go_on = threading.Event(), threading.Event()

    def before_step(operation: str, _path: str) -> None:
        if operation == "fsync" and threading.current_thread() is saver:
            inside.set()
            go_on.wait(20)

    set_all(archive, some(0, 10))
    saver = threading.Thread(target=archive.save)
    monkeypatch.setattr(fs.door, "before_step", before_step)
    saver.start()
    assert inside.wait(20)
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.read(reading, 1)
        archive.save()
        os._exit(0)
    go_on.set()
    saver.join()
    archive[bytes(19) + b"1"] = b"the child has the descriptor, and the lock is free"
    archive.save()
    os.write(writing, b"x")
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(reading)
    os.close(writing)
    assert {*some(0, 10), bytes(20), bytes(19) + b"1"} == {*a.read_archive(folder)}


def test_any_order_of_setting_saving_and_opening_gives_what_was_set(folder: Path) -> None:
    """A dict beside it says what has to be there."""
    rng = random.Random("any order")
    expected: dict[bytes, bytes] = {}
    archive = PagedArchive(root(folder), [])
    waiting: dict[bytes, bytes] = {}
    for number in range(300):
        what = rng.choice(["set"] * 6 + ["save", "save", "open", "repack", "expire"])
        if what == "set":
            for _ in range(rng.choice([1, 3, 400])):
                key = rng.randbytes(2) * 10
                waiting.setdefault(key, rng.randbytes(rng.choice([0, 1, 50])))
                archive.set(key, waiting[key])
        elif what == "save":
            archive.save()
            expected = {**waiting, **expected}
            waiting = {}
        elif what == "open":
            archive, waiting = PagedArchive(root(folder), archive.pages if number % 2 and expected else None), {}
        elif expected and a.read_list(folder):
            repack_archive(str(folder), raw=True) if what == "repack" else expire_archive(str(folder), grace_seconds=0)
        assert len({**waiting, **expected}) == len(archive)
        for key in rng.sample(sorted(expected), min(20, len(expected))):
            assert expected[key] == archive[key]
    archive.save()
    assert {**waiting, **expected} == a.read_archive(folder) == {key: archive[key] for key in archive}


# -- The module


def test_what_is_public_is_there_and_nothing_else() -> None:
    assert all(getattr(paged_archive, name) is not None for name in paged_archive.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Backend'"):
        paged_archive.Backend  # noqa: B018


def test_values_need_no_pygit2(folder: Path) -> None:
    program = (
        "import sys; sys.modules['pygit2'] = None\n"
        "from gpa_maint.paged_archive import PagedArchive\n"
        f"archive = PagedArchive({root(folder)!r}, [])\n"
        "archive[bytes(20)] = b'x'; archive.save()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    assert {bytes(20): b"x"} == a.read_archive(folder)
