"""An error of the operating system is never proof of damage: repair moves nothing, names the file, does the rest."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import shims
from histories import HistorySpec, pushed_history
from oracle import all_objects, content_digest, git, objects_dir, pack_dir, packed_objects, packs
from running import all_files, gpa, gpa_any, index_path

from gpa_maint.apply.repair import refuse_system_failure
from gpa_maint.errors import GitFailed, SystemFailed

KINDS = ("pack", "idx", "loose", "index", "rev", "bitmap", "mtimes", "keep")
NEVER_OPENED = ("rev", "bitmap", "mtimes", "keep")


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shims.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pushes under an index, a loose object; not to be changed."""
    repo = pushed_history(tmp_path_factory.mktemp("pushed"), HistorySpec(pushes=4, files=4)).server
    git(repo, "multi-pack-index", "write")
    git(repo, "hash-object", "-w", "--stdin", input="a loose object\n")
    return repo


@pytest.fixture
def repo(pushed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pushed, tmp_path / "server"))


def file_of(repo: Path, kind: str) -> Path:
    """A file of this kind, made where there is none."""
    pack = pack_dir(repo) / f"{min(packs(repo))}.pack"
    if kind == "index":
        return index_path(repo)
    if kind == "loose":
        return next(path for path in objects_dir(repo).glob("??/*"))
    path = pack.with_suffix(f".{kind}")
    if not path.exists():
        path.write_bytes(b"a file of other bytes\n")
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_repair_sets_nothing_aside_for_an_error_of_the_system(repo: Path, shim: Path, kind: str) -> None:
    path = file_of(repo, kind)
    before = all_files(objects_dir(repo))
    for number in shims.SYSTEM_ERRORS if kind not in NEVER_OPENED else shims.SYSTEM_ERRORS[:1]:
        failing = shims.failing_open(shim, f"{path.parent.name}/{path.name}" if kind == "loose" else path.name, number)
        for options in ([], ["-n"]) if number == errno.EACCES else ([],):
            told = git(repo, "gpa", "repair", *options, env=failing, check=False)
            what = f"{os.strerror(number)}: {told.stderr}{told.stdout}"
            assert before == all_files(objects_dir(repo)), what
            assert not (repo / "gpa" / "damaged").exists(), what
            if kind in NEVER_OPENED:
                assert 0 == told.returncode, what
                continue
            assert 1 == told.returncode, what
            assert "lost" not in told.stderr, what
            name = "".join(path.parts[-2:]) if kind == "loose" else path.name.removesuffix(".pack")
            assert name in told.stderr + told.stdout, what


@pytest.mark.parametrize("kind", ["pack", "idx", "loose"])
def test_what_is_damaged_beside_a_file_that_cannot_be_read_is_repaired(repo: Path, shim: Path, kind: str) -> None:
    digest = content_digest(repo)
    unread, damaged = file_of(repo, kind), pack_dir(repo) / f"{max(packs(repo))}.idx"
    content = damaged.read_bytes()
    damaged.chmod(0o644)
    damaged.write_bytes(content[:-1] + b"?")
    name = f"{unread.parent.name}/{unread.name}" if kind == "loose" else unread.name
    told = git(repo, "gpa", "repair", env=shims.failing_open(shim, name, 13), check=False)
    assert (1, content) == (told.returncode, damaged.read_bytes()), told.stderr
    assert digest == content_digest(repo)
    assert "no damage was found" in gpa(repo, "repair", "-n").stdout


@pytest.mark.parametrize("number", [errno.EACCES, errno.EMFILE, errno.EIO])
def test_git_that_could_not_read_a_pack_proves_nothing(repo: Path, shim: Path, number: int) -> None:
    """The idx is gone, and git is to make it again: when it may not open the pack, the pack stays where it is."""
    pack = file_of(repo, "pack")
    pack.with_suffix(".idx").unlink()
    os.utime(pack, (time.time() - 7200,) * 2)
    before = all_files(pack_dir(repo))
    told = git(repo, "gpa", "repair", env=shims.failing_open(shim, pack.name, number), check=False)
    assert 1 == told.returncode
    assert pack.stem in told.stderr
    assert {path: state for path, state in before.items() if "multi-pack" not in str(path)} == {
        path: state for path, state in all_files(pack_dir(repo)).items() if "multi-pack" not in str(path)
    }


@pytest.mark.parametrize("number", shims.SYSTEM_ERRORS)
def test_what_the_system_refused_git_is_no_damage(number: int) -> None:
    failure = GitFailed(["git", "index-pack"], 128, f"fatal: cannot open packfile 'x': {os.strerror(number)}\n")
    with pytest.raises(SystemFailed, match="git could not read 'x'"):
        refuse_system_failure("x", failure)


def test_what_git_says_of_damage_is_damage() -> None:
    refuse_system_failure("x", GitFailed(["git", "index-pack"], 128, "fatal: pack has bad object at offset 12\n"))


FAULTS = ("folder", "dangling link", "closed folder")


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("kind", ["pack", "idx", "loose"])
def test_what_is_no_file_stays_where_it_is(repo: Path, kind: str, fault: str) -> None:
    if fault == "closed folder" and kind != "loose":
        pytest.skip("a closed objects/pack ends everything")
    path = file_of(repo, kind)
    if fault == "closed folder":
        if os.geteuid() == 0:
            pytest.skip("root reads every folder")
        path.parent.chmod(0)
    else:
        path.unlink()
        if fault == "folder":
            path.mkdir()
        else:
            path.symlink_to(repo / "nowhere")
    told = gpa_any(repo, "repair")
    path.parent.chmod(0o755)
    assert path.is_dir() if fault == "folder" else path.is_symlink() or fault == "closed folder"
    if not (kind == "loose" and fault != "closed folder"):  # for git, too, these are no objects
        assert 1 == told.returncode
        assert path.stem in told.stderr or fault == "closed folder"
    assert not (repo / "gpa" / "damaged" / "lost").exists()


@pytest.mark.parametrize("kind", ["pack", "idx", "loose", "index"])
def test_a_store_takes_another_copy_of_what_the_system_does_not_let_it_read(repo: Path, shim: Path, kind: str) -> None:
    path = file_of(repo, kind)
    oids = sorted(all_objects(repo))
    copies = repo.parent / "copies.git"
    shutil.copytree(repo, copies)
    git(copies, "repack", "-q", "-a", "-d", "--no-write-bitmap-index")
    for copied in pack_dir(copies).glob("pack-*"):
        shutil.copy(copied, pack_dir(repo))
    copied_oids = {one.oid for name in packs(copies) for one in packed_objects(copies, name)}
    name = f"{path.parent.name}/{path.name}" if kind == "loose" else path.name
    command = ["cat-file", "--batch-check"]
    for number in (errno.EACCES, errno.EIO, errno.ESTALE, errno.ELOOP):
        env = {**os.environ, **shims.failing_open(shim, name, number)}
        done = subprocess.run(
            ["git-gpa", *command],
            cwd=repo,
            input="\n".join(oid for oid in oids if oid in copied_oids),
            capture_output=True,
            text=True,
            env=env,
            check=False,
        )
        assert (0, "") == (done.returncode, done.stderr), os.strerror(number)
        assert "missing" not in done.stdout
