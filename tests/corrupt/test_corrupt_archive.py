"""Damaged v1 archives: each damage has its own fault, nothing ends the process, no wrong bytes come out.

What a killed writer left is brought back as far as it proves itself.
"""

from __future__ import annotations

import os
import random
import struct
from collections.abc import Callable
from pathlib import Path

import archives as a
import damage as d
import pytest
from oracle import all_objects, fsck, git
from packwriter import Kind, oid_hex

from gpa_maint._core.v1 import ArchiveIndex, PageFile, PageFileWriter
from gpa_maint.archive_v1 import Archive, Unindexed, export_archive, import_archive, repack_archive, verify_archive
from gpa_maint.archive_v1.indexing import OBJECTS, KnownPages, index_over
from gpa_maint.archive_v1.listing import INDEX_NAME
from gpa_maint.errors import Corrupt, DamagedArchive, GpaError, ObjectMissing, SystemFailed, Unsupported

DAMAGED = a.manifest()["damaged"]
KEY = "508bf46b1d70cfa41b14132a1af13621e6f7dccb"

# The damage -> its fault and what is said of it; the README's table of what a reader must check.
PAGES = {
    "truncated-header": ("short", "page is 20 bytes, too short for its header"),
    "crash-before-first-write": ("short", "page is 0 bytes, too short for its header"),
    "crash-before-first-save": ("unsaved", "page was never saved: its header is zeros"),
    "bad-version": ("version", "page version is 2, expected 1"),
    "bad-capacity": ("capacity", "capacity is 1000, expected 2000"),
    "bad-data-start": ("data-start", "data_start is 56000, expected 56024"),
    "n-items-over-capacity": ("items", "page has 2001 entries, at most 2000 fit"),
    "truncated-index": ("cut", "page is 177 bytes, its header says 68110"),
    "truncated-data": ("cut", "page is 68100 bytes, its header says 68110"),
}
ENTRIES = {
    "entry-offset-past-end": ("beyond-file", "value of 777 bytes at 1073741824 reaches beyond the file"),
    "entry-size-past-end": ("beyond-file", "value of 20000 bytes at 2042 reaches beyond the file"),
    "duplicate-entry": ("duplicate", "an earlier entry of the page has the same key"),
    "value-shorter-than-type": ("no-type", "value is 3 bytes, too short for an object's type"),
    "unknown-type": ("bad-type", "object type is 9"),
    "wrong-data-for-key": ("wrong-id", "content has the id 8222a9460b136512333d5af3fbb7873d41918c6f"),
    "wrong-type": ("wrong-id", "content has the id 95d4611741de7ed64f9961d0c738c0a7713a8b26"),
}
NOTHING_WRONG = ["big-endian-types", "unsorted-first-bytes", "trailing-bytes", "crash-before-second-save"]


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real archives; not to be changed."""
    return a.unpack(tmp_path_factory.mktemp("real"))


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", "repo.git")
    return tmp_path / "repo.git"


def is_raw(name: str) -> bool:
    return "original_git" not in DAMAGED[name] and name != "big-endian-types"


def page_of(folder: Path) -> Path:
    (name,) = os.listdir(folder)
    return folder / name


# -- What is wrong with a page or an entry


def test_every_damage_that_there_is_has_its_row() -> None:
    assert sorted(DAMAGED) == sorted([*PAGES, *ENTRIES, *NOTHING_WRONG])


@pytest.mark.parametrize("name", PAGES)
def test_a_damaged_page_is_refused_with_its_fault(real: Path, name: str) -> None:
    fault, reason = PAGES[name]
    path = page_of(real / "damaged" / name)
    for open_it in (lambda: PageFile(str(path)), lambda: Archive(path.parent)):
        with pytest.raises(DamagedArchive) as caught:
            open_it()
        assert (fault, reason, str(path)) == (caught.value.fault, caught.value.reason, caught.value.path)
    first, *others = verify_archive(str(path.parent), raw=is_raw(name)).findings
    assert (path.name, fault, reason, "", True) == first
    # where the file was cut, each value that is not there any more
    assert {"truncated-index": 5, "truncated-data": 1}.get(name, 0) == len(others)
    assert {"beyond-file"} >= {finding.fault for finding in others}


@pytest.mark.parametrize("name", ENTRIES)
def test_a_damaged_entry_is_one_finding_and_reading_it_gives_its_fault(real: Path, name: str) -> None:
    fault, reason = ENTRIES[name]
    path = page_of(real / "damaged" / name)
    (finding,) = verify_archive(str(path.parent), raw=is_raw(name)).findings
    assert (path.name, fault, reason) == (finding.page, finding.fault, finding.reason)
    assert (fault != "duplicate") == finding.lost
    with Archive(path.parent) as archive:
        read: Callable[[bytes], object] = archive.get if is_raw(name) else archive.read
        assert bytes.fromhex(finding.key) in archive
        for key in archive:
            if key.hex() == finding.key and fault != "duplicate":
                with pytest.raises(DamagedArchive) as caught:
                    read(key)
                assert (fault, reason) == (caught.value.fault, caught.value.reason)
            else:
                read(key)


@pytest.mark.parametrize("name", NOTHING_WRONG)
def test_what_the_original_accepts_is_no_finding(real: Path, name: str) -> None:
    result = verify_archive(str(real / "damaged" / name), raw=is_raw(name))
    assert () == result.findings
    sizes = {"trailing-bytes": [18], "crash-before-second-save": [50]}
    assert sizes.get(name, []) == [tail.size for tail in result.unindexed]


HEADERS = {
    "index start": (12, 25, "index-start", "index_start is 25, expected 24"),
    "version 0": (0, 0, "version", "page version is 0, expected 1"),
    "data beyond 4 GiB": (20, 0xFFFFFFFF, "cut", "its header says 4295023319"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_other_numbers_of_the_header_are_checked_too(tmp_path: Path, name: str) -> None:
    at, value, fault, reason = HEADERS[name]
    (page,) = a.make_archive(tmp_path, a.blobs(3))
    d.rewrite(tmp_path / page, d.number(at, value))
    with pytest.raises(DamagedArchive, match=reason) as caught:
        Archive(tmp_path)
    assert fault == caught.value.fault


def test_an_entry_that_reaches_beyond_the_data_but_not_beyond_the_file_is_refused(tmp_path: Path) -> None:
    """The original returns the bytes that are there."""
    values = list(a.blobs(3))
    (page,) = a.make_archive(tmp_path, values)
    place = a.INDEX_START + 24  # the size of the entry that stands first
    d.rewrite(tmp_path / page, lambda data: d.number(place, 1000)(data) + bytes(2000))
    for raw in (False, True):
        (finding,) = verify_archive(str(tmp_path), raw=raw).findings
        assert ("beyond-data", min(key.hex() for key, _ in values)) == (finding.fault, finding.key)


def test_of_a_damaged_value_no_older_one_is_given_but_of_a_damaged_object_the_same_one_is(tmp_path: Path) -> None:
    values = list(a.blobs(4))
    names = a.make_archive(tmp_path, [*values, values[1]], page_values=4)
    d.rewrite(tmp_path / names[1], d.number(a.INDEX_START + 20, 1 << 30))
    repack_archive(str(tmp_path))  # which makes an index, and merges nothing
    assert names == a.read_list(tmp_path)
    for _ in range(2):
        with Archive(tmp_path) as archive:
            assert ("blob", values[1][1][4:]) == archive.read(values[1][0])
            with pytest.raises(DamagedArchive, match="beyond the file"):
                archive.get(values[1][0])
        (tmp_path / INDEX_NAME).unlink(missing_ok=True)


def test_a_page_that_was_damaged_after_it_was_indexed_is_named_when_a_key_leads_to_it(tmp_path: Path) -> None:
    values = list(a.blobs(12))
    names = a.make_archive(tmp_path, values, page_values=4)
    with Archive(tmp_path) as archive:
        lost, kept = archive.find(values[0][0]), archive.find(values[-1][0])
    assert lost is not None and kept is not None
    index = index_over(str(tmp_path), names, KnownPages(), kind=OBJECTS, now=0)
    assert index is not None
    (tmp_path / INDEX_NAME).write_bytes(index.image)
    d.rewrite(tmp_path / names[lost.page], lambda data: b"none" + data[4:])
    with Archive(tmp_path) as archive:
        assert sorted(key for key, _ in values) == list(archive)
        assert values[-1][1] == archive.get(values[-1][0])
        for look in (archive.get, archive.read, archive.find, archive.__contains__):
            with pytest.raises(DamagedArchive, match=names[lost.page]):
                look(values[0][0])
        assert 2 == archive.opened


def test_a_folder_a_link_to_nowhere_or_a_pipe_in_the_place_of_a_page_is_an_error(tmp_path: Path) -> None:
    for number, damage in enumerate((d.make_folder, d.make_dangling, d.make_fifo)):
        (page,) = a.make_archive(tmp_path / str(number), a.blobs(3))
        damage(tmp_path / str(number) / page)
        with pytest.raises(GpaError):
            Archive(tmp_path / str(number))


@pytest.mark.parametrize("seed", range(6))
def test_random_damage_ends_no_process_and_gives_no_wrong_bytes(
    real: Path, repo: Path, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    source = real / "05-git-resaved"
    (name,) = a.read_list(source)
    expected = a.git_objects(a.read_archive(source))
    data = (source / name).read_bytes()
    used = [*range(24 + 49 * 28), *range(a.DATA_START, len(data))]
    for number in range(25):
        folder = tmp_path / str(number)
        folder.mkdir()
        broken = bytearray(data)
        for at in rng.choices(used, k=rng.choice([1, 3, 30])):
            broken[at] = rng.choice([0, 0xFF, broken[at] ^ 1 << rng.randrange(8), rng.randrange(256)])
        (folder / name).write_bytes(broken[: rng.choice([len(data), rng.randrange(len(data))])])
        verify_archive(str(folder))
        verify_archive(str(folder), raw=True)
        try:
            with Archive(folder) as archive:
                for key in archive:
                    try:
                        assert archive.read(key) == expected[key.hex()]
                    except DamagedArchive:
                        continue
        except DamagedArchive:
            pass
        try:
            result = import_archive(str(folder), path=str(repo))
        except DamagedArchive:
            continue
        assert result.imported + result.present <= 49
    assert set(all_objects(repo)) <= set(expected)


# -- Rescue: a page that is damaged as a whole


def imported(repo: Path) -> set[str]:
    return set(all_objects(repo))


@pytest.mark.parametrize("at", [0, 4, 8, 12, 16])
def test_of_a_page_with_a_damaged_header_all_entries_are_imported_that_prove_themselves(
    real: Path, repo: Path, tmp_path: Path, at: int
) -> None:
    source = real / "05-git-resaved"
    (name,) = a.read_list(source)
    (tmp_path / name).write_bytes(d.number(at, 0x12345678)((source / name).read_bytes()))
    result = import_archive(str(tmp_path), path=str(repo))
    assert (49, 49, 0) == (result.imported, result.entries, result.damaged)
    assert [name] == [finding.page for finding in result.lost]
    fsck(repo)


def test_of_a_page_that_was_cut_each_lost_object_is_named(real: Path, repo: Path, tmp_path: Path) -> None:
    source = real / "05-git-resaved"
    (name,) = a.read_list(source)
    expected = a.git_objects(a.read_archive(source))
    (tmp_path / name).write_bytes((source / name).read_bytes()[:-8000])
    result = import_archive(str(tmp_path), path=str(repo))
    lost = {finding.key for finding in result.lost if finding.key}
    assert {"beyond-file"} == {finding.fault for finding in result.lost if finding.key}
    assert set(expected) == lost | imported(repo)
    assert not lost & imported(repo)


def test_a_damaged_copy_is_no_loss_where_another_page_has_a_sound_one(tmp_path: Path, repo: Path) -> None:
    values = list(a.blobs(4))
    names = a.make_archive(tmp_path, [*values, values[1]], page_values=4)
    d.rewrite(tmp_path / names[1], d.flipped(-1))
    result = import_archive(str(tmp_path), path=str(repo))
    assert (4, 1, ()) == (result.imported, result.damaged, result.lost)
    assert {key.hex() for key, _ in values} == imported(repo)


# -- Rescue: values behind the index


def history(commits: int = 2) -> list[tuple[bytes, bytes]]:
    """Commits and a tag of the last one, as a writer sets them: what an object names before the object."""
    made: list[tuple[bytes, bytes]] = []

    def add(kind: Kind, content: bytes) -> str:
        made.append(a.object_value(kind, content, ORDER[0]))
        return oid_hex(kind, content)

    who = "A U Thor <author@example.com> 1700000000 +0000"
    commit = ""
    for number in range(commits):
        # bytes that look like types, and an empty file
        noise = struct.pack("<5I", 3, 1, 0, 2, 4) + struct.pack(">3I", 1, 3, 0) + b"%d" % number
        files = {b"binary": add("blob", noise), b"empty": add("blob", b""), b"text": add("blob", b"text %d\n" % number)}
        inner = add("tree", b"".join(b"100644 %b\0%b" % (name, bytes.fromhex(oid)) for name, oid in files.items()))
        tree = add("tree", b"40000 folder\0" + bytes.fromhex(inner))
        parent = f"parent {commit}\n" if commit else ""
        text = f"tree {tree}\n{parent}author {who}\ncommitter {who}\n\nchange {number}"
        commit = add("commit", text.encode() + (b"\n" if number else b""))
    add("tag", f"object {commit}\ntype commit\ntag v1\ntagger {who}\n\nfirst\n".encode())
    return list(dict(made).items())


ORDER: list[a.Order] = ["little"]


@pytest.fixture(autouse=True)
def little() -> None:
    ORDER[0] = "little"


@pytest.fixture(params=["little", "big"])
def order(request: pytest.FixtureRequest, little: None) -> a.Order:
    ORDER[0] = request.param
    return ORDER[0]


def killed(folder: Path, values: list[tuple[bytes, bytes]], *, saved: int) -> a.OldPage:
    """A page of which only the first values were saved when its writer was killed."""
    rng = random.Random("killed")
    page = a.OldPage.begin(folder, rng)
    for number, value in enumerate(values):
        page.set(*value)
        if number + 1 == saved:
            page.save(rng)
    return page


def refs_of(folder: Path, key: bytes) -> str:
    """A packed-refs file with one ref."""
    path = folder / "packed-refs"
    path.write_text(f"{key.hex()} refs/tags/v1\n")
    return str(path)


@pytest.mark.parametrize("way", ["a ref names it", "nothing names it"])
@pytest.mark.parametrize("saved", [0, 1, 6])
def test_the_history_that_a_killed_writer_had_set_and_not_saved_is_rescued(
    tmp_path: Path, repo: Path, order: a.Order, saved: int, way: str
) -> None:
    values = history()
    page = killed(tmp_path, values, saved=saved)
    if way == "a ref names it":
        result = import_archive(str(tmp_path), refs_file=refs_of(tmp_path, values[-1][0]), path=str(repo))
    else:
        result = import_archive(str(tmp_path), rescue=True, path=str(repo))
        assert fsck(repo).startswith("dangling tag")
    assert {key.hex() for key, _ in values} == imported(repo)
    assert len(values) - saved == result.rescued
    # the empty blob was set twice, before and after it was saved
    assert {page.name: True} == {one.page: one.objects >= result.rescued for one in result.unindexed}
    assert {one.size for one in result.unindexed} == {one.object_bytes for one in result.unindexed}
    assert [] == [finding for finding in result.findings if finding.fault != "unsaved"]
    again = import_archive(str(tmp_path), rescue=True, path=str(repo))
    assert (0, len(values), result.unindexed) == (again.imported, again.present, again.unindexed)


def test_bytes_that_nothing_names_are_told_and_not_guessed(tmp_path: Path, repo: Path) -> None:
    values = history()
    page = killed(tmp_path, values, saved=7)
    result = import_archive(str(tmp_path), path=str(repo))
    assert {key.hex() for key, _ in values[:7]} == imported(repo)
    (one,) = result.unindexed
    assert (page.name, 0, 0) == (one.page, one.objects, one.object_bytes)
    assert sum(len(value) for _, value in values[7:]) == one.size


def test_what_was_cut_short_is_not_taken(tmp_path: Path, repo: Path) -> None:
    values = history()
    loose = a.object_value("blob", b"no tree names this\n", ORDER[0])
    page = killed(tmp_path, [values[0], loose, *values[1:]], saved=1)
    with page.path.open("r+b") as file:
        file.truncate(page.path.stat().st_size - 3)  # the tag, which then ends inside a line
    result = import_archive(str(tmp_path), rescue=True, path=str(repo))
    assert {key.hex() for key, _ in values[:-1]} == imported(repo)
    (one,) = result.unindexed
    assert len(loose[1]) + len(values[-1][1]) - 3 == one.size - one.object_bytes


def test_what_a_killed_writer_overwrote_is_not_taken(tmp_path: Path, repo: Path) -> None:
    """One byte of a blob is another one: its tree and all that names the tree is there, and it is not."""
    values = history()
    page = killed(tmp_path, values, saved=0)
    at = page.path.read_bytes().index(b"text 0")
    d.rewrite(page.path, d.flipped(at))
    import_archive(str(tmp_path), refs_file=refs_of(tmp_path, values[-1][0]), path=str(repo))
    lost = oid_hex("blob", b"text 0\n")
    assert {key.hex() for key, _ in values} - {lost} == imported(repo)


def test_a_last_commit_that_may_be_cut_is_taken_only_when_a_ref_names_it(tmp_path: Path, repo: Path) -> None:
    values = history(1)[:-1]  # this commit's message does not end with a line
    killed(tmp_path, values, saved=0)
    with pytest.raises(DamagedArchive, match="never saved"):
        import_archive(str(tmp_path), rescue=True, path=str(repo))
    result = import_archive(str(tmp_path), refs_file=refs_of(tmp_path, values[-1][0]), path=str(repo))
    assert {key.hex() for key, _ in values} == imported(repo)
    assert ("refs/tags/v1",) == result.refs
    fsck(repo)


def test_values_that_are_no_git_objects_cannot_be_rescued_and_are_counted(real: Path) -> None:
    for name, size in (("crash-before-first-save", 50), ("crash-before-second-save", 50)):
        folder = real / "damaged" / name
        assert (Unindexed(page_of(folder).name, size),) == verify_archive(str(folder), raw=True).unindexed


def test_a_page_whose_name_no_list_knows_is_read_when_that_is_asked_for(tmp_path: Path, repo: Path) -> None:
    """Killed between the two steps of save(): renamed, and its header still the old one."""
    rng = random.Random("renamed")
    values = history()
    page = killed(tmp_path, values, saved=6)
    names = [a.new_name(rng), page.name]
    (tmp_path / names[0]).write_bytes(a.page_bytes(a.blobs(5)))
    a.write_list(tmp_path, names)
    page.save(rng, only_rename=True)
    result = import_archive(str(tmp_path), path=str(repo))
    assert [(names[1], "missing", True)] == [(one.page, one.fault, one.lost) for one in result.findings]
    assert ((page.name,), 5) == (result.strays, result.imported)
    result = import_archive(str(tmp_path), rescue=True, path=str(repo))
    assert (len(values), len(values) - 6) == (result.imported, result.rescued)
    assert {key.hex() for key, _ in values} < imported(repo)


@pytest.mark.parametrize("cut", [2048, 4096])
@pytest.mark.parametrize("head", ["old", "new"])
def test_of_an_index_that_is_half_old_and_half_new_nothing_is_lost_that_is_named(
    tmp_path: Path, repo: Path, head: str, cut: int
) -> None:
    """Killed inside the second step of save(): after a power cut some blocks of header and index are as they were."""
    values = history(40)
    old, new = a.page_bytes(values[:170]), a.page_bytes(values)
    torn = old[:cut] + new[cut:] if head == "old" else new[:cut] + old[cut : a.DATA_START] + new[a.DATA_START :]
    (tmp_path / a.new_name(random.Random(cut))).write_bytes(torn)
    result = import_archive(str(tmp_path), refs_file=refs_of(tmp_path, values[-1][0]), path=str(repo))
    assert {key.hex() for key, _ in values} == imported(repo)
    assert result.rescued > 0
    assert "torn" in {finding.fault for finding in result.findings}
    fsck(repo)


# -- The combined index


def place_at(data: bytes) -> int:
    """Where the places begin."""
    pages, objects = struct.unpack_from(">II", data, 12)
    return 20 + 48 * pages + 1024 + 20 * objects


INDEXES: dict[str, tuple[d.Damage, str]] = {
    "empty": (d.truncated(0), "too short for its header"),
    "cut": (d.truncated(-1), "expected"),
    "longer": (lambda data: data + b"x", "expected"),
    "signature": (d.flipped(0), "signature"),
    "version": (d.number(4, 2), "version 2"),
    "many pages": (d.number(12, 0xFFFFFFFF), "expected"),
    "many objects": (d.number(16, 0xFFFFFFFF), "expected"),
    "fanout down": (lambda data: d.number(20 + 48 * 5 + 40, 0xFFFFFFFF)(data), "fanout goes down"),
    "fanout end": (lambda data: d.number(20 + 48 * 5 + 1020, 151)(data), "fanout ends with 151, expected 150"),
    "checksum": (d.flipped(-1), "checksum mismatch"),
    "page number": (d.resealed(lambda data: d.number(place_at(data), 5)(data)), "slot"),
    "slot": (d.resealed(lambda data: d.number(place_at(data) + 4, 2000)(data)), "slot 2000"),
    "another slot": (d.resealed(lambda data: d.number(place_at(data) + 4, 1999)(data)), ""),
    "order of keys": (d.resealed(lambda data: d.flipped(20 + 48 * 5 + 1024)(data)), "order|fanout"),
    "names": (d.resealed(d.replaced(20, b"x" * 36)), ""),
}


@pytest.mark.parametrize("name", INDEXES)
def test_a_damaged_index_costs_time_and_nothing_else(tmp_path: Path, name: str) -> None:
    values = dict(a.blobs(150))
    names = a.make_archive(tmp_path, values.items(), page_values=30)
    index = tmp_path / INDEX_NAME
    made = repack_archive_index(tmp_path, names)
    damage, says = INDEXES[name]
    index.write_bytes(damage(made))
    findings = verify_archive(str(tmp_path)).findings
    if says:
        (finding,) = findings
        assert "index" == finding.fault
        assert not finding.lost
    for key, value in values.items():
        try:
            with Archive(tmp_path) as archive:
                assert value == archive.get(key)
        except ObjectMissing:  # as of git's own index: verify finds it
            assert "order of keys" == name
    assert values == a.read_archive(tmp_path)
    repack_archive(str(tmp_path))
    assert () == verify_archive(str(tmp_path)).findings
    assert values == a.read_archive(tmp_path)


def repack_archive_index(folder: Path, names: list[str]) -> bytes:
    """The index over these pages as they are."""
    from gpa_maint.archive_v1.indexing import OBJECTS, KnownPages, index_over

    made = index_over(str(folder), names, KnownPages(), kind=OBJECTS, now=0)
    assert made is not None
    return made.image


def test_the_parser_of_the_index_refuses_what_is_told_of_it(tmp_path: Path) -> None:
    names = a.make_archive(tmp_path, a.blobs(150), page_values=30)
    made = repack_archive_index(tmp_path, names)
    assert 150 == len(list(ArchiveIndex(made)))
    for damage, says in INDEXES.values():
        if not says:
            continue
        with pytest.raises((Corrupt, Unsupported), match=says):
            ArchiveIndex(damage(made)).check()


# -- Writing


def test_a_writer_takes_no_more_than_fits(tmp_path: Path) -> None:
    with (tmp_path / "page").open("w+b") as file, PageFileWriter(file.fileno(), "page") as writer:
        assert not writer.has_room("", (1 << 32) - 56024)
        assert not writer.has_room("blob", (1 << 32) - 56027)
        assert writer.has_room("blob", (1 << 32) - 56029)
        for number in range(2000):
            writer.add(number.to_bytes(20, "big"), "", b"")
        assert not writer.has_room("", 0)
        with pytest.raises(Unsupported, match="page takes no more: 2000 entries"):
            writer.add(bytes(20), "", b"")
        with pytest.raises(Unsupported, match="not complete"):
            writer.finish()


@pytest.mark.parametrize("pieces", [[b"ab"], [b"abcd"], [b"ab", b"cd"]])
def test_a_value_has_as_many_bytes_as_it_was_begun_with(tmp_path: Path, pieces: list[bytes]) -> None:
    with (tmp_path / "page").open("w+b") as file, PageFileWriter(file.fileno(), "page") as writer:
        writer.begin(bytes(20), "blob", 3)
        with pytest.raises(Unsupported, match=r"not complete|longer"):
            for piece in pieces:
                writer.piece(piece)
            writer.finish()


def test_a_page_that_cannot_be_written_is_an_error_about_it() -> None:
    with (
        open("/dev/full", "wb") as full,
        PageFileWriter(full.fileno(), "the page") as writer,
        pytest.raises(SystemFailed, match="cannot write 'the page': No space left"),
    ):
        writer.add(bytes(20), "blob", bytes(1 << 20))
        writer.finish()


def test_a_damaged_object_of_the_repository_is_not_exported(repo: Path, tmp_path: Path) -> None:
    oid = git(repo, "hash-object", "-w", "--stdin", input=b"sound\n").stdout.strip()
    path = repo / "objects" / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(Corrupt, match=oid[2:]):
        export_archive(str(tmp_path / "out"), path=str(repo))
    assert [] == os.listdir(tmp_path / "out")
