"""How much do merging pushed packs and deleting the old ones cost, beside git's two ways and the physical floor?"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.bench.cold import Cache
from tests.bench.measure import Cost, Table, count_calls, fresh_copy, pack_bytes

WAYS = {
    "git-gpa": [["git-gpa", "repack"], ["git-gpa", "expire", "--grace=now"]],
    "git multi-pack-index": [["git", "multi-pack-index", "repack"], ["git", "multi-pack-index", "expire"]],
    "git repack --geometric": [["git", "repack", "--geometric=2", "-d", "--write-midx"]],
}


def bench(source: Path, work: Path, *, pairs: int, title: str, cache: Cache) -> None:
    """Each way on a fresh copy that has its index, in turn. A .keep holds the large pack out of git's repack."""
    table = Table(title)
    for _ in range(pairs):
        for name, steps in WAYS.items():
            repo = _indexed_copy(source, work, name)
            before = pack_bytes(repo)
            cost = cache.run(steps, repo)
            table.add(name, cost, f"{before >> 20} -> {pack_bytes(repo) >> 20} MiB, {len(_by_size(repo))} packs")
            if name == "git-gpa":
                table.add("floor: read, hash, write, sync", floor(source, repo, cache))
    table.show()
    for name, steps in WAYS.items():
        count_calls(name, steps, _indexed_copy(source, work, name))


def _indexed_copy(source: Path, work: Path, name: str) -> Path:
    repo = fresh_copy(source, work)
    subprocess.run(["git", "multi-pack-index", "write"], cwd=repo, check=True)
    if name == "git multi-pack-index":
        _by_size(repo)[-1].with_suffix(".keep").touch()
    return repo


def _by_size(repo: Path) -> list[Path]:
    return sorted((repo / "objects/pack").glob("*.pack"), key=lambda path: path.stat().st_size)


def floor(source: Path, merged: Path, cache: Cache) -> Cost:
    """Read every pack but the largest, hash what was read, write and sync as much as the pages hold."""
    packs = _by_size(source)[:-1]
    content = [path.read_bytes() for path in _by_size(merged)[:-1]]

    def work() -> None:
        for path in packs:
            hashlib.sha1(path.read_bytes())
        for number, data in enumerate(content):
            target = merged / f"floor-{number}"
            with target.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    return cache.call(work, source)
