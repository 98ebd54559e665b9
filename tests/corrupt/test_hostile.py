"""A repository that somebody made to do harm: nothing outside it is written, nothing is run, and nobody waits for ever.

docs/security.md says what is assumed and what is not.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import damage as d
import pytest
from histories import HistorySpec, pushed_history
from oracle import content_digest, fsck, git, objects_dir, pack_dir, packs
from running import all_files, gpa, gpa_any, index_path

from gpa_maint import PageStore

SECONDS = 20
OURS = ["log", "lock", "state.json", "next", "last-run.json", "totals.json"]
READING = ["status", "explain", "verify", "run -n", "repack -n", "expire -n", "repair -n"]
WRITING = ["write", "repack", "expire --grace=now", "run", "run --auto", "repair", "install"]


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pushes; not to be changed."""
    return pushed_history(tmp_path_factory.mktemp("pushed"), HistorySpec(pushes=6, files=8)).server


@pytest.fixture
def repo(pushed: Path, tmp_path: Path) -> Path:
    made = Path(shutil.copytree(pushed, tmp_path / "server"))
    git(made, "config", "gpa.autoPages", "2")
    git(made, "config", "gpa.expireGrace", "now")
    return made


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is none of the repository's business."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "file").write_text("precious")
    return folder


def run(repo: Path, words: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "gpa", *words.split()], cwd=repo, capture_output=True, timeout=SECONDS, check=False)


# -- Links and what is no file


@pytest.mark.parametrize("words", WRITING)
@pytest.mark.parametrize("place", ["gpa", "gpa/tmp"])
def test_nothing_is_written_through_a_link_to_a_folder(repo: Path, outside: Path, place: str, words: str) -> None:
    (repo / "gpa").mkdir(exist_ok=True)
    if place == "gpa":
        shutil.rmtree(repo / "gpa")
    (repo / place).symlink_to(outside)
    before = all_files(outside)
    told = run(repo, words)
    assert before == all_files(outside)
    if words != "install" or place == "gpa":
        assert 128 == told.returncode
        assert f"symbolic link '{repo / place}'" in told.stderr.decode()


@pytest.mark.parametrize("name", OURS)
def test_nothing_is_written_through_a_link_to_a_file(repo: Path, outside: Path, name: str) -> None:
    (repo / "gpa").mkdir(exist_ok=True)
    for words in ("run", "repack", "expire", "install", "status"):
        (repo / "gpa" / name).unlink(missing_ok=True)
        (repo / "gpa" / name).symlink_to(outside / "file")
        assert b"Traceback" not in run(repo, words).stderr
        assert "precious" == (outside / "file").read_text(), words
    fsck(repo)


@pytest.mark.parametrize("kind", ["fifo", "folder"])
@pytest.mark.parametrize("name", OURS)
def test_nobody_waits_for_what_is_no_file(repo: Path, name: str, kind: str) -> None:
    (repo / "gpa").mkdir(exist_ok=True)
    (os.mkfifo if kind == "fifo" else os.mkdir)(repo / "gpa" / name)
    for words in ("run --auto", "status", "expire -n"):
        assert b"Traceback" not in run(repo, words).stderr
    fsck(repo)


def test_a_folder_of_loose_objects_that_is_a_link_is_passed_over(repo: Path, outside: Path) -> None:
    oid = git(repo, "hash-object", "-w", "--stdin", input="unique").stdout.strip()
    shutil.move(objects_dir(repo) / oid[:2], outside / oid[:2])
    (objects_dir(repo) / oid[:2]).symlink_to(outside / oid[:2])
    git(repo, "config", "gpa.autoLoose", "1")
    gpa(repo, "run")
    assert (outside / oid[:2] / oid[2:]).exists()


def test_of_a_pack_that_is_a_link_only_the_link_is_deleted(repo: Path, outside: Path) -> None:
    digest = content_digest(repo)
    for path in [*pack_dir(repo).glob("*.pack"), *pack_dir(repo).glob("*.idx")]:
        shutil.move(path, outside / path.name)
        path.symlink_to(outside / path.name)
    before = all_files(outside)
    gpa(repo, "repack")
    gpa(repo, "expire")
    assert digest == content_digest(repo)
    assert before == all_files(outside)


# -- Names


@pytest.mark.parametrize("name", ["pack-\n", "pack-\x1b[31m", "pack-\x7f", "pack-\x9b"])
def test_a_pack_with_a_control_character_in_its_name_is_left_alone(repo: Path, name: str) -> None:
    some = next(pack_dir(repo).glob("*.pack"))
    for suffix in (".pack", ".idx"):
        shutil.copy(some.with_suffix(suffix), pack_dir(repo) / (name + suffix))
    for words in (*WRITING, *READING):
        told = run(repo, words)
        assert (0, set()) == (told.returncode, controls(told.stdout + told.stderr)), words
    assert (pack_dir(repo) / f"{name}.pack").exists()
    assert set() == controls((repo / "gpa" / "log").read_bytes())


