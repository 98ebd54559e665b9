"""One file that is unreadable, empty, truncated, a folder or a dangling link: it stays where it is, is named, and the
repository goes on being maintained beside it. A table over kinds of files, faults and verbs.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from oracle import all_objects, git, objects_dir, pack_dir, packed_objects, packs
from packwriter import Whole, idx_bytes, pack_bytes
from running import index_path

from gpa_maint import PageStore
from gpa_maint.cli.main import main
from gpa_maint.fs import door

PACKS = 8

IN_PACK_DIR = ("pack", "idx", "rev", "keep")
RECORDS = ("log", "state.json", "next", "history", "last-run.json", "totals.json")
KINDS = (*IN_PACK_DIR, "index", "loose", "loose folder", *RECORDS)
LOOKING = (["status"], ["explain"], ["map"], ["verify"], ["verify", "--deep"], ["history"], ["repair", "-n"])
CHANGING = (["run"], ["write"], ["repack"], ["add-loose"], ["expire", "--grace=now"], ["run"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four packs under an index, four outside it, loose objects, and the records of a run; not to be changed."""
    repo = tmp_path_factory.mktemp("made") / "r.git"
    repo.mkdir()
    git(repo, "init", "-q", "--bare")
    for key, value in {"autoPages": "2", "autoLoose": "3", "pageObjects": "1000"}.items():
        git(repo, "config", f"gpa.{key}", value)
    for number in range(PACKS):
        if number == PACKS // 2:
            git(repo, "multi-pack-index", "write")
            git(repo, "-c", "gpa.autoPages=100", "gpa", "run")
        entries = [Whole(kind="blob", content=b"blob %d of pack %d\n" % (blob, number)) for blob in range(3)]
        data = pack_bytes(entries)
        path = pack_dir(repo) / f"pack-{data[-20:].hex()}.pack"
        path.write_bytes(data)
        path.chmod(0o444)
        path.with_suffix(".idx").write_bytes(idx_bytes(data, entries))
        path.with_suffix(".idx").chmod(0o444)
    for number in range(4):
        git(repo, "hash-object", "-w", "--stdin", input=f"loose {number}\n")
    return repo


@pytest.fixture
def repo(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "r.git"))


def path_of(repo: Path, kind: str) -> Path:
    """A file of this kind, made where there is none. Of the packs one that the index does not name."""
    if kind == "index":
        return index_path(repo)
    if kind in RECORDS:
        path = repo / "gpa" / kind
        if not path.exists():
            path.write_text("some text\n")
        return path
    if kind.startswith("loose"):
        path = min(objects_dir(repo).glob("??/*"))
        return path.parent if kind == "loose folder" else path
    named = index_path(repo).read_bytes()
    name = min(name for name in packs(repo) if name.encode() not in named)
    path = pack_dir(repo) / f"{name}.{kind}"
    if not path.exists():
        path.write_bytes(b"some bytes\n")
    return path


