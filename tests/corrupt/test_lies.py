"""A .idx may lie: it calls other content by an object's id, with the right CRC32. The good copy outlives the merge.

git reads whichever copy it finds first. What has a good copy must stay readable, through git and through a PageStore,
whichever copy is smaller, named by the index, or the base of others.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Sequence
from itertools import permutations
from pathlib import Path

import pytest
from oracle import ObjectFormat, git, objects_dir, packs, verify_midx
from packwriter import Entry, OfsDelta, Whole, add_liar, add_pack, encode_delta, entry_bytes, oid_hex

from gpa_maint import PageStore, commands
from gpa_maint._core.base import Progress
from gpa_maint._core.merge import Proof
from gpa_maint.model.results import ExpireResult, LeftOut

GOOD = b"".join(b"%d lines of a file that everybody needs\n" % number for number in range(300))
CHANGED = GOOD.replace(b"100 lines", b"one hundred lines") + b"and one more\n"
LIES = {
    "smaller": b"evil\n",
    "larger": GOOD + GOOD[::-1],
    "as large": GOOD.replace(b"everybody", b"ybodyever"),
}
WHEN = {"good named": (1, 2), "liar named": (2, 1), "no index": (0, 0)}
"""The seconds of the good packs and of the liars: git's index names the newest copy."""


def blob(content: bytes) -> Whole:
    return Whole(kind="blob", content=content)


class Scene:
    """A repository, the objects that have a good copy, and the packs that lie."""

    def __init__(self, folder: Path, object_format: ObjectFormat = "sha1") -> None:
        self.repo = folder / "r.git"
        self.format = object_format
        git(folder, "init", "-q", "--bare", f"--object-format={object_format}", str(self.repo))
        self.good: list[str] = []
        self.liars: list[str] = []
        self.objects: dict[str, bytes] = {}

    def oid(self, content: bytes) -> str:
        return oid_hex("blob", content, object_format=self.format)

    def add_good(self, *entries: Entry, contents: Sequence[bytes]) -> None:
        self.good.append(add_pack(self.repo, [*entries, blob(b"beside %d" % len(self.good))]))
        self.objects.update((self.oid(content), content) for content in contents)

    def add_liar(self, *entries: tuple[Entry, bytes], index_version: int = 2) -> None:
        """Each entry is called by the id of the content that comes with it; all keep one honest object."""
        beside = b"beside liar %d" % len(self.liars)
        rows = [*entries, (blob(beside), beside)]
        named = [(entry, self.oid(content)) for entry, content in rows]
        self.liars.append(add_liar(self.repo, named, object_format=self.format, index_version=index_version))
        self.objects[self.oid(beside)] = beside

    def age(self, name: str, second: int) -> None:
        for suffix in (".pack", ".idx"):
            os.utime(objects_dir(self.repo) / "pack" / f"{name}{suffix}", (10**9 + second, 10**9 + second))

    def index(self, when: str) -> None:
        for names, second in zip((self.good, self.liars), reversed(WHEN[when]), strict=True):
            for name in names:
                self.age(name, second)
        if when != "no index":
            git(self.repo, "multi-pack-index", "write")

    def merge(self) -> tuple[LeftOut, ...]:
        left_out = commands.repack(os.fspath(self.repo)).left_out
        commands.expire(os.fspath(self.repo), grace_seconds=0)
        return left_out

    def check(self) -> None:
        """Whatever had a good copy is read by git and by a store, from whatever there is now."""
        verify_midx(self.repo)
        with PageStore.for_repository(self.repo) as store:
            for oid, content in self.objects.items():
                done = subprocess.run(["git", "cat-file", "blob", oid], cwd=self.repo, capture_output=True, check=True)
                assert content == done.stdout
                assert ("blob", content) == store.read(oid)


@pytest.fixture(params=WHEN)
def when(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=LIES)
def lie(request: pytest.FixtureRequest) -> bytes:
    return LIES[request.param]


