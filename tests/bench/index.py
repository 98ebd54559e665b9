"""What does the combined index cost: from nothing, and when one more tiny pack has come?"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from gpa_maint import commands
from tests.bench.cold import Cache
from tests.bench.measure import Cost, Table, count_calls, fresh_copy

COMMANDS = {"git": ["git", "multi-pack-index", "write"], "git-gpa": ["git-gpa", "write", "-q"]}
if shutil.which("bup"):
    COMMANDS["bup"] = ["bup", "-d", ".", "midx", "-f"]
WARM = "git-gpa, warm process"


def bench(source: Path, work: Path, *, pairs: int, title: str, cache: Cache) -> None:
    """Each in turn on the same repository; the new packs of both histories are equal.

    bup, where it is installed, has an index of its own kind, without offsets and checksum, and writes it anew.
    """
    repo = fresh_copy(source, work)
    index = repo / "objects/pack/multi-pack-index"
    fresh, more = Table(f"{title}: full index"), Table(f"{title}: one more tiny pack")
    for _ in range(pairs):
        for name in (*COMMANDS, WARM):
            index.unlink(missing_ok=True)
            fresh.add(name, _write(name, repo, cache), f"{_index_bytes(repo) >> 10} KiB")
    saved = work.with_name("saved-index")
    shutil.copy(index, saved)
    _tiny_pack(repo)
    for _ in range(pairs):
        for name in (*COMMANDS, WARM):
            shutil.copy(saved, index)
            more.add(name, _write(name, repo, cache))
    saved.unlink()
    for table in (fresh, more):
        table.ours = WARM
        table.show()
    for name, command in COMMANDS.items():
        index.unlink(missing_ok=True)
        _forget_bups(repo)
        count_calls(name, [command], repo)


def _write(name: str, repo: Path, cache: Cache) -> Cost:
    _forget_bups(repo)
    if name in COMMANDS:
        return cache.run([COMMANDS[name]], repo)
    return cache.call(lambda: commands.write(os.fspath(repo)), repo)


def _index_bytes(repo: Path) -> int:
    pack = repo / "objects/pack"
    return sum(path.stat().st_size for path in (*pack.glob("multi-pack-index"), *pack.glob("*.midx")))


def _forget_bups(repo: Path) -> None:
    for path in (repo / "objects/pack").glob("*.midx"):
        path.unlink()


def _tiny_pack(repo: Path) -> None:
    blob = subprocess.run(
        ["git", "hash-object", "-w", "--stdin"], cwd=repo, input=b"tiny", capture_output=True, check=True
    )
    prefix = repo / "objects/pack/pack"
    subprocess.run(["git", "pack-objects", "-q", prefix], cwd=repo, input=blob.stdout, check=True, capture_output=True)
