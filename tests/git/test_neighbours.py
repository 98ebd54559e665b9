"""The tables of docs/promises.md: which promises hold beside whom, and what each command spares. Filled here.

Each neighbour works once in a copy of one repository that we keep, between our verbs. What fails there is tried in a
twin without git-gpa: where that fails too it is the neighbour's own, and else it is a fault. GPA_REWRITE_TABLES=1
writes the tables; rows of those who are not there (JGit, or a task that this git lacks) stay as they are, and are not
compared.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from histories import HistorySpec, init_server, pushed_history
from jgit import Unknown, jgit
from neighbours import NEIGHBOURS, READERS, Scene
from oracle import all_objects, fsck, git, midx_names, pack_dir, packs
from running import Reader, gpa

import gpa_maint

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "promises.md"
REWRITE = bool(os.environ.get("GPA_REWRITE_TABLES"))
PROMISES = ("I1", "I2", "I5", "I7", "I8", "I9", "I14")
SPARED = ("a loose object", "a pack without .keep", "a page of ours")
OLD = 40 * 86400
OLD_DOCUMENT = "an old document, written again\n"
COMMIT = b"tree %s\nauthor a <a@e> 1 +0000\ncommitter a <a@e> 1 +0000\n\nmessage\n"

Row = tuple[str, ...]


class Place(NamedTuple):
    """A scene, and what is in it that no ref names: young objects in three shapes, and an old one written again."""

    scene: Scene
    young: dict[str, str]
    commit: str
    old: str
    kept_by_us: bool

    @property
    def repo(self) -> Path:
        return self.scene.repo


# -- The repository


def build(root: Path, *, by_us: bool) -> Place:
    """A page, its sources, a push after them, one pack of each protected kind, and objects that no ref names.

    Not `by_us`: the same objects without git-gpa, the new ones loose.
    """
    made = pushed_history(root, HistorySpec(pushes=5, waiting=2))
    repo = made.server
    (pack_dir(repo) / f"{made.packs[0]}.keep").write_text("by hand\n")
    _add_foreign_packs(repo, root)
    if by_us:
        gpa_maint.repack(repo)
    old = _write_old(repo, by_us=by_us)
    if by_us:
        gpa_maint.write(repo)
    else:
        git(repo, "multi-pack-index", "write")
    gone = made.waiting[0]
    git(made.client, "push", "-q", repo, *(f"+{update.oid}:{update.ref}" for update in gone if update.oid))
    young = {
        SPARED[0]: git(repo, "hash-object", "-w", "--stdin", input="young and loose\n").stdout.strip(),
        SPARED[1]: _pack_alone(repo, "young, in a pack\n"),
    }
    commit, young[SPARED[2]] = _write_new(repo, by_us=by_us)
    other = init_server(root / "other")
    names = [git(other, "hash-object", "-w", "--stdin", input=f"sent {number}\n").stdout for number in range(3)]
    pack = subprocess.run(
        ["git", "-C", other, "pack-objects", "--stdout", "-q"], input="".join(names).encode(), capture_output=True
    ).stdout
    return Place(Scene(repo, made.client, made.waiting[1], pack), young, commit, old, by_us)


def _pack_alone(repo: Path, text: str) -> str:
    """Write a blob that is in a pack and nowhere else; return its id."""
    oid = git(repo, "hash-object", "-w", "--stdin", input=text).stdout.strip()
    git(repo, "pack-objects", "-q", pack_dir(repo) / "pack", input=f"{oid}\n")
    (pack_dir(repo).parent / oid[:2] / oid[2:]).unlink()
    return oid


def _add_foreign_packs(repo: Path, root: Path) -> None:
    """Add a promisor pack and a cruft pack."""
    before = packs(repo).keys()
    _pack_alone(repo, "promised\n")
    (promised,) = packs(repo).keys() - before
    (pack_dir(repo) / f"{promised}.promisor").write_bytes(b"")
    other = init_server(root / "cruft")
    git(other, "hash-object", "-w", "--stdin", input="cruft\n")
    git(other, "repack", "-q", "-d", "--cruft", "--cruft-expiration=never")
    for path in pack_dir(other).glob("pack-*"):
        shutil.copy2(path, pack_dir(repo) / path.name)


def _write_old(repo: Path, *, by_us: bool) -> str:
    """Write a blob that is 40 days old, in a page whose hold has ended, or a pack; then write it again."""
    before = packs(repo).keys()
    if by_us:
        with gpa_maint.PageStore.for_repository(repo) as store, store.writer() as writer:
            oid = writer.add("blob", OLD_DOCUMENT.encode()).hex()
    else:
        oid = _pack_alone(repo, OLD_DOCUMENT)
    (name,) = packs(repo).keys() - before
    then = time.time() - OLD
    os.utime(pack_dir(repo) / f"{name}.pack", (then, then))
    if by_us:
        gpa_maint.expire(repo)
        assert not (pack_dir(repo) / f"{name}.keep").exists()
    git(repo, "hash-object", "-w", "--stdin", input=OLD_DOCUMENT)
    assert (pack_dir(repo) / f"{name}.pack").stat().st_mtime > then + 1, "git touches the pack"
    return oid


def _write_new(repo: Path, *, by_us: bool) -> tuple[str, str]:
    """Write a commit that no ref names, and a blob by itself; return their ids."""
    if not by_us:
        blob = git(repo, "hash-object", "-w", "--stdin", input="new\n").stdout.strip()
        tree = git(repo, "mktree", input=f"100644 blob {blob}\tfile\n").stdout.strip()
        alone = git(repo, "hash-object", "-w", "--stdin", input="young, in a page\n").stdout.strip()
        return git(repo, "commit-tree", "-m", "new", tree).stdout.strip(), alone
    with gpa_maint.PageStore.for_repository(repo) as store, store.writer() as writer:
        tree_id = writer.add("tree", b"100644 file\0" + writer.add("blob", b"new\n"))
        alone_id = writer.add("blob", b"young, in a page\n")
        return writer.add("commit", COMMIT % tree_id.hex().encode()).hex(), alone_id.hex()


def copy_of(place: Place, root: Path) -> Place:
    shutil.copytree(place.repo.parent, root, symlinks=True)
    scene = place.scene._replace(repo=root / place.repo.name, client=root / place.scene.client.name)
    return place._replace(scene=scene)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return build(tmp_path_factory.mktemp("neighbours") / "ours", by_us=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return build(tmp_path_factory.mktemp("neighbours") / "alone", by_us=False)


# -- The checks


def has(repo: Path, oid: str) -> bool:
    return git(repo, "cat-file", "-e", oid, check=False).returncode == 0


def _missing(repo: Path, oids: set[str]) -> list[str]:
    answers = git(repo, "cat-file", "--batch-check", input="".join(f"{oid}\n" for oid in sorted(oids))).stdout
    return [line for line in answers.splitlines() if line.endswith(" missing")]


def reachable(repo: Path) -> set[str]:
    return set(git(repo, "rev-list", "--objects", "--no-object-names", "--all").stdout.split())


def protected(repo: Path) -> dict[str, tuple[int, int]]:
    """The packs with a .keep of somebody else, a .promisor or a .mtimes, and which files they are."""
    found = {}
    for path in pack_dir(repo).glob("*.pack"):
        keep = path.with_suffix(".keep")
        foreign = keep.exists() and not keep.read_text().startswith("git-gpa ")
        if foreign or path.with_suffix(".promisor").exists() or path.with_suffix(".mtimes").exists():
            found[path.stem] = (path.stat().st_ino, path.stat().st_size)
    return found


def merge_and_delete(repo: Path) -> None:
    gpa_maint.repack(repo)
    gpa_maint.expire(repo, grace_seconds=0)


def failures(place: Place, neighbour: Callable[[Scene], None]) -> tuple[dict[str, str], dict[str, bool]]:
    """Let it work in `place`: the promises that broke, and why; and which young objects it spared."""
    repo, broken = place.repo, dict[str, str]()

    def check(promise: str, *wrong: object) -> None:
        if any(wrong):
            broken.setdefault(promise, str(next(filter(None, wrong))))

    wanted = reachable(repo)
    reader = Reader(repo)
    try:
        neighbour(place.scene)
        check("I1", _complaint(lambda: fsck(repo)))
        spared = {shape: has(repo, oid) for shape, oid in place.young.items()}
        named = git(repo, "update-ref", "refs/heads/new", place.commit, check=False)
        check("I14", not spared[SPARED[2]] and "the blob is gone", named.stderr)
        check("I14", not named.returncode and _complaint(lambda: reachable(repo)))
        if place.kept_by_us:
            present, foreign = _objects_in_any_pack(repo), protected(repo)
            check("I5", _complaint(lambda: gpa_maint.maintain(repo)), _missing_packs(repo))
            merge_and_delete(repo)
            check("I7", present.items() - _objects_in_any_pack(repo).items())
            check("I8", foreign.items() - protected(repo).items())
        check("I1", _complaint(lambda: fsck(repo)))
        check("I2", _complaint(lambda: _read_all(reader, wanted)), _missing(repo, wanted))
        check("I9", not has(repo, place.old) and "gone at once")
        git(repo, "gc", "-q", "--cruft", "--prune=2.weeks.ago", check=place.kept_by_us)
        check("I9", not has(repo, place.old) and "pruned by its old time")
    finally:
        reader.close()
    return broken, spared


def _missing_packs(repo: Path) -> set[str]:
    index = pack_dir(repo) / "multi-pack-index"
    return set(midx_names(repo)) - packs(repo).keys() if index.exists() else set()


def _objects_in_any_pack(repo: Path) -> dict[str, tuple[str, int, str]]:
    """All objects, also where the index names packs that somebody has deleted."""
    git(repo, "config", "core.multiPackIndex", "false")
    try:
        return all_objects(repo)
    finally:
        git(repo, "config", "--unset", "core.multiPackIndex")


def _complaint(work: Callable[[], object]) -> str:
    try:
        work()
    except (AssertionError, OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _read_all(reader: Reader, wanted: set[str]) -> None:
    for oid in sorted(wanted):
        reader.read(oid)


# -- The tables


def table(title: str) -> tuple[str, dict[str, Row]]:
    """The text between the markers of this table, and its rows: first cell -> the others."""
    found = re.search(rf"<!-- {title}, filled by a test -->\n(.*?)<!-- end -->", DOCUMENT.read_text(), re.DOTALL)
    assert found, f"'{DOCUMENT}' has no markers for '{title}'"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()[2:]]
    return found[1], {row[0].strip("`"): tuple(row[1:]) for row in rows if row[0]}


def render(head: tuple[str, ...], rows: dict[str, Row]) -> str:
    lines = [("beside", *head), ("---",) * (len(head) + 1), *((f"`{name}`", *row) for name, row in rows.items())]
    return "".join("|" + "|".join(f" {cell} " for cell in line) + "|\n" for line in lines)


TITLES: dict[str, tuple[str, ...]] = {"Promises beside others": PROMISES, "What is spared": SPARED}


@pytest.fixture(scope="module")
def filled() -> Iterator[dict[str, dict[str, Row]]]:
    """The rows that were tried; with GPA_REWRITE_TABLES they go into the document at the end."""
    rows: dict[str, dict[str, Row]] = {title: {} for title in TITLES}
    yield rows
    if REWRITE:
        text = DOCUMENT.read_text()
        for title, head in TITLES.items():
            before, there = table(title)
            known = {name: rows[title].get(name) or there.get(name) for name in names_of(title)}
            new = render(head, {name: row for name, row in known.items() if row})
            text = text.replace(f"{title}, filled by a test -->\n{before}", f"{title}, filled by a test -->\n{new}")
        DOCUMENT.write_text(text)


def names_of(title: str) -> list[str]:
    return [*NEIGHBOURS, *(READING if title == "Promises beside others" else ())]


def note(filled: dict[str, dict[str, Row]], title: str, name: str, row: Row) -> None:
    filled[title][name] = row
    if not REWRITE:
        assert row == table(title)[1].get(name), f"{title}: {name} (GPA_REWRITE_TABLES=1 writes the tables)"


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_the_promises_hold_beside(
    tmp_path: Path, ours: Place, alone: Place, filled: dict[str, dict[str, Row]], name: str
) -> None:
    """I1, I2, I5, I7, I8, I9, I14"""
    try:
        broken, spared = failures(copy_of(ours, tmp_path / "ours"), NEIGHBOURS[name])
    except Unknown as error:
        pytest.skip(str(error))
    if broken:
        by_itself, _ = failures(copy_of(alone, tmp_path / "alone"), NEIGHBOURS[name])
        assert {} == {promise: why for promise, why in broken.items() if promise not in by_itself}, by_itself
    note(filled, "Promises beside others", name, tuple("its own" if p in broken else "holds" for p in PROMISES))
    note(filled, "What is spared", name, tuple("spared" if spared[shape] else "lost" for shape in SPARED))


# -- Those who only read


def read_meanwhile(name: str, place: Place) -> None:
    """Open it, let us merge and delete, and read everything that was there."""
    digests = {oid: digest for oid, (_kind, _size, digest) in all_objects(place.repo).items()}
    reader = READERS[name](place.repo)
    try:
        reader.read(next(iter(digests)))
        merge_and_delete(place.repo)
        assert digests == {oid: hashlib.sha256(reader.read(oid)).hexdigest() for oid in digests}
    finally:
        reader.close()


def read_by_jgit(_name: str, place: Place) -> None:
    merge_and_delete(place.repo)
    head = git(place.repo, "for-each-ref", "--count=1", "--format=%(objectname)").stdout.strip()
    expected = git(place.repo, "rev-list", "--objects", "--no-object-names", head).stdout.split()
    assert sorted(expected) == sorted(
        line.split()[0] for line in jgit(place.repo, "rev-list", "--objects", head).splitlines()
    )


READING: dict[str, Callable[[str, Place], None]] = {
    **dict.fromkeys(READERS, read_meanwhile),
    "JGit, started afterwards": read_by_jgit,
}


@pytest.mark.parametrize("name", READING)
def test_it_reads_what_we_leave(tmp_path: Path, ours: Place, filled: dict[str, dict[str, Row]], name: str) -> None:
    """I2"""
    try:
        READING[name](name, copy_of(ours, tmp_path / "ours"))
    except (Unknown, ImportError) as error:
        pytest.skip(str(error))
    note(filled, "Promises beside others", name, tuple("holds" if promise == "I2" else "" for promise in PROMISES))


@pytest.mark.parametrize("title", TITLES)
def test_the_table_is_whole(title: str) -> None:
    """Each neighbour has its row, in order, and nobody else."""
    if REWRITE:
        pytest.skip("the tables are written after the last test")
    text, rows = table(title)
    assert names_of(title) == list(rows)
    assert render(TITLES[title], rows) == text


def test_pages_in_a_clone_of_the_same_disk_are_released_there(ours: Place, tmp_path: Path) -> None:
    """I14: a local clone copies .keep files."""
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--bare", copy_of(ours, tmp_path / "ours").repo, clone)
    held = [keep for keep in pack_dir(clone).glob("*.keep") if keep.read_text().startswith("git-gpa ")]
    assert held
    git(clone, "config", "gpa.keepNew", "now")
    gpa(clone, "expire", "--grace=now")
    left = [keep for keep in pack_dir(clone).glob("*.keep") if keep.read_text().startswith("git-gpa new")]
    assert [] == left
    fsck(clone)