@pytest.mark.parametrize("index_version", [1, 2])
def test_a_whole_copy_that_lies_displaces_no_good_one(
    tmp_path: Path, object_format: ObjectFormat, index_version: int, lie: bytes, when: str
) -> None:
    scene = Scene(tmp_path, object_format)
    scene.add_good(blob(GOOD), contents=[GOOD])
    scene.add_liar((blob(lie), GOOD), index_version=index_version)
    scene.index(when)
    left_out = scene.merge()
    assert [(scene.liars[0], scene.oid(GOOD))] == [(left.pack, left.oid) for left in left_out]
    assert "its content is another object than this id says" == left_out[0].reason
    assert not {*scene.good, *scene.liars} & packs(scene.repo).keys()
    scene.check()


def test_a_delta_that_lies_displaces_no_good_one(tmp_path: Path, lie: bytes, when: str) -> None:
    scene = Scene(tmp_path)
    scene.add_good(blob(GOOD), contents=[GOOD])
    scene.add_liar((blob(CHANGED), CHANGED), (OfsDelta(base_index=0, program=encode_delta(CHANGED, lie)), GOOD))
    scene.index(when)
    scene.merge()
    scene.objects[scene.oid(CHANGED)] = CHANGED
    scene.check()


def test_a_good_delta_is_not_displaced_by_a_whole_copy(tmp_path: Path, lie: bytes, when: str) -> None:
    scene = Scene(tmp_path)
    scene.add_good(blob(CHANGED), OfsDelta(base_index=0, program=encode_delta(CHANGED, GOOD)), contents=[GOOD, CHANGED])
    scene.add_liar((blob(lie), GOOD))
    scene.index(when)
    scene.merge()
    scene.check()


@pytest.mark.parametrize("good_is", ["whole", "delta"])
def test_an_honest_delta_does_not_move_to_a_base_that_lies(
    tmp_path: Path, object_format: ObjectFormat, good_is: str, lie: bytes, when: str
) -> None:
    """The delta and its base lie in one pack; the other pack has only a liar by the name of the base."""
    scene = Scene(tmp_path, object_format)
    delta = OfsDelta(base_index=0, program=encode_delta(GOOD, CHANGED))
    if good_is == "whole":
        scene.add_good(blob(GOOD), delta, contents=[GOOD, CHANGED])
    else:
        longer = GOOD + b"more"
        scene.add_good(
            blob(longer),
            OfsDelta(base_index=0, program=encode_delta(longer, GOOD)),
            OfsDelta(base_index=1, program=encode_delta(GOOD, CHANGED)),
            contents=[longer, GOOD, CHANGED],
        )
    scene.add_liar((blob(lie), GOOD))
    scene.index(when)
    scene.merge()
    scene.check()


def test_an_honest_delta_on_a_base_that_lies_is_made_whole(
    tmp_path: Path, object_format: ObjectFormat, lie: bytes, when: str
) -> None:
    """Only its own pack can make it: on the good base it would be another object."""
    scene = Scene(tmp_path, object_format)
    scene.add_good(blob(GOOD), contents=[GOOD])
    scene.add_liar((blob(lie), GOOD), (OfsDelta(base_index=0, program=encode_delta(lie, CHANGED)), CHANGED))
    scene.objects[scene.oid(CHANGED)] = CHANGED
    scene.index(when)
    scene.merge()
    scene.check()


def test_an_honest_delta_on_a_base_that_lies_is_made_where_good_deltas_take_its_place(
    tmp_path: Path, lie: bytes, when: str
) -> None:
    """Of two good copies that are deltas the id is computed; it says nothing of the base that the other pack has."""
    longer, changed = GOOD + b"more", lie + b"and one more\n"
    scene = Scene(tmp_path)
    for other in (longer, longer + b"still more"):
        good = OfsDelta(base_index=0, program=encode_delta(other, GOOD))
        scene.add_good(blob(other), good, contents=[other, GOOD])
    scene.add_liar((blob(lie), GOOD), (OfsDelta(base_index=0, program=encode_delta(lie, changed)), changed))
    scene.objects[scene.oid(changed)] = changed
    scene.index(when)
    scene.merge()
    scene.check()