def emptied(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def made_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").write_text("in the place of a file\n")


def made_dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nowhere/at/all")


def closed(path: Path) -> None:
    path.chmod(0)


FAULTS: dict[str, Callable[[Path], None]] = {
    "empty": emptied,
    "truncated": truncated,
    "folder": made_folder,
    "dangling link": made_dangling,
    "unreadable": closed,
}


def look_of(path: Path) -> object:
    """What the file is: kind, size and identity."""
    stat = path.lstat()
    return (stat.st_ino, stat.st_mode, stat.st_size if not path.is_dir() else None)


class Runner:
    """Runs verbs in this process, or without root's rights where that matters; keeps what they said."""

    def __init__(self, repo: Path, capsys: pytest.CaptureFixture[str], *, unprivileged: bool) -> None:
        self._repo = repo
        self._capsys = capsys
        self._apart = unprivileged and os.geteuid() == 0
        self.said = ""
        if self._apart and not shutil.which("setpriv"):
            pytest.skip("setpriv is needed to give up root's rights")

    def __call__(self, *words: str) -> tuple[int, str]:
        """Exit status and all that was said."""
        if self._apart:
            rights = "-dac_override,-dac_read_search"
            command = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", "git", "gpa", *words]
            done = subprocess.run(command, cwd=self._repo, capture_output=True, text=True, check=False)
            status, said = done.returncode, done.stderr + done.stdout
        else:
            status = main(list(words))
            out, err = self._capsys.readouterr()
            said = err + out
        self.said += said
        assert "Traceback" not in said, said
        return status, said


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_bad_file_stays_where_it_is_and_the_rest_is_done(
    repo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str, fault: str
) -> None:
    if kind == "loose folder" and fault != "unreadable":
        pytest.skip("a folder is neither empty nor a link")
    monkeypatch.chdir(repo)
    path = path_of(repo, kind)
    before = all_objects(repo)
    FAULTS[fault](path)
    run = Runner(repo, capsys, unprivileged=fault == "unreadable")
    if fault != "unreadable":
        before = readable(repo, before)
    state = look_of(path)
    for words in LOOKING:
        status, said = run(*words)
        assert status in allowed(words, kind), f"{words}: {said}"
        assert state == look_of(path), words
    for words in CHANGING:
        status, said = run(*words)
        assert status in allowed(words, kind), f"{words}: {said}"
        if kind not in (*RECORDS, "index") and (kind != "rev" or os.path.lexists(path)):
            assert state == look_of(path), words
    if kind in ("pack", "idx", "loose folder"):
        assert path.stem in run.said
    if path.exists():
        path.chmod(0o755 if path.is_dir() else 0o644)
    if (kind == "index" and fault in ("folder", "unreadable")) or (kind == "state.json" and fault == "folder"):
        # What an index names that cannot be read is not merged, and what cannot be recorded is not deleted.
        assert path.name in run.said
    else:
        assert len(list(pack_dir(repo).glob("*.pack"))) <= 3, run.said
    assert before == readable(repo, before)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", [*IN_PACK_DIR, "loose"])
def test_cat_file_and_a_store_read_all_that_lies_beside_a_bad_file(repo: Path, kind: str, fault: str) -> None:
    path = path_of(repo, kind)
    apart = {path.parent.name + path.name}
    if kind in ("pack", "idx"):
        apart = {one.oid for one in packed_objects(repo, path.stem)}
    oids = sorted(all_objects(repo).keys() - apart)
    FAULTS[fault](path)
    rights = "-dac_override,-dac_read_search"
    command = [sys.executable, "-m", "gpa_maint.cli.main", "cat-file", "--batch-check"]
    if fault == "unreadable" and os.geteuid() == 0:
        command = ["setpriv", f"--bounding-set={rights}", f"--inh-caps={rights}", *command]
    done = subprocess.run(command, cwd=repo, input="\n".join(oids), capture_output=True, text=True, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    assert oids == [line.split()[0] for line in done.stdout.splitlines() if not line.endswith(" missing")]
    with PageStore.for_repository(repo) as store:
        assert all(store.read(oid) for oid in oids)


def readable(repo: Path, objects: dict[str, tuple[str, int, str]]) -> dict[str, tuple[str, int, str]]:
    """Those of the objects that git can read now."""
    listing = git(repo, "cat-file", "--batch-check", input="\n".join(objects), check=False).stdout
    there = {line.split()[0] for line in listing.splitlines() if not line.endswith(" missing")}
    return {oid: value for oid, value in objects.items() if oid in there}


def allowed(words: list[str], kind: str) -> tuple[int, ...]:
    """0 where the file does not matter, 1 where it is named; 128 where nothing can be done without it."""
    if kind == "index" and words[0] in ("write", "repack", "expire", "explain", "map", "verify"):
        return (0, 1, 128)
    if kind == "state.json" and words[0] == "expire":
        return (0, 1, 128)
    return (0, 1)


def test_a_fleet_is_told_of_what_was_left_in_one_repository(
    repo: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = path_of(repo, "idx")
    emptied(path)
    assert 1 == main(["run", f"--all={tmp_path}"])
    out, err = capsys.readouterr()
    assert "merged" in out
    assert f"{repo}: left as it is: corrupt '{path}'" in err


def test_temporary_files_that_cannot_be_removed_keep_no_run_from_its_work(
    repo: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, gits = repo / "gpa" / "tmp" / "1-1.pack", pack_dir(repo) / "tmp_pack_123456"
    for path in (ours, gits):
        path.write_bytes(b"left over")
        os.utime(path, (1_000_000_000, 1_000_000_000))

    def fail(operation: str, path: str) -> None:
        if operation == "unlink" and path in (str(ours), str(gits)):
            raise door.failed(operation, path, OSError(errno.EPERM, ""))

    monkeypatch.setattr(door, "before_step", fail)
    monkeypatch.chdir(repo)
    assert 1 == main(["run"])
    out, err = capsys.readouterr()
    assert "merged" in out
    assert str(gits) in err
