"""`git gpa repair` mends what can be mended, saves what can be read, and says exactly what is lost."""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import damage as d
import pytest
from histories import HistorySpec, pushed_history
from oracle import all_objects, content_digest, fsck, git, objects_dir, pack_dir, packed_objects, packs, verify_midx
from packwriter import Whole, add_liar, add_pack, idx_bytes, oid_hex, pack_bytes
from running import all_files, gpa, gpa_any, gpa_json, index_path, leftovers

from gpa_maint import PageStore, commands, repair

Damaging = Callable[[Path, d.Damage], None]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pushes under an index; not to be changed."""
    repo = pushed_history(tmp_path_factory.mktemp("pushed"), HistorySpec(pushes=6, files=8)).server
    git(repo, "multi-pack-index", "write")
    return repo


@pytest.fixture
def repo(pushed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pushed, tmp_path / "server"))


def hurt(path: Path, damage: d.Damage) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    path.write_bytes(damage(path.read_bytes()))
    path.chmod(mode)


def aged(path: Path) -> None:
    long_ago = time.time() - 7200
    os.utime(path, (long_ago, long_ago))


def one_pack(repo: Path, *, suffix: str = ".pack") -> Path:
    """The largest pack, or a file beside it."""
    name = max(packs(repo), key=lambda name: packs(repo)[name])
    return pack_dir(repo) / f"{name}{suffix}"


def entry_of(repo: Path, pack: Path, *, last: bool = False) -> tuple[str, int]:
    """Id and offset of an entry that no other pack holds and that is no base: the last one of a pack is none."""
    others = {one.oid for name in packs(repo) if name != pack.stem for one in packed_objects(repo, name)}
    alone = [one for one in packed_objects(repo, pack.stem) if one.oid not in others]
    chosen = max(alone, key=lambda one: one.offset)
    return chosen.oid, chosen.offset


def lost(repo: Path) -> set[str]:
    return {line.split()[0] for line in (repo / "gpa" / "damaged" / "lost").read_text().splitlines()}


def test_a_sound_repository_is_left_as_it_is(repo: Path) -> None:
    """I12"""
    before = all_files(objects_dir(repo))
    assert "nothing to do: no damage was found\n" == gpa(repo, "repair").stdout
    assert "no damage was found\n" == gpa(repo, "repair", "-n").stdout
    assert before == all_files(objects_dir(repo))


@pytest.mark.parametrize("damage", [d.flipped(1100), d.flipped(-1), d.truncated(500), lambda _: b""])
def test_a_damaged_idx_is_made_again_from_its_pack(repo: Path, damage: d.Damage) -> None:
    idx = one_pack(repo, suffix=".idx")
    content, digest = idx.read_bytes(), content_digest(repo)
    hurt(idx, damage)
    assert f"rebuilt '{idx.name}' from its pack" in gpa(repo, "repair").stdout
    assert content == idx.read_bytes()
    assert 0o444 == idx.stat().st_mode & 0o777
    assert_sound(repo, digest)


def test_a_missing_idx_is_made_again_once_it_is_not_on_its_way(repo: Path) -> None:
    digest, idx = content_digest(repo), one_pack(repo, suffix=".idx")
    idx.unlink()
    os.utime(one_pack_without_idx(repo))
    young = gpa_any(repo, "repair")
    assert (1, True) == (young.returncode, "may still be arriving" in young.stderr)
    aged(one_pack_without_idx(repo))
    gpa(repo, "repair")
    assert_sound(repo, digest)


def one_pack_without_idx(repo: Path) -> Path:
    (found,) = (path for path in pack_dir(repo).glob("*.pack") if not path.with_suffix(".idx").exists())
    return found


@pytest.mark.parametrize("damage", [d.flipped(-1), d.flipped(40), d.truncated(200)])
def test_a_damaged_index_is_made_again(repo: Path, damage: d.Damage) -> None:
    digest = content_digest(repo)
    hurt(index_path(repo), damage)
    assert "wrote the index: 6 packs" in gpa(repo, "repair").stdout
    assert_sound(repo, digest)


def test_of_a_damaged_pack_all_but_the_damaged_object_is_saved(repo: Path) -> None:
    pack = one_pack(repo)
    oid, offset = entry_of(repo, pack)
    before = all_objects(repo)
    hurt(pack, d.flipped(offset + 8))
    told = gpa_any(repo, "repair")
    assert 1 == told.returncode
    assert f"lost {oid}, which was in '{pack.stem}'" in told.stderr
    assert {oid} == lost(repo)
    assert before.keys() - {oid} == all_objects(repo).keys()
    assert not pack.exists()
    assert (repo / "gpa" / "damaged" / pack.name).exists()
    verify_midx(repo)
    again = gpa(repo, "repair")
    assert "nothing to do: no damage was found\n" == again.stdout
    assert [] == leftovers(repo)


def test_what_the_idx_of_a_damaged_pack_lies_about_gets_into_no_page(repo: Path) -> None:
    """I13: the CRC32 is right, and only the id is not that of the content."""
    before = all_objects(repo)
    contents = [b"%d\n" % number * 99 for number in range(3)]
    entries = [Whole(kind="blob", content=content) for content in contents]
    oids = [oid_hex("blob", content) for content in contents]
    claimed = oid_hex("blob", b"what the idx promises")
    name = add_liar(repo, list(zip(entries, [claimed, *oids[1:]], strict=True)))
    pack = pack_dir(repo) / f"{name}.pack"
    hurt(pack, d.flipped(-25))  # in the last entry
    told = gpa_any(repo, "repair")
    assert 1 == told.returncode
    assert f"lost {claimed}, which was in '{name}'" in told.stderr
    assert not pack.exists()
    assert before.keys() | set(oids[:2]) == all_objects(repo).keys()
    fsck(repo)


def test_a_damaged_object_that_another_pack_has_is_not_lost(repo: Path) -> None:
    digest, damaged = content_digest(repo), one_pack(repo)
    _, offset = entry_of(repo, damaged)
    git(repo, "repack", "-q", "-a", "--no-write-bitmap-index")  # another pack, of all objects
    gpa(repo, "write", f"--preferred-pack={damaged.name}")
    hurt(damaged, d.flipped(offset + 8))
    told = gpa(repo, "repair")
    assert "set it aside" in told.stdout
    assert_sound(repo, digest)


def test_the_base_of_a_delta_is_taken_from_wherever_it_is(repo: Path) -> None:
    """A base that is damaged here has a sound copy in another pack: its deltas can be read by way of that."""
    bases = base_offsets(repo)
    pack, (oid, offset) = next(iter(bases.items()))
    expected = all_objects(repo)
    with PageStore.for_repository(repo) as store:
        kind, content = store.read(oid)
    write_loose_by_hand(repo, oid, kind, content)
    hurt(pack, d.flipped(offset + 8))
    assert 0 == gpa_any(repo, "repair").returncode
    assert expected == all_objects(repo)


def base_offsets(repo: Path) -> dict[Path, tuple[str, int]]:
    found = {}
    for name in packs(repo):
        entries = {one.oid: one for one in packed_objects(repo, name)}
        listing = git(repo, "verify-pack", "-v", str(pack_dir(repo) / f"{name}.idx")).stdout
        for line in listing.splitlines():
            words = line.split()
            if len(words) == 7:
                found[pack_dir(repo) / f"{name}.pack"] = (words[6], entries[words[6]].offset)
    return found


def write_loose_by_hand(repo: Path, oid: str, kind: str, content: bytes) -> None:
    path = objects_dir(repo) / oid[:2] / oid[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(f"{kind} {len(content)}\0".encode() + content))


@pytest.mark.parametrize("damage", [d.flipped(-1), d.flipped(0), d.flipped(11)])
def test_a_pack_with_a_damaged_header_or_trailer_loses_nothing(repo: Path, damage: d.Damage) -> None:
    digest, pack = content_digest(repo), one_pack(repo)
    hurt(pack, damage)
    assert 0 == gpa_any(repo, "repair").returncode
    assert digest == content_digest(repo)
    fsck(repo)


def test_of_a_truncated_pack_what_lies_before_its_end_is_saved(repo: Path) -> None:
    pack, before = one_pack(repo), all_objects(repo)
    entries = sorted(packed_objects(repo, pack.stem), key=lambda one: one.offset)
    cut = entries[len(entries) // 2].offset + 3
    hurt(pack, d.truncated(cut))
    told = gpa_any(repo, "repair")
    assert 1 == told.returncode
    assert lost(repo) == before.keys() - all_objects(repo).keys()
    assert lost(repo) <= {one.oid for one in entries[len(entries) // 2 :]}


def test_what_a_pack_without_sound_idx_held_is_told_by_the_index(repo: Path) -> None:
    pack = one_pack(repo)
    oid, offset = entry_of(repo, pack)
    hurt(pack, d.flipped(offset + 8))
    hurt(pack.with_suffix(".idx"), d.flipped(-1))
    gpa_any(repo, "repair")
    assert oid in lost(repo)


def test_that_nobody_knows_what_a_pack_held_is_said(repo: Path) -> None:
    pack = one_pack(repo)
    _, offset = entry_of(repo, pack)
    hurt(pack, d.flipped(offset + 8))
    pack.with_suffix(".idx").unlink()
    index_path(repo).unlink()
    aged(pack)
    told = gpa_any(repo, "repair")
    assert 1 == told.returncode
    assert f"what '{pack.stem}' held is not known any more" in told.stderr


def test_an_idx_without_pack_is_set_aside_and_what_it_names_is_lost(repo: Path) -> None:
    pack = one_pack(repo)
    named = {one.oid for one in packed_objects(repo, pack.stem)}
    others = {one.oid for name in packs(repo) if name != pack.stem for one in packed_objects(repo, name)}
    pack.unlink()
    aged(pack.with_suffix(".idx"))
    assert 1 == gpa_any(repo, "repair").returncode
    assert named - others == lost(repo)
    verify_midx(repo)


def lying_idx(repo: Path) -> tuple[str, str, Path]:
    """A pack of one blob whose idx, sound by its checksum, says that it is another; that id, the true one, the pack."""
    true, false = oid_hex("blob", b"what is there"), oid_hex("blob", b"what is promised")
    entries = [Whole(kind="blob", content=b"what is there")]
    data = pack_bytes(entries)
    path = pack_dir(repo) / f"pack-{data[-20:].hex()}.pack"
    path.write_bytes(data)
    idx = bytearray(idx_bytes(data, entries)[:-20])
    idx[8:1032] = b"".join(struct.pack(">I", first >= int(false[:2], 16)) for first in range(256))
    idx[1032:1052] = bytes.fromhex(false)
    path.with_suffix(".idx").write_bytes(bytes(idx) + hashlib.sha1(idx).digest())
    return false, true, path


@pytest.mark.parametrize("elsewhere", ["nowhere", "loose", "another pack"])
def test_an_id_that_the_old_idx_promised_is_found_elsewhere_or_lost(repo: Path, elsewhere: str) -> None:
    if elsewhere == "another pack":
        add_pack(repo, [Whole(kind="blob", content=b"what is promised")])
    promised, there, pack = lying_idx(repo)
    if elsewhere == "loose":
        write_loose_by_hand(repo, promised, "blob", b"what is promised")
    told = gpa_any(repo, "repair")
    assert f"rebuilt '{pack.stem}.idx'" in told.stdout
    assert there in all_objects(repo)
    if elsewhere == "nowhere":
        assert (1, {promised}) == (told.returncode, lost(repo))
        assert f"lost {promised}, which was in '{pack.stem}'" in told.stderr
    else:
        assert (0, "") == (told.returncode, told.stderr)
        assert promised in all_objects(repo)


def test_an_id_that_only_the_index_promised_is_lost_too(repo: Path) -> None:
    promised, _, pack = lying_idx(repo)
    git(repo, "multi-pack-index", "write")
    hurt(pack.with_suffix(".idx"), d.flipped(-1))
    assert 1 == gpa_any(repo, "repair").returncode
    assert {promised} == lost(repo)
    verify_midx(repo)


def test_no_lie_of_an_idx_is_copied_into_a_page(repo: Path) -> None:
    """I13: where the pack is damaged as well, its sound entries are saved under their own ids."""
    promised, there, pack = lying_idx(repo)
    hurt(pack, d.flipped(11))
    told = gpa_any(repo, "repair")
    assert (1, {promised}) == (told.returncode, lost(repo))
    assert there in all_objects(repo)
    fsck(repo)


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo"])
def test_what_a_link_at_the_list_of_lost_objects_leads_to_is_neither_read_nor_changed(
    repo: Path, tmp_path: Path, kind: str
) -> None:
    secret, listed = tmp_path / "secret", repo / "gpa" / "damaged" / "lost"
    listed.parent.mkdir(parents=True)
    if kind == "fifo":
        os.mkfifo(listed)
    else:
        listed.symlink_to(secret)
    if kind == "link":
        secret.write_text("a secret\n")
    promised, _, _ = lying_idx(repo)
    assert 1 == gpa_any(repo, "repair").returncode
    assert {promised} == lost(repo)
    assert not listed.is_symlink()
    assert kind != "link" or "a secret\n" == secret.read_text()
    assert kind == "link" or not secret.exists()


def test_a_link_in_the_place_of_the_folder_for_damaged_files_ends_a_repair_before_it_begins(
    repo: Path, tmp_path: Path
) -> None:
    (repo / "gpa").mkdir(exist_ok=True)
    (repo / "gpa" / "damaged").symlink_to(tmp_path)
    hurt(one_pack(repo), d.flipped(-1))
    before = all_files(objects_dir(repo))
    told = gpa_any(repo, "repair")
    assert (128, True) == (told.returncode, "symbolic link" in told.stderr)
    assert before == all_files(objects_dir(repo))


def test_a_damaged_loose_object_is_set_aside(repo: Path) -> None:
    digest = content_digest(repo)
    oid = git(repo, "hash-object", "-w", "--stdin", input="unique").stdout.strip()
    path = objects_dir(repo) / oid[:2] / oid[2:]
    hurt(path, d.truncated(-3))
    told = gpa_any(repo, "repair")
    assert (1, {oid}) == (told.returncode, lost(repo))
    assert (repo / "gpa" / "damaged" / oid).exists()
    assert_sound(repo, digest)


@pytest.mark.parametrize("suffix", [".keep", ".promisor", ".mtimes"])
def test_a_protected_pack_is_left_where_it_is(repo: Path, suffix: str) -> None:
    """I8"""
    pack = one_pack(repo)
    _, offset = entry_of(repo, pack)
    pack.with_suffix(suffix).touch()
    hurt(pack, d.flipped(offset + 8))
    content = pack.read_bytes()
    told = gpa_any(repo, "repair")
    assert (1, True) == (told.returncode, f"protected by its {suffix} file" in told.stderr)
    assert content == pack.read_bytes()


def test_a_precious_objects_repository_is_left_alone(repo: Path) -> None:
    """I8"""
    git(repo, "config", "core.repositoryFormatVersion", "1")
    git(repo, "config", "extensions.preciousObjects", "true")
    hurt(one_pack(repo), d.flipped(-1))
    before = all_files(objects_dir(repo))
    assert 1 == gpa_any(repo, "repair").returncode
    assert before == all_files(objects_dir(repo))


def test_a_dry_run_names_each_fault_and_changes_nothing(repo: Path) -> None:
    hurt(one_pack(repo), d.flipped(-1))
    hurt(index_path(repo), d.flipped(-1))
    before = all_files(repo)
    told = gpa_any(repo, "repair", "-n")
    assert 1 == told.returncode
    assert [f"would mend '{one_pack(repo).stem}'", "would write 'multi-pack-index'"] == [
        line.partition(":")[0] for line in told.stdout.splitlines()
    ]
    steps = gpa_json(repo, "repair", "-n", status=1)["steps"]
    assert ["mend", "index"] == [step["action"] for step in steps]
    assert before == all_files(repo)


def test_open_readers_find_what_was_saved(repo: Path) -> None:
    """I2, I6: a process that has the old index in memory looks for the objects of a pack that is gone."""
    pack = one_pack(repo)
    oid, offset = entry_of(repo, pack)
    expected = all_objects(repo).keys() - {oid}
    hurt(pack, d.flipped(offset + 8))
    with PageStore.for_repository(repo) as store:
        sound = {one for one in expected if one in store}
        repair(str(repo))
        assert sound == {one for one in sound if store.read(one)}


def test_a_repair_is_a_value(repo: Path) -> None:
    hurt(one_pack(repo, suffix=".idx"), d.flipped(-1))
    result = commands.repair(str(repo))
    assert ((), (), 0) == (result.lost, result.left, result.saved_count)


def assert_sound(repo: Path, digest: str) -> None:
    verify_midx(repo)
    fsck(repo)
    assert digest == content_digest(repo)
    assert [] == leftovers(repo)
