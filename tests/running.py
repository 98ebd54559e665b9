"""What the tests of the verbs share: running `git gpa`, and what has to hold after every run."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

from oracle import (
    Midx,
    all_objects,
    content_digest,
    fsck,
    git,
    objects_dir,
    pack_dir,
    read_midx,
    verify_midx,
    verify_packs,
)


def gpa(repo: Path, *args: str | Path, input: str | None = None) -> CompletedProcess[str]:
    """`git gpa`, which must end with exit status 0 and say nothing on stderr."""
    done = gpa_any(repo, *args, input=input)
    assert (0, "") == (done.returncode, done.stderr), f"git gpa {args}\n{done.stderr}{done.stdout}"
    return done


def gpa_any(repo: Path, *args: str | Path, input: str | None = None) -> CompletedProcess[str]:
    """`git gpa`, however it ends."""
    return git(repo, "gpa", *args, input=input, check=False)


def gpa_json(repo: Path, *args: str | Path, status: int = 0) -> dict[str, Any]:
    """What it answers with --json, when it ends with that exit status."""
    done = gpa_any(repo, *args, "--json")
    assert status == done.returncode, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def assert_sound(repo: Path, digest: str) -> None:
    """Git and `verify --deep` find nothing wrong, the objects are those of `digest`, and nothing was left behind."""
    fsck(repo)
    verify_midx(repo)
    verify_packs(repo)
    gpa(repo, "verify", "--deep")
    assert digest == content_digest(repo)
    assert [] == leftovers(repo)


def leftovers(repo: Path) -> list[Path]:
    """Locks and temporary files."""
    objects = objects_dir(repo)
    found = [*objects.parent.glob("gc.pid*"), *objects.glob("maintenance.lock"), *objects.glob("pack/*.lock")]
    return [*found, *objects.glob("pack/tmp_*"), *objects.glob("pack/.tmp-*"), *objects.parent.glob("gpa/tmp/*")]


class FileState(NamedTuple):
    inode: int
    size: int
    mtime_ns: int


def file_state(path: Path) -> FileState:
    stat = path.stat()
    return FileState(stat.st_ino, stat.st_size, stat.st_mtime_ns)


def all_files(folder: Path) -> dict[Path, FileState]:
    """Every file and folder below `folder`: equal before and after exactly when nothing was changed."""
    return {path: file_state(path) for path in folder.rglob("*")}


def index_path(repo: Path) -> Path:
    return pack_dir(repo) / "multi-pack-index"


def references(repo: Path) -> dict[str, int]:
    """pack -> how many objects it wins, of each pack the index names."""
    index = read_midx(repo)
    counts = dict.fromkeys(index.packs, 0)
    for pack, _offset in index.winners.values():
        counts[pack] += 1
    return counts


def moved_to_named_packs(old: Midx, new: Midx) -> dict[str, tuple[str, str]]:
    """Objects whose winner went to another pack that the old index named already: oid -> (from, to). Against I6."""
    pairs = {oid: (pack, new.winners[oid][0]) for oid, (pack, _offset) in old.winners.items() if oid in new.winners}
    named = set(old.packs)
    return {oid: pair for oid, pair in pairs.items() if pair[0] != pair[1] and pair[1] in named}


def set_mtime(repo: Path, pack: str, seconds: int) -> None:
    os.utime(pack_dir(repo) / f"{pack}.pack", (seconds, seconds))


def mtime_ns(repo: Path, pack: str) -> int:
    return (pack_dir(repo) / f"{pack}.pack").stat().st_mtime_ns


# -- Readers that started before


class Reader:
    """A git cat-file that has loaded the index there was when it started, and keeps its open packs."""

    def __init__(self, repo: Path) -> None:
        command = ["git", "-C", str(repo), "cat-file", "--batch"]
        self.objects = all_objects(repo)
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.read(next(iter(self.objects)))

    def read(self, oid: str) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{oid}\n".encode())
        self._process.stdin.flush()
        header = self._process.stdout.readline().decode().split()
        kind, size, digest = self.objects[oid]
        assert [oid, kind, str(size)] == header
        content = self._process.stdout.read(size + 1)
        assert digest == hashlib.sha256(content[:-1]).hexdigest()

    def read_all(self) -> None:
        for oid in self.objects:
            self.read(oid)

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


@contextmanager
def readers() -> Iterator[list[Reader]]:
    found: list[Reader] = []
    try:
        yield found
    finally:
        for reader in found:
            reader.close()