def controls(text: bytes) -> set[int]:
    return {ord(one) for one in text.decode(errors="replace") if ord(one) < 32 or 127 <= ord(one) < 160} - {9, 10}


@pytest.mark.parametrize("name", [b"../../../outside", b"pack-\x1b[2J", b"pack-\n"])
def test_an_index_that_names_a_pack_so_is_refused(repo: Path, name: bytes) -> None:
    gpa(repo, "write")
    old = sorted(packs(repo))[0].encode()
    hostile = name.ljust(len(old), b"x")[: len(old)]
    path = index_path(repo)
    path.chmod(0o644)
    path.write_bytes(d.resealed(lambda data: data.replace(old, hostile))(path.read_bytes()))
    for words in ("verify", "status", "expire"):
        told = run(repo, words)
        assert set() == controls(told.stdout + told.stderr), words
        assert b"pack name" in told.stdout + told.stderr, words
    with PageStore.for_repository(repo) as store:
        assert len(list(store)) == len(content_ids(repo))


def content_ids(repo: Path) -> set[str]:
    return set(git(repo, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)").stdout.split())


# -- Settings


def test_no_program_that_the_repository_names_is_run(repo: Path, tmp_path: Path) -> None:
    """A partial clone whose remote is a program, and every other setting that names one."""
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path / 'sprung'}\n")
    trap.chmod(0o755)
    keys = ["core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass", "credential.helper"]
    keys += ["gc.recentObjectsHook", "diff.external", "core.alternateRefsCommand", "uploadpack.packObjectsHook"]
    for key in keys:
        git(repo, "config", key, str(trap))
    settings = {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::{trap}",
        "protocol.allow": "always",
        "protocol.ext.allow": "always",
        "gpa.autoLoose": "1",
        "gpa.autoRefs": "1",
    }
    for key, value in settings.items():
        git(repo, "config", key, value)
    git(repo, "hash-object", "-w", "--stdin", input="unique")
    damaged = max(pack_dir(repo).glob("*.pack"), key=lambda path: path.stat().st_size)
    for words in (*READING, *WRITING):
        run(repo, words)
    damaged = max(pack_dir(repo).glob("*.pack"), key=lambda path: path.stat().st_size)
    damaged.chmod(0o644)
    damaged.write_bytes(d.flipped(40)(damaged.read_bytes()))
    run(repo, "repair")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("gpa.pageObjects", "99999999999999999999"),
        ("gpa.pageBytes", "-1"),
        ("gpa.depth", "4g"),
        ("gpa.expireGrace", "\x1b[31m"),
        ("pack.compression", "1000"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(repo: Path, key: str, value: str) -> None:
    git(repo, "config", key, value)
    told = gpa_any(repo, "repack")
    assert 128 == told.returncode
    assert key in told.stderr or "pack compression level" in told.stderr
    assert set() == controls(told.stderr.encode())


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000,
        '{"superseded": {"pack-a": 1e400}, "merged": {}, "moves": [], "doomed": [], "dropped": {}}',
        '{"superseded": {}, "merged": {"pack-a": 99999999999999999999}, "moves": [], "doomed": [], "dropped": {}}',
        '{"superseded": {}, "merged": {}, "moves": [], "doomed": ["../../../outside/file", "/"], "dropped": {}}',
    ],
    ids=["deep", "infinite", "late", "a path"],
)
@pytest.mark.parametrize("name", ["state.json", "totals.json", "last-run.json"])
def test_a_record_made_to_do_harm_does_none(repo: Path, outside: Path, name: str, content: str) -> None:
    (repo / "gpa").mkdir(exist_ok=True)
    (repo / "gpa" / name).write_text(content)
    digest = content_digest(repo)
    for words in ("status", "run", "expire", "status"):
        told = run(repo, words)
        assert (0, b"") == (told.returncode, told.stderr), words
    assert "precious" == (outside / "file").read_text()
    assert digest == content_digest(repo)


# -- Sizes


LIMIT = 1 << 29


def limited(repo: Path, words: list[str]) -> subprocess.CompletedProcess[bytes]:
    """A command with 512 MiB of address space."""
    limits = ["prlimit", f"--as={LIMIT}"]
    return subprocess.run([*limits, *words], cwd=repo, capture_output=True, timeout=20 * SECONDS, check=False)


