"""Archives of v1 pages: read as the original reads them, imported into repositories that git judges, written so that an
independent reader reads them, and maintained as they are.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import archives as a
import pytest
from histories import HistorySpec, pushed_history
from oracle import all_objects, content_digest, fsck, git, git_line, pack_dir, packed_objects, packs, refs, verify_midx
from packwriter import oid_hex
from running import gpa, gpa_any

from gpa_maint import archive_v1, fs
from gpa_maint._core.v1 import PageFileWriter
from gpa_maint.archive_v1 import (
    Archive,
    expire_archive,
    export_archive,
    import_archive,
    plan_repack_archive_of,
    repack_archive,
    verify_archive,
)
from gpa_maint.archive_v1.indexing import OBJECTS, KnownPages, index_over
from gpa_maint.archive_v1.listing import INDEX_NAME, BadList
from gpa_maint.errors import DamagedArchive, GpaError, Locked, ObjectMissing, StalePlan, Unsupported

ARCHIVES = a.manifest()["archives"]
GIT_ARCHIVES = [name for name, archive in ARCHIVES.items() if archive["kind"] == "git"]
SOUND_BUT_ODD = ["big-endian-types", "unsorted-first-bytes", "trailing-bytes", "crash-before-second-save"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real archives; not to be changed."""
    return a.unpack(tmp_path_factory.mktemp("real"))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """An empty bare repository."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=trunk", "repo.git")
    return tmp_path / "repo.git"


def names_of(name: str) -> list[str]:
    return [page["name"] for page in ARCHIVES[name]["pages"]]


def rows_of(name: str, what: str = "objects") -> Iterator[dict[str, Any]]:
    return (dict(zip(a.manifest()["object_columns"], row, strict=True)) for row in ARCHIVES[name][what])


def new_blob(repo: Path) -> str:
    """The id of a blob that nothing refers to."""
    return git(repo, "hash-object", "-w", "--stdin", input=b"new\n").stdout.strip()


def copy_of(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    for path in (target, *target.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return target


def packed(folder: Path) -> dict[str, str]:
    """Ref -> id in its packed-refs file."""
    lines = (folder / "packed-refs").read_text().splitlines()
    return {line.split()[1]: line.split()[0] for line in lines if line[0] not in "#^"}


# -- Reading


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_object_of_a_real_archive_is_read_as_the_manifest_has_it(real: Path, name: str) -> None:
    with Archive(real / name, names_of(name)) as archive:
        keys = set()
        for row in rows_of(name):
            key = bytes.fromhex(row["key"])
            keys.add(key)
            if ARCHIVES[name]["kind"] == "git":
                kind, content = archive.read(key)
                assert (row["type"], row["size"], row["sha256"]) == (kind, len(content), a.sha256(content))
                content = archive.get(key)[4:]
            else:
                content = archive.get(key)
            assert (row["size"], row["sha256"]) == (len(content), a.sha256(content))
            entry = archive.find(key)
            assert entry is not None
            assert row["page"] == entry.page
        assert sorted(keys) == list(archive)
        assert len(keys) == len(archive)


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_real_archive_has_nothing_wrong(real: Path, name: str) -> None:
    result = verify_archive(str(real / name), raw=ARCHIVES[name]["kind"] == "raw")
    shadowed = len(ARCHIVES[name].get("shadowed", ()))
    assert ((), (), shadowed) == (result.findings, result.unindexed, result.shadowed)
    assert len(ARCHIVES[name]["objects"]) + shadowed == result.objects


def test_reading_needs_no_permission_to_write_and_keeps_no_descriptor(real: Path, tmp_path: Path) -> None:
    folder = copy_of(real / "04-git", tmp_path / "archive")
    for path in (*folder.iterdir(), folder):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = len(os.listdir("/proc/self/fd"))
    with Archive(folder) as archive:
        assert all(archive.read(key) for key in archive)
        assert before == len(os.listdir("/proc/self/fd"))
    folder.chmod(0o755)


def test_the_newest_page_wins_and_the_order_of_the_list_says_which_that_is(real: Path) -> None:
    names = names_of("06-newest-wins")
    key = bytes.fromhex(ARCHIVES["06-newest-wins"]["shadowed"][0][0])
    newest, oldest = next(rows_of("06-newest-wins")), next(rows_of("06-newest-wins", "shadowed"))
    assert newest["key"] == oldest["key"]
    for order, row in ((names, newest), (names[::-1], oldest)):
        with Archive(real / "06-newest-wins", order) as archive:
            assert row["sha256"] == a.sha256(archive.get(key))


def test_what_is_not_there_is_missing(real: Path) -> None:
    with Archive(real / "02-few") as archive:
        assert bytes(20) not in archive
        with pytest.raises(ObjectMissing, match="no object 0000"):
            archive.get(bytes(20))
        with pytest.raises(ValueError, match="a key has 20 bytes, not 3"):
            archive.get(b"abc")


def test_all_keys_that_begin_alike_are_found_not_only_the_first(real: Path) -> None:
    with Archive(real / "02-few") as archive:
        alike = [key for key in archive if key.startswith(bytes.fromhex("abcdef"))]
        assert 4 == len(alike)
        assert alike == archive.beginning(bytes.fromhex("abcdef"))
        assert alike[:2] == archive.beginning(bytes.fromhex("abcdef"), 2)
        assert [] == archive.beginning(bytes.fromhex("abcdee"))
        assert list(archive) == archive.beginning(b"")


@pytest.mark.parametrize("name", SOUND_BUT_ODD)
def test_what_the_original_reads_is_read(real: Path, name: str) -> None:
    facts = a.manifest()["damaged"][name]
    with Archive(real / "damaged" / name) as archive:
        for key, answer in facts["original"]["get"].items():
            if answer.startswith("ok sha256:"):
                assert answer == f"ok sha256:{a.sha256(archive.get(bytes.fromhex(key)))}"
            else:
                assert bytes.fromhex(key) not in archive


def test_types_of_either_byte_order_are_read(real: Path) -> None:
    with Archive(real / "damaged" / "big-endian-types") as big, Archive(real / "04-git") as little:
        assert 0 < len(big)
        assert all(little.read(key) == big.read(key) for key in big)


# -- Which pages there are


def test_a_list_has_to_name_pages_and_each_once(tmp_path: Path) -> None:
    names = a.make_archive(tmp_path, a.blobs(4), page_values=2)
    for bad, says in ((["../x"], "names '../x', which is not"), ([names[0]] * 2, "twice"), (["pages"], "not the name")):
        a.write_list(tmp_path, bad)
        with pytest.raises(BadList, match=says):
            Archive(tmp_path)
    with pytest.raises(GpaError, match="list of pages 'nowhere' does not exist"):
        verify_archive(str(tmp_path), pages_file="nowhere")
    with pytest.raises(GpaError, match="is not a directory"):
        verify_archive(str(tmp_path / "nowhere"))


def test_without_a_list_the_pages_are_in_the_order_in_which_they_were_written(tmp_path: Path) -> None:
    names = a.make_archive(tmp_path, a.blobs(6), page_values=2)
    (tmp_path / "pages").unlink()
    (tmp_path / "HEAD").write_text("no page\n")
    for number, name in enumerate([names[2], names[0], names[1]]):
        os.utime(tmp_path / name, (number, number))
    assert (names[2], names[0], names[1]) == Archive(tmp_path).pages


def test_a_folder_without_pages_is_no_archive(tmp_path: Path, repo: Path) -> None:
    with pytest.raises(GpaError, match="there is no page in"):
        import_archive(str(tmp_path), path=str(repo))


# -- Import


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("name", GIT_ARCHIVES)
def test_an_imported_archive_is_a_repository_git_is_content_with(
    real: Path, repo: Path, name: str, delta: bool
) -> None:
    result = import_archive(str(real / name), refs_file=str(real / name / "packed-refs"), delta=delta, path=str(repo))
    expected = {row["key"]: (row["type"], row["size"], row["sha256"]) for row in rows_of(name)}
    assert expected == all_objects(repo)
    assert (49, 0, ()) == (result.imported, result.present, result.findings)
    assert fsck(repo) == ""
    verify_midx(repo)
    wanted = packed(real / name)
    assert wanted == refs(repo)
    assert sorted(wanted) == sorted(result.refs)
    assert "refs/heads/main" == git_line(repo, "symbolic-ref", "HEAD")
    deltas = [entry for pack in packs(repo) for entry in packed_objects(repo, pack) if entry.depth]
    assert bool(deltas) == delta
    assert [] == list((repo / "gpa" / "tmp").iterdir())


def test_a_second_import_has_nothing_to_do_and_writes_nothing(real: Path, repo: Path) -> None:
    import_archive(str(real / "04-git"), path=str(repo))
    before = sorted((path, path.stat().st_mtime_ns) for path in (repo / "objects").rglob("*"))
    result = import_archive(str(real / "04-git"), path=str(repo))
    assert (0, 49, ()) == (result.imported, result.present, result.pages)
    assert before == sorted((path, path.stat().st_mtime_ns) for path in (repo / "objects").rglob("*"))


def test_what_the_repository_has_is_not_imported_again(real: Path, repo: Path) -> None:
    names = names_of("04-git")
    only_old = real.parent / "only-old"
    only_old.write_text(names[0] + "\n")
    first = import_archive(str(real / "04-git"), pages_file=str(only_old), path=str(repo))
    second = import_archive(str(real / "04-git"), path=str(repo))
    assert (30, 19, 30) == (first.imported, second.imported, second.present)
    assert [19] == [page.object_count for page in second.pages]
    assert (names[1],) == first.strays
    fsck(repo)


def test_a_dry_run_says_the_same_and_changes_nothing(real: Path, repo: Path) -> None:
    before = sorted(repo.rglob("*"))
    planned = import_archive(str(real / "04-git"), dry_run=True, path=str(repo))
    assert before == sorted(repo.rglob("*"))
    done = import_archive(str(real / "04-git"), path=str(repo))
    assert planned == done._replace(pages=(), page_bytes=0, midx=None, dry_run=True)


def test_pages_are_as_large_as_the_settings_say_and_hold_what_was_stored_together(tmp_path: Path, repo: Path) -> None:
    values = list(a.blobs(50))
    a.make_archive(tmp_path / "archive", values, page_values=15)
    git(repo, "config", "gpa.pageObjects", "20")
    result = import_archive(str(tmp_path / "archive"), path=str(repo))
    assert [20, 20, 10] == [page.object_count for page in result.pages]
    for number, page in enumerate(result.pages):
        held = {entry.oid for entry in packed_objects(repo, page.name)}
        assert {key.hex() for key, _ in values[20 * number : 20 * number + 20]} == held


def test_a_page_is_closed_before_it_grows_too_large_and_a_large_object_stands_alone(tmp_path: Path, repo: Path) -> None:
    rng = random.Random("large")
    sizes = [300, 300, 300, 5000, 300, 300]
    a.make_archive(tmp_path / "archive", [a.object_value("blob", rng.randbytes(size)) for size in sizes])
    git(repo, "config", "gpa.pageBytes", "800")
    result = import_archive(str(tmp_path / "archive"), path=str(repo))
    assert [2, 1, 1, 2] == [page.object_count for page in result.pages]
    assert all(page.size < 800 or page.object_count == 1 for page in result.pages)


def test_an_import_that_is_stopped_between_two_pages_goes_on_there(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.make_archive(tmp_path / "archive", a.blobs(60))
    git(repo, "config", "gpa.pageObjects", "20")
    made = []

    def fail_at_third(operation: str, path: str) -> None:
        if operation == "create" and path.endswith(".pack"):
            made.append(path)
            if len(made) == 3:
                raise OSError(28, "No space left on device", path)

    monkeypatch.setattr(fs.door, "before_step", fail_at_third)
    with pytest.raises(OSError, match="No space left"):
        import_archive(str(tmp_path / "archive"), path=str(repo))
    monkeypatch.setattr(fs.door, "before_step", None)
    assert 40 == len(all_objects(repo))
    result = import_archive(str(tmp_path / "archive"), path=str(repo))
    assert (20, 40) == (result.imported, result.present)
    assert 60 == len(all_objects(repo))


def test_refs_that_are_there_stay_and_those_without_object_are_not_made(real: Path, repo: Path, tmp_path: Path) -> None:
    tree = git_line(repo, "mktree")
    commit = git_line(repo, "commit-tree", "-m", "mine", tree)
    git(repo, "update-ref", "refs/heads/topic", commit)
    refs_file = tmp_path / "packed-refs"
    text = (real / "04-git" / "packed-refs").read_text()
    refs_file.write_text(f"{text}{'12' * 20} refs/heads/gone\n{commit} refs/heads/bad..name\n")
    result = import_archive(str(real / "04-git"), refs_file=str(refs_file), path=str(repo))
    assert commit == refs(repo)["refs/heads/topic"]
    left = sorted(line.split(":")[0] for line in result.refs_left)
    assert ["refs/heads/bad..name", "refs/heads/gone", "refs/heads/topic"] == left
    assert 6 == len(result.refs)
    assert "refs/heads/trunk" == git_line(repo, "symbolic-ref", "HEAD")  # no HEAD lies beside that file
    with pytest.raises(GpaError, match="is not a packed-refs file: 'nonsense'"):
        (tmp_path / "nonsense").write_text("nonsense\n")
        import_archive(str(real / "04-git"), refs_file=str(tmp_path / "nonsense"), path=str(repo))


def test_a_sha256_repository_is_refused(real: Path, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha256", "repo.git")
    with pytest.raises(Unsupported, match="holds SHA-1 objects"):
        import_archive(str(real / "04-git"), path=str(tmp_path / "repo.git"))


# -- Export


def test_an_export_of_an_import_is_the_archive_again_for_an_independent_reader(
    real: Path, repo: Path, tmp_path: Path
) -> None:
    folder = real / "04-git"
    import_archive(str(folder), refs_file=str(folder / "packed-refs"), path=str(repo))
    out = tmp_path / "out"
    result = export_archive(str(out), refs_file=str(tmp_path / "packed-refs"), path=str(repo))
    assert (49, 7) == (result.objects, result.refs)
    assert a.git_objects(a.read_archive(folder, names_of("04-git"))) == a.git_objects(a.read_archive(out))
    assert {0o600} == {stat.S_IMODE((out / page.name).stat().st_mode) for page in result.pages}
    assert sorted(["pages", *(page.name for page in result.pages)]) == sorted(os.listdir(out))
    assert packed(folder) == packed(tmp_path)
    again = tmp_path / "again.git"
    git(tmp_path, "init", "--quiet", "--bare", again)
    import_archive(str(out), refs_file=str(tmp_path / "packed-refs"), path=str(again))
    assert content_digest(repo) == content_digest(again)
    assert refs(repo) == refs(again)
    fsck(again)


@pytest.mark.parametrize("name", ["02-few", "03-three-pages", "04-git", "05-git-resaved"])
def test_a_page_written_here_is_the_original_s_byte_for_byte(real: Path, tmp_path: Path, name: str) -> None:
    """Of the same values in the order in which they were set."""
    for number, page in enumerate(names_of(name)):
        with Archive(real / name, [page]) as archive, (tmp_path / f"{number}").open("w+b") as file:
            entries = sorted((archive.find(key) for key in archive), key=lambda entry: (entry.offset, entry.size))  # type: ignore[union-attr]
            with PageFileWriter(file.fileno(), "page") as writer:
                for entry in entries:
                    assert entry is not None
                    writer.add(entry.key, "", archive.get(entry.key))
                writer.finish()
        assert (real / name / page).read_bytes() == (tmp_path / f"{number}").read_bytes()


def test_what_revisions_reach_is_exported_and_nothing_else(tmp_path: Path, repo: Path, real: Path) -> None:
    import_archive(str(real / "04-git"), refs_file=str(real / "04-git" / "packed-refs"), path=str(repo))
    blob = new_blob(repo)
    for revs, options, says in (
        (["main~2"], {}, ["main~2"]),
        (["main", "^topic"], {}, ["main", "^topic"]),
        ([], {"all_refs": True}, ["--all"]),
    ):
        out = tmp_path / "-".join(["out", *says])
        export_archive(str(out), revs, path=str(repo), refs_file=str(out) + ".refs", **options)
        reached = git(repo, "rev-list", "--objects", "--no-object-names", *says).stdout.split()
        assert sorted(reached) == sorted(a.git_objects(a.read_archive(out)))
        assert blob not in reached
        exported = {line.split()[1] for line in Path(str(out) + ".refs").read_text().splitlines()[1:]}
        assert {ref for ref, oid in refs(repo).items() if oid in reached} == exported
    for bad in ("--not", "nowhere"):
        with pytest.raises(GpaError, match=bad):
            export_archive(str(tmp_path / "bad"), [bad], path=str(repo))


def test_a_second_export_adds_only_what_is_new(tmp_path: Path, repo: Path, real: Path) -> None:
    import_archive(str(real / "04-git"), path=str(repo))
    out = tmp_path / "out"
    (first,) = export_archive(str(out), path=str(repo)).pages
    unchanged = (out / "pages").stat().st_mtime_ns
    result = export_archive(str(out), path=str(repo))
    assert ((), 49, unchanged) == (result.pages, result.present, (out / "pages").stat().st_mtime_ns)
    blob = new_blob(repo)
    (second,) = export_archive(str(out), path=str(repo)).pages
    assert [first.name, second.name] == a.read_list(out)
    assert [blob] == list(a.git_objects(a.read_page(out / second.name)))


def test_objects_of_any_size_are_exported(tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpa_maint.archive_v1.exporting.AT_ONCE_BYTES", 1000)
    monkeypatch.setattr("gpa_maint.archive_v1.exporting.PIECE", 300)
    for size in (0, 1, 10, 999, 1000, 1001, 2999, 3000, 3001):
        git(repo, "hash-object", "-w", "--stdin", input=random.Random(size).randbytes(size))
    export_archive(str(tmp_path / "out"), path=str(repo))
    found = a.git_objects(a.read_archive(tmp_path / "out"))
    assert all_objects(repo) == {oid: (kind, len(data), a.sha256(data)) for oid, (kind, data) in found.items()}


def test_no_archive_gets_pages_without_a_list_that_names_the_old_ones(tmp_path: Path, repo: Path) -> None:
    a.make_archive(tmp_path / "archive", a.blobs(3))
    (tmp_path / "archive" / "pages").rename(tmp_path / "list")
    with pytest.raises(GpaError, match="no list says which"):
        export_archive(str(tmp_path / "archive"), path=str(repo))
    with pytest.raises(GpaError, match="does not name"):
        export_archive(str(tmp_path / "archive"), pages_file=str(tmp_path / "new"), path=str(repo))
    new_blob(repo)
    export_archive(str(tmp_path / "archive"), pages_file=str(tmp_path / "list"), path=str(repo))
    assert 2 == len((tmp_path / "list").read_text().split())


def round_trip(tmp_path: Path, repo: Path, count: int) -> None:
    """A generated archive through a repository into another archive."""
    values = dict(a.blobs(count))
    a.make_archive(tmp_path / "archive", values.items())
    result = import_archive(str(tmp_path / "archive"), path=str(repo))
    assert count == result.imported
    assert -(-count // 2000) == len(result.pages) == len(packs(repo))
    assert {2000} == {page.object_count for page in result.pages[:-1]}
    verify_midx(repo)
    export_archive(str(tmp_path / "out"), path=str(repo))
    assert values == a.read_archive(tmp_path / "out")


def test_an_archive_of_5000_objects_comes_back_as_it_was(tmp_path: Path, repo: Path) -> None:
    round_trip(tmp_path, repo, 5000)


def test_an_archive_of_100000_objects_comes_back_as_it_was(tmp_path: Path, repo: Path) -> None:
    round_trip(tmp_path, repo, 100_000)
    fsck(repo)


def test_a_history_with_deltas_comes_back_as_it_was(tmp_path: Path) -> None:
    history = pushed_history(tmp_path, HistorySpec(pushes=12, files=8))
    export_archive(str(tmp_path / "out"), all_refs=True, path=str(history.server))
    copy = tmp_path / "copy.git"
    git(tmp_path, "init", "--quiet", "--bare", copy)
    import_archive(str(tmp_path / "out"), delta=True, path=str(copy))
    reached = git(history.server, "rev-list", "--objects", "--no-object-names", "--all").stdout.split()
    there = all_objects(history.server)
    assert {oid: there[oid] for oid in reached} == all_objects(copy)


# -- Repack


def small_archive(folder: Path, *, pages: int = 5, values: int = 30) -> dict[bytes, bytes]:
    """An archive of small pages; gives its values."""
    made = dict(a.blobs(pages * values))
    a.make_archive(folder, made.items(), page_values=values)
    return made


def files_of(folder: Path) -> set[str]:
    return set(os.listdir(folder))


def test_small_pages_become_full_ones_which_an_independent_reader_reads(tmp_path: Path) -> None:
    values = dict(a.blobs(4500))
    old = a.make_archive(tmp_path, values.items(), page_values=500)
    result = repack_archive(str(tmp_path))
    assert [2000, 2000, 500] == [page.object_count for page in result.pages]
    assert [page.name for page in result.pages] == a.read_list(tmp_path)
    assert tuple(old) == result.merged
    assert values == a.read_archive(tmp_path)
    assert {*old, *a.read_list(tmp_path), "pages", INDEX_NAME} == files_of(tmp_path)
    assert values == a.read_archive(tmp_path, old)
    assert (4500, True) == (result.indexed, result.index_written)
    assert () == verify_archive(str(tmp_path)).findings


def test_full_pages_and_a_single_small_one_stay_and_only_the_index_is_made(tmp_path: Path) -> None:
    names = a.make_archive(tmp_path, a.blobs(2100))
    unchanged = (tmp_path / "pages").stat().st_mtime_ns
    first = repack_archive(str(tmp_path))
    second = repack_archive(str(tmp_path))
    assert ((), True, 2100) == (first.pages, first.index_written, first.indexed)
    assert ((), False) == (second.pages, second.index_written)
    assert "only one page is small" in first.reason
    assert unchanged == (tmp_path / "pages").stat().st_mtime_ns
    assert {*names, "pages", INDEX_NAME} == files_of(tmp_path)
    plan = plan_repack_archive_of(str(tmp_path))
    assert ((names[0], "it is full"), (names[1], first.reason)) == plan.left


def test_every_key_gives_what_it_gave_before_whichever_copy_is_where(tmp_path: Path) -> None:
    """Raw values: full and small pages take turns, and keys are in several of them with different values."""
    rng = random.Random("copies")
    keys = [rng.randbytes(20) for _ in range(2600)]
    names = []
    for number, size in enumerate([40, 2000, 30, 50, 2000, 40, 20]):
        names += a.make_archive(
            tmp_path,
            [(key, b"%d of page %d" % (place, number)) for place, key in enumerate(rng.sample(keys, size))],
            seed=str(number),
        )
    a.write_list(tmp_path, names)
    expected = a.read_archive(tmp_path)
    result = repack_archive(str(tmp_path), raw=True)
    assert 5 == len(result.merged)
    assert [names[1], names[4], *(page.name for page in result.pages)] == a.read_list(tmp_path)
    assert expected == a.read_archive(tmp_path)
    with Archive(tmp_path) as archive:
        assert expected == {key: archive.get(key) for key in archive}
    expire_archive(str(tmp_path), grace_seconds=0)
    assert {*a.read_list(tmp_path), "pages", INDEX_NAME} == files_of(tmp_path)
    assert expected == a.read_archive(tmp_path)


def test_values_that_are_no_git_objects_are_merged_only_when_that_is_said(real: Path, tmp_path: Path) -> None:
    folder = copy_of(real / "06-newest-wins", tmp_path / "archive")
    result = repack_archive(str(folder))
    assert ((), 2) == (result.merged, len({finding.page for finding in result.findings}))
    assert 2 == len(repack_archive(str(folder), raw=True).merged)
    assert a.read_archive(real / "06-newest-wins") == a.read_archive(folder)
    assert () == repack_archive(str(folder)).findings  # the index remembers what they are


def test_the_values_of_a_big_endian_writer_stay_as_they_are(real: Path, tmp_path: Path) -> None:
    folder = copy_of(real / "damaged" / "big-endian-types", tmp_path / "archive")
    (old,) = os.listdir(folder)
    more = a.make_archive(folder, [a.object_value("blob", b"more", "big")])
    a.write_list(folder, [old, *more])
    expected = a.read_archive(folder)
    assert 1 == len(repack_archive(str(folder)).pages)
    assert expected == a.read_archive(folder)
    assert a.git_objects(expected, "big")


def test_a_page_with_damage_stays_in_its_place_and_a_damaged_newer_copy_takes_nothing_away(tmp_path: Path) -> None:
    values = list(a.blobs(9))
    shared = values[0]
    names = a.make_archive(tmp_path, [*values[:3], *values[3:6], *values[6:], shared], page_values=3)
    broken = names[2]
    a.write_list(tmp_path, names)
    data = bytearray((tmp_path / broken).read_bytes())
    data[-1] ^= 1
    (tmp_path / broken).write_bytes(data)
    # and the newest page holds the shared key with other bytes
    data = bytearray((tmp_path / names[3]).read_bytes())
    data[-1] ^= 1
    (tmp_path / names[3]).write_bytes(data)
    result = repack_archive(str(tmp_path))
    assert tuple(names[:2]) == result.merged
    assert {broken, names[3]} == {finding.page for finding in result.findings}
    assert [broken, names[3], result.pages[0].name] == a.read_list(tmp_path)
    with Archive(tmp_path) as archive:
        assert dict(values[:6]) == {key: archive.get(key) for key, _ in values[:6]}
        assert ("blob", shared[1][4:]) == archive.read(shared[0])


def test_a_list_that_changes_meanwhile_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = small_archive(tmp_path)
    names = a.read_list(tmp_path)
    (added,) = a.make_archive(tmp_path / "more", [a.object_value("blob", b"added")], seed="added")

    def another_writer(operation: str, path: str) -> None:
        if operation == "rename" and path.endswith(INDEX_NAME) and not (tmp_path / added).exists():
            shutil.move(tmp_path / "more" / added, tmp_path / added)
            a.write_list(tmp_path, [*names, added])

    monkeypatch.setattr(fs.door, "before_step", another_writer)
    with pytest.raises(StalePlan, match="changed meanwhile"):
        repack_archive(str(tmp_path))
    monkeypatch.setattr(fs.door, "before_step", None)
    assert [*names, added] == a.read_list(tmp_path)
    repack_archive(str(tmp_path))
    expire_archive(str(tmp_path), grace_seconds=0)
    assert values | dict([a.object_value("blob", b"added")]) == a.read_archive(tmp_path)
    assert {*a.read_list(tmp_path), "pages", "more", INDEX_NAME} == files_of(tmp_path)


def test_two_archives_in_one_folder_are_not_mixed_up(tmp_path: Path) -> None:
    """The pages of the one would count as superfluous where the other one has their objects."""
    values = small_archive(tmp_path)
    repack_archive(str(tmp_path))
    first = (tmp_path / "pages").rename(tmp_path / "first")
    a.make_archive(tmp_path, values.items(), page_values=50, seed="second")
    with pytest.raises(GpaError, match="is not that of") as caught:
        repack_archive(str(tmp_path))
    assert INDEX_NAME in caught.value.hint
    expire_archive(str(tmp_path), grace_seconds=0)
    assert values == a.read_archive(tmp_path) == a.read_archive(tmp_path, first.read_text().split())


def test_without_a_list_nothing_is_merged(tmp_path: Path) -> None:
    small_archive(tmp_path)
    (tmp_path / "pages").unlink()
    with pytest.raises(GpaError, match="no list says which") as caught:
        repack_archive(str(tmp_path))
    assert "--pages" in caught.value.hint


def test_only_one_command_works_on_an_archive_at_a_time(tmp_path: Path) -> None:
    small_archive(tmp_path)
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        for command in (repack_archive, expire_archive):
            with pytest.raises(Locked, match="cannot lock"):
                command(str(tmp_path))
    finally:
        os.close(fd)


def test_an_archive_that_is_written_to_after_a_repack_is_merged_again(tmp_path: Path) -> None:
    """As the original goes on: values into the last page, which gets another name."""
    rng = random.Random("later")
    values = small_archive(tmp_path)
    repack_archive(str(tmp_path))
    (name,) = a.read_list(tmp_path)
    old = a.page_bytes(values.items())
    assert old == (tmp_path / name).read_bytes()
    key, value = a.object_value("blob", b"set later")
    renamed = a.new_name(rng)
    (tmp_path / name).unlink()
    (tmp_path / renamed).write_bytes(a.page_bytes([*values.items(), (key, value)]))
    a.write_list(tmp_path, [renamed])
    with Archive(tmp_path) as archive:
        assert {**values, key: value} == {one: archive.get(one) for one in archive}
    a.make_archive(tmp_path, [a.object_value("blob", b"one more page")], seed="more")
    a.write_list(tmp_path, [renamed, *a.read_list(tmp_path)])
    assert 2 == len(repack_archive(str(tmp_path)).merged)
    assert 152 == len(a.read_archive(tmp_path))


# -- Expire


def test_replaced_pages_go_after_their_grace_and_not_before(tmp_path: Path) -> None:
    values = small_archive(tmp_path)
    old = a.read_list(tmp_path)
    assert "no page is superseded" == expire_archive(str(tmp_path)).reason
    repack_archive(str(tmp_path))
    waiting = expire_archive(str(tmp_path))
    assert ((), 5) == (waiting.deleted, waiting.waiting)
    assert waiting.next_due is not None
    planned = expire_archive(str(tmp_path), grace_seconds=0, dry_run=True)
    assert set(old) == set(planned.deleted)
    assert set(old) < files_of(tmp_path)
    size = sum((tmp_path / name).stat().st_size for name in old)
    done = expire_archive(str(tmp_path), grace_seconds=0)
    assert (set(old), size) == (set(done.deleted), done.freed_bytes)
    assert {*a.read_list(tmp_path), "pages", INDEX_NAME} == files_of(tmp_path)
    assert values == a.read_archive(tmp_path)
    assert () == verify_archive(str(tmp_path)).findings
    assert "no page is superseded" == expire_archive(str(tmp_path)).reason


def test_a_page_that_another_process_has_open_stays(tmp_path: Path) -> None:
    small_archive(tmp_path)
    old = a.read_list(tmp_path)
    repack_archive(str(tmp_path))
    with (tmp_path / old[0]).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        result = expire_archive(str(tmp_path), grace_seconds=0)
    assert [(old[0], f"'{tmp_path / old[0]}' is in use")] == list(result.kept_back)
    assert 4 == len(result.deleted)
    assert (old[0],) == expire_archive(str(tmp_path), grace_seconds=0).deleted


def test_a_page_whose_object_is_not_sound_elsewhere_stays(tmp_path: Path) -> None:
    small_archive(tmp_path)
    old = a.read_list(tmp_path)
    (page,) = repack_archive(str(tmp_path)).pages
    data = bytearray((tmp_path / page.name).read_bytes())
    data[-1] ^= 1  # the value set last, of the last page
    (tmp_path / page.name).write_bytes(data)
    result = expire_archive(str(tmp_path), grace_seconds=0)
    assert [old[-1]] == [name for name, _ in result.kept_back]
    assert "is nowhere else" in result.kept_back[0][1]
    assert (tmp_path / old[-1]).exists()


def test_pages_that_no_repack_replaced_are_never_deleted(tmp_path: Path) -> None:
    small_archive(tmp_path)
    repack_archive(str(tmp_path))
    (stray,) = a.make_archive(tmp_path / "other", a.blobs(3), seed="stray")
    shutil.move(tmp_path / "other" / stray, tmp_path / stray)
    expire_archive(str(tmp_path), grace_seconds=0)
    assert (tmp_path / stray).exists()
    assert (stray,) == verify_archive(str(tmp_path)).strays


# -- What a look-up costs


@pytest.mark.parametrize("pages", [1, 10, 500])
def test_with_the_index_a_look_up_opens_one_page_however_many_there_are(tmp_path: Path, pages: int) -> None:
    values = dict(a.blobs(4 * pages))
    names = a.make_archive(tmp_path, values.items(), page_values=4)
    index = index_over(str(tmp_path), names, KnownPages(), kind=OBJECTS, now=0)
    assert index is not None
    (tmp_path / INDEX_NAME).write_bytes(index.image)
    for key in random.Random(pages).sample(list(values), 4):
        with Archive(tmp_path) as archive:
            assert (0, 1) == (archive.opened, archive.table_count)
            assert values[key] == archive.get(key)
            assert bytes(20) not in archive
            assert (1, 0) == (archive.opened, archive.searches)
    with Archive(tmp_path) as archive:
        assert values == {key: archive.get(key) for key in archive}
        assert 0 == archive.searches


def test_pages_that_came_after_the_index_are_one_more_table(tmp_path: Path) -> None:
    values = dict(a.blobs(40))
    names = a.make_archive(tmp_path, values.items(), page_values=4)
    index = index_over(str(tmp_path), names[:6], KnownPages(), kind=OBJECTS, now=0)
    assert index is not None
    (tmp_path / INDEX_NAME).write_bytes(index.image)
    with Archive(tmp_path) as archive:
        assert (4, 2) == (archive.opened, archive.table_count)
        assert values == {key: archive.get(key) for key in archive}
    for order in (names[6:] + names[:6], [names[1], names[0], *names[2:]]):
        a.write_list(tmp_path, order)  # where the index does not fit the list, the pages themselves are asked
        with Archive(tmp_path) as archive:
            assert (10, 1) == (archive.opened, archive.table_count)
            assert values == {key: archive.get(key) for key in archive}
    a.write_list(tmp_path, names[1:])
    with Archive(tmp_path) as archive:
        assert dict(list(values.items())[4:]) == {key: archive.get(key) for key in archive}
        assert next(iter(values)) not in archive
        assert 36 == len(archive)


# -- The command line


def test_the_verbs_say_in_a_line_what_they_did(real: Path, repo: Path, tmp_path: Path) -> None:
    folder = copy_of(real / "04-git", tmp_path / "archive")
    said = gpa(repo, "import-v1", folder, "--refs", folder / "packed-refs", "-n").stdout
    assert "import 49 objects from 2 archive pages, 125.05 KiB\n" == said
    said = gpa(repo, "import-v1", folder, "--refs", folder / "packed-refs").stdout
    (page,) = pack_dir(repo).glob("*.pack")  # its size is that of this build's library of compression
    size = f"{page.stat().st_size / 1024:.2f} KiB"
    assert f"imported 49 objects from 2 archive pages, 125.05 KiB -> 1 page, {size}\ncreated 7 refs\n" == said
    said = gpa(repo, "import-v1", folder).stdout
    assert "nothing to import from 2 archive pages, 125.05 KiB (49 there already)\n" == said
    assert "exported 49 objects -> 1 archive page, 70.34 KiB\n" == gpa(repo, "export-v1", tmp_path / "out").stdout
    assert "nothing to export (19 there already)\n" == gpa(repo, "export-v1", tmp_path / "out", "main~6").stdout
    assert "verified 2 pages, 49 objects: all is well\n" == gpa(tmp_path, "verify-v1", folder).stdout
    names = names_of("04-git")
    said = gpa(tmp_path, "repack-v1", folder, "-n").stdout
    assert f"merge 2 pages, 49 objects -> 1 page\nmerge  {names[0]}\nmerge  {names[1]}\n" == said
    said = gpa(tmp_path, "repack-v1", folder, f"--pages={folder / 'pages'}").stdout
    assert "merged 2 pages, 125.05 KiB -> 1 page, 49 objects, 70.34 KiB; indexed 49 objects\n" == said
    assert gpa(tmp_path, "expire-v1", folder).stdout.startswith("nothing to do: superseded pages wait for the end")
    assert "delete 2 superseded pages, 125.05 KiB\n" == gpa(tmp_path, "expire-v1", folder, "--grace=now", "-n").stdout
    assert "deleted 2 superseded pages, 125.05 KiB\n" == gpa(tmp_path, "expire-v1", folder, "--grace=now").stdout
    assert "nothing to do: no page is superseded\n" == gpa(tmp_path, "expire-v1", folder).stdout
    said = gpa(tmp_path, "repack-v1", folder).stdout
    assert "nothing to merge: only one page is small and sound\n" == said


@pytest.mark.parametrize("verb", ["import-v1", "verify-v1", "export-v1", "repack-v1", "expire-v1"])
def test_each_verb_answers_in_json(real: Path, repo: Path, tmp_path: Path, verb: str) -> None:
    folder = copy_of(real / "04-git", tmp_path / "archive")
    answer = json.loads(gpa(repo, verb, folder, "--json").stdout)
    assert answer["kind"].endswith("Result")
    assert answer["version"] == 1


def test_progress_is_shown_when_it_is_asked_for(real: Path, repo: Path, tmp_path: Path) -> None:
    folder = copy_of(real / "04-git", tmp_path / "archive")
    for verb, title in (
        ("verify-v1", "Checking objects"),
        ("import-v1", "Importing objects"),
        ("repack-v1", "Merging objects"),
        ("expire-v1", "Proving pages"),
    ):
        more = ["--grace=now"] if verb == "expire-v1" else []
        assert title in gpa_any(repo, verb, folder, "--progress", *more).stderr
    assert "Exporting objects" in gpa_any(repo, "export-v1", tmp_path / "out", "--progress").stderr


def test_an_archive_is_no_repository(real: Path, repo: Path) -> None:
    for verb in ("verify-v1", "repack-v1", "expire-v1"):
        done = gpa_any(repo, "--object-dir=objects", verb, real / "04-git")
        assert 129 == done.returncode
        assert "an archive is no repository" in done.stderr


def test_the_public_functions_are_those_of_the_verbs() -> None:
    verbs = {f"{name}_archive" for name in ("import", "export", "verify", "repack", "expire")}
    assert verbs < set(archive_v1.__all__)


def test_a_damaged_archive_ends_the_import_with_1_and_one_without_anything_sound_with_128(
    real: Path, repo: Path
) -> None:
    done = gpa_any(repo, "import-v1", real / "damaged" / "unknown-type")
    assert 1 == done.returncode
    assert "imported 18 objects from 1 archive page" in done.stdout
    assert "(1 damaged)" in done.stdout
    key = "508bf46b1d70cfa41b14132a1af13621e6f7dccb"
    assert f"error: '764d6678-6b60-4364-993a-35c2efbcc50b': object {key}: object type is 9 (bad-type)\n" == done.stderr
    for name in ("crash-before-first-write", "bad-version", "truncated-index"):
        done = gpa_any(repo, "import-v1", real / "damaged" / name)
        assert 128 == done.returncode
        assert done.stderr.startswith("fatal: corrupt '")
    with pytest.raises(DamagedArchive):
        import_archive(str(real / "02-few"), path=str(repo))


def test_ids_are_those_of_git(tmp_path: Path) -> None:
    assert "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391" == oid_hex("blob", b"")