def test_an_honest_delta_on_a_delta_that_lies_is_made_whole(tmp_path: Path, lie: bytes, when: str) -> None:
    """The delta that lies takes more room than the good copy, which is the one that is taken."""
    changed = lie + b"and one more\n"
    other = random.Random(1).randbytes(100)
    scene = Scene(tmp_path)
    scene.add_good(blob(GOOD), contents=[GOOD])
    scene.add_liar(
        (blob(other), other),
        (OfsDelta(base_index=0, program=encode_delta(other, lie), level=0), GOOD),
        (OfsDelta(base_index=1, program=encode_delta(lie, changed)), changed),
    )
    scene.objects[scene.oid(changed)] = changed
    scene.index(when)
    scene.merge()
    scene.check()


def test_deltas_on_a_delta_on_a_base_that_lies_are_made_too(tmp_path: Path, lie: bytes, when: str) -> None:
    scene = Scene(tmp_path)
    scene.add_good(blob(GOOD), contents=[GOOD])
    further = CHANGED + b"and another\n"
    scene.add_liar(
        (blob(lie), GOOD),
        (OfsDelta(base_index=0, program=encode_delta(lie, CHANGED)), CHANGED),
        (OfsDelta(base_index=1, program=encode_delta(CHANGED, further)), further),
    )
    scene.objects.update({scene.oid(CHANGED): CHANGED, scene.oid(further): further})
    scene.index(when)
    scene.merge()
    scene.check()


@pytest.mark.parametrize("kind", ["whole", "delta"])
def test_a_whole_copy_that_lies_does_not_speak_for_the_delta_that_git_reads(tmp_path: Path, kind: str) -> None:
    """The good copy is a delta that repeats all its content, and the lie, of the same size, is smaller."""
    content = random.Random(1).randbytes(3000)
    lie = b"evil" * 750
    scene = Scene(tmp_path)
    good, longer = encode_delta(CHANGED, content), lie + b"x"
    scene.add_good(blob(CHANGED), OfsDelta(base_index=0, program=good), contents=[content, CHANGED])
    scene.add_liar((blob(lie), content))
    if kind == "delta":
        scene.add_liar((blob(longer), longer), (OfsDelta(base_index=0, program=encode_delta(longer, lie)), content))
    scene.index("good named")
    scene.merge()
    scene.check()


@pytest.mark.parametrize("has_index", [True, False])
@pytest.mark.parametrize("order", tuple(permutations(("good", "whole lie", "delta lie"))), ids=", ".join)
def test_a_delta_and_a_whole_copy_that_tell_the_same_lie(tmp_path: Path, order: Sequence[str], has_index: bool) -> None:
    """Merging meets the copies by age. Whichever is first, it sees that two whole ones differ."""
    lie, longer = LIES["as large"], LIES["as large"] + b"x"
    scene = Scene(tmp_path)
    scene.add_good(blob(GOOD), contents=[GOOD])
    scene.add_liar((blob(lie), GOOD))
    scene.add_liar((blob(longer), longer), (OfsDelta(base_index=0, program=encode_delta(longer, lie)), GOOD))
    scene.objects[scene.oid(longer)] = longer
    for kind, name in zip(("good", "whole lie", "delta lie"), (*scene.good, *scene.liars), strict=True):
        scene.age(name, order.index(kind))
    if has_index:
        git(scene.repo, "multi-pack-index", "write")
    scene.merge()
    scene.check()


@pytest.mark.parametrize("same", [True, False])
def test_two_liars_against_one_good_copy(tmp_path: Path, lie: bytes, same: bool, when: str) -> None:
    scene = Scene(tmp_path)
    scene.add_good(blob(GOOD), contents=[GOOD])
    scene.add_liar((blob(lie), GOOD))
    scene.add_liar((blob(lie if same else lie[:-2] + b"?\n"), GOOD))
    scene.index(when)
    left_out = scene.merge()
    assert set(scene.liars) == {left.pack for left in left_out}
    scene.check()