def bomb(repo: Path, declared: int) -> str:
    """A loose object of 1 MB that inflates to 1 GiB and says that it has `declared` bytes."""
    packer = zlib.compressobj(9)
    head = packer.compress(f"blob {declared}\0".encode()) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = packer.compress(bytes(1 << 22)) + packer.flush(zlib.Z_FULL_FLUSH)
    oid = "17" + "ab" * 19
    path = objects_dir(repo) / oid[:2] / oid[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(head + piece * 256 + packer.flush())
    return oid


READ = "import sys, gpa_maint\nstore = gpa_maint.PageStore.for_repository('.')\nstore.read(sys.argv[1])"


@pytest.mark.memory
@pytest.mark.parametrize(
    "declared", [10, 1 << 40, (1 << 63) - 1, (1 << 64) - 1], ids=["10", "2^40", "2^63-1", "2^64-1"]
)
def test_a_bomb_is_an_error_and_takes_no_memory(repo: Path, declared: int) -> None:
    oid = bomb(repo, declared)
    git(repo, "config", "gpa.autoLoose", "1")
    told = limited(repo, [sys.executable, "-c", READ, oid])
    assert b"Corrupt" in told.stderr or b"MemoryError" in told.stderr or b"too large" in told.stderr, told.stderr
    told = limited(repo, ["git", "gpa", "run"])
    assert told.returncode == 1, told.stderr
    assert oid in told.stderr.decode()


@pytest.mark.memory
@pytest.mark.parametrize("count", [1, 1 << 31, (1 << 32) - 1], ids=["1", "2^31", "2^32-1"])
def test_an_idx_that_counts_more_objects_than_it_has_is_refused(repo: Path, count: int) -> None:
    path = next(pack_dir(repo).glob("*.idx"))
    path.chmod(0o644)
    path.write_bytes(d.resealed(d.replaced(8 + 255 * 4, struct.pack(">I", count)))(path.read_bytes()))
    told = limited(repo, ["git", "gpa", "write"])
    # The pack stays where it is, outside the index, and the others are indexed.
    assert (1, True) == (told.returncode, path.name in told.stderr.decode())


@pytest.mark.memory
@pytest.mark.parametrize("offset", [1 << 31, (1 << 32) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_an_offset_beyond_the_pack_is_refused(repo: Path, offset: int) -> None:
    name = max(packs(repo), key=lambda name: packs(repo)[name])
    path = pack_dir(repo) / f"{name}.idx"
    count = packs(repo)[name]
    at = 8 + 1024 + count * 24
    large = lambda data: data[: at + 4 * count] + struct.pack(">Q", offset) + data[at + 4 * count :]  # noqa: E731
    path.chmod(0o644)
    path.write_bytes(
        d.resealed(lambda data: large(d.replaced(at, struct.pack(">I", 1 << 31))(data)))(path.read_bytes())
    )
    told = limited(repo, ["git", "gpa", "verify", "--deep"])
    assert told.returncode in (1, 128)
    assert name in told.stderr.decode()
    assert b"Traceback" not in told.stderr


@pytest.mark.memory
@pytest.mark.parametrize("content", [b"[],", b"{},", b'"a",', b"\n"], ids=["lists", "objects", "strings", "lines"])
@pytest.mark.parametrize("name", ["state.json", "totals.json", "last-run.json", "history", "next", "log"])
def test_a_record_of_64_mib_takes_no_memory(repo: Path, name: str, content: bytes) -> None:
    (repo / "gpa").mkdir(exist_ok=True)
    (repo / "gpa" / name).write_bytes(b"[" + content * ((64 << 20) // len(content)) + b"0]")
    for words in ("status", "run"):
        told = limited(repo, ["git", "gpa", words])
        assert (0, b"") == (told.returncode, told.stderr), words


@pytest.mark.memory
def test_a_pack_that_claims_2_32_minus_1_objects_takes_no_memory(repo: Path) -> None:
    path = max(pack_dir(repo).glob("*.pack"), key=lambda path: path.stat().st_size)
    path.chmod(0o644)
    path.write_bytes(d.replaced(8, struct.pack(">I", (1 << 32) - 1))(path.read_bytes()))
    for words in (["run"], ["verify", "--deep"], ["repair"], ["status"]):
        told = limited(repo, ["git", "gpa", *words])
        assert b"Traceback" not in told.stderr and b"out of memory" not in told.stderr, words
        assert told.returncode in (0, 1, 128), words


@pytest.mark.parametrize(
    "name", ["a" * 200, "/".join(["b" * 250] * 10), "a/" * 500 + "b"], ids=["long", "many", "deep"]
)
def test_refs_of_any_name_are_packed(repo: Path, name: str) -> None:
    git(repo, "config", "gpa.autoRefs", "1")
    git(repo, "update-ref", f"refs/heads/{name}", "HEAD")
    gpa(repo, "run")
    assert f"refs/heads/{name}" in (repo / "packed-refs").read_text()


def test_20_000_refs_are_packed(repo: Path) -> None:
    git(repo, "config", "gpa.autoRefs", "1")
    oid = git(repo, "rev-parse", "HEAD").stdout.strip()
    folder = repo / "refs" / "heads" / "many"
    folder.mkdir()
    for number in range(20_000):
        (folder / f"{number}").write_text(f"{oid}\n")
    gpa(repo, "run")
    assert 20_000 <= len((repo / "packed-refs").read_text().splitlines())
    assert not folder.exists() or not any(folder.iterdir())