def test_a_lie_about_the_type(tmp_path: Path, when: str) -> None:
    scene = Scene(tmp_path)
    scene.add_good(blob(GOOD), contents=[GOOD])
    scene.add_liar((Whole(kind="tag", content=GOOD), GOOD))
    scene.index(when)
    scene.merge()
    scene.check()


def test_an_object_of_which_all_copies_lie_stays_where_it_is(tmp_path: Path) -> None:
    """Nobody has it: git complains before and after, and the packs that hold it stay."""
    scene = Scene(tmp_path)
    scene.add_good(contents=[])
    for lie in (b"one", b"three"):
        scene.add_liar((blob(lie), GOOD))
    scene.index("good named")
    left_out = scene.merge()
    assert {scene.oid(GOOD)} == {left.oid for left in left_out}
    assert set(scene.liars) & packs(scene.repo).keys()
    scene.check()


def test_a_liar_as_the_base_that_the_index_names_outside_the_merge(tmp_path: Path, lie: bytes) -> None:
    """The good base lies in a large pack that is not merged, and a small pack has a liar under its own delta."""
    scene = Scene(tmp_path)
    others = [b"of a large pack: %d" % number for number in range(2001)]
    large = add_pack(scene.repo, [blob(GOOD), *(blob(content) for content in others)])
    scene.good.append(large)
    scene.objects[scene.oid(GOOD)] = GOOD
    scene.add_liar((blob(lie), GOOD), (OfsDelta(base_index=0, program=encode_delta(lie, CHANGED)), CHANGED))
    scene.add_liar((blob(b"something"), b"something"))
    scene.objects[scene.oid(CHANGED)] = CHANGED
    scene.index("good named")
    scene.merge()
    assert large in packs(scene.repo)
    assert not set(scene.liars) & packs(scene.repo).keys()
    scene.check()


# ---- a copy that lies in a pack that is not merged ----

STAYS = ("a full pack", "a page of ours", "a pack outside the index")


class Going:
    """A small pack whose merged page leaves out GOOD, since another pack, which stays, has a copy of it."""

    def __init__(
        self, folder: Path, *, going: Sequence[tuple[Entry, bytes]], staying: Sequence[tuple[Entry, bytes]]
    ) -> None:
        self.scene = Scene(folder)
        git(self.scene.repo, "config", "gpa.pageObjects", "10")
        others = [b"of a full pack: %d" % number for number in range(10)]
        self.scene.add_liar(*staying, *((blob(content), content) for content in others))
        self.staying = self.scene.liars.pop()
        self.scene.add_liar(*going)
        self.scene.add_liar((blob(b"something"), b"something"))
        self.going = self.scene.liars[0]

    def merge(self, stays: str) -> ExpireResult:
        """Git's index names the copy that stays. A page of ours is held, and replaces some other pack."""
        for name in self.scene.liars:
            self.scene.age(name, 1)
        self.scene.age(self.staying, 2)
        path = objects_dir(self.scene.repo) / "pack" / self.staying
        if stays == "a page of ours":
            path.with_suffix(".keep").write_text(f"git-gpa merged\npack-{'1' * 40}\n")
        if stays == "a pack outside the index":
            self._supersede_outside()
        else:
            git(self.scene.repo, "multi-pack-index", "write")
            commands.repack(os.fspath(self.scene.repo))
        return commands.expire(os.fspath(self.scene.repo), grace_seconds=0)

    def read_good(self) -> bytes:
        command = ["git", "cat-file", "blob", self.scene.oid(GOOD)]
        return subprocess.run(command, cwd=self.scene.repo, capture_output=True, check=True).stdout

    def _supersede_outside(self) -> None:
        """As a run that was killed has left it: no index, and the pack that goes was proved superseded."""
        gpa = objects_dir(self.scene.repo).parent / "gpa"
        gpa.mkdir(exist_ok=True)
        state = {"superseded": {}, "merged": {self.going: 1}, "moves": [], "doomed": [], "dropped": {}}
        (gpa / "state.json").write_text(json.dumps(state))


def copy_of_good(content: bytes, kind: str) -> list[tuple[Entry, bytes]]:
    """An honest object, and an entry that calls `content` by the id of GOOD: whole, or as a delta on that object."""
    entry = blob(content) if kind == "whole" else OfsDelta(base_index=0, program=encode_delta(CHANGED, content))
    return [(blob(CHANGED), CHANGED), (entry, GOOD)]


@pytest.mark.parametrize("stays", STAYS)
@pytest.mark.parametrize("staying_kind", ["whole", "delta"])
@pytest.mark.parametrize("going_kind", ["whole", "delta"])
def test_a_good_copy_stays_when_the_other_one_lies(
    tmp_path: Path, going_kind: str, staying_kind: str, stays: str, lie: bytes
) -> None:
    """The index names the liar: git reads it, and who removes it shall find the good copy."""
    made = Going(tmp_path, going=copy_of_good(GOOD, going_kind), staying=copy_of_good(lie, staying_kind))
    done = made.merge(stays)
    assert made.going not in done.deleted
    reasons = [step.reason for step in done.kept_back if step.pack == made.going]
    assert [True] == [made.scene.oid(GOOD) in reason and made.staying in reason for reason in reasons]
    for path in (objects_dir(made.scene.repo) / "pack").glob(f"{made.staying}.*"):
        path.unlink()
    (objects_dir(made.scene.repo) / "pack" / "multi-pack-index").unlink(missing_ok=True)
    assert GOOD == made.read_good()


@pytest.mark.parametrize("stays", STAYS)
@pytest.mark.parametrize("staying_kind", ["whole", "delta"])
@pytest.mark.parametrize("going_kind", ["whole", "delta"])
@pytest.mark.parametrize("is_honest", [True, False])
def test_a_copy_goes_when_the_one_that_stays_is_the_object(
    tmp_path: Path, going_kind: str, staying_kind: str, stays: str, is_honest: bool
) -> None:
    content = GOOD if is_honest else LIES["as large"]
    made = Going(tmp_path, going=copy_of_good(content, going_kind), staying=copy_of_good(GOOD, staying_kind))
    done = made.merge(stays)
    assert made.going in done.deleted
    assert () == done.kept_back
    assert GOOD == made.read_good()


def test_a_copy_stays_when_the_other_one_is_damaged(tmp_path: Path) -> None:
    made = Going(tmp_path, going=copy_of_good(GOOD, "whole"), staying=copy_of_good(GOOD, "whole"))
    path = objects_dir(made.scene.repo) / "pack" / f"{made.staying}.pack"
    content = bytearray(path.read_bytes())
    content[12 + len(entry_bytes(blob(CHANGED), offset=12, offsets=[])) + 100] ^= 0x10
    path.write_bytes(content)
    assert made.going not in made.merge("a full pack").deleted


def test_what_merging_has_proved_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that say which packs they replace, and pages of such pages, cost nothing."""
    checked: list[str] = []
    check_copies = Proof.check_copies

    def count(self: Proof, path: str, span: tuple[int, int, int], progress: Progress | None) -> dict[int, str]:
        checked.append(path)
        return check_copies(self, path, span, progress)

    monkeypatch.setattr(Proof, "check_copies", count)
    scene = Scene(tmp_path)
    for number in range(4):
        content = b"%d" % number
        scene.add_good(blob(content), contents=[content])
    commands.repack(os.fspath(scene.repo))
    for number in range(4, 8):
        content = b"%d" % number
        scene.add_good(blob(content), contents=[content])
    commands.repack(os.fspath(scene.repo))
    done = commands.expire(os.fspath(scene.repo), grace_seconds=0)
    assert 9 == len(done.deleted)
    assert [] == checked
    scene.check()
