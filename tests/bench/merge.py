"""How much do merging pushed packs and deleting the old ones cost, beside git's two ways and the physical floor?"""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from tests.bench.measure import Cost, Table, call, fresh_copy, pack_bytes, run

WAYS = {
    "git-gpa": [["git-gpa", "repack"], ["git-gpa", "expire", "--grace=now"]],
    "git multi-pack-index": [["git", "multi-pack-index", "repack"], ["git", "multi-pack-index", "expire"]],
    "git repack --geometric": [["git", "repack", "--geometric=2", "-d", "--write-midx"]],
}


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    """Each way on a fresh copy that has its index, in turn. git's repack gets a batch without the large pack."""
    batch = _batch_without_the_largest(source)
    ways = {name: [list(command) for command in commands] for name, commands in WAYS.items()}
    ways["git multi-pack-index"][0].append(f"--batch-size={batch}")
    table = Table(title)
    for _ in range(pairs):
        for name, commands in ways.items():
            repo = fresh_copy(source, work)
            subprocess.run(["git", "multi-pack-index", "write"], cwd=repo, check=True)
            before = pack_bytes(repo)
            cost = run(commands, repo)
            packs = len(list((repo / "objects/pack").glob("*.pack")))
            table.add(name, cost, f"{before >> 20} -> {pack_bytes(repo) >> 20} MiB, {packs} packs")
            if name == "git-gpa":
                table.add("floor: read, hash, write, sync", floor(source, repo))
    table.show()


def _batch_without_the_largest(repo: Path) -> int:
    sizes = sorted((path.stat().st_size for path in (repo / "objects/pack").glob("*.pack")), reverse=True)
    return max(1, min(sizes[0] - 1, sum(sizes[1:]) + 1))


def floor(source: Path, merged: Path) -> Cost:
    """Read every pack but the largest, hash what was read, write and sync as much as the pages hold."""
    packs = sorted((source / "objects/pack").glob("*.pack"), key=lambda path: path.stat().st_size)[:-1]
    pages = sorted((merged / "objects/pack").glob("*.pack"), key=lambda path: path.stat().st_size)[:-1]
    content = [path.read_bytes() for path in pages]

    def work() -> None:
        for path in packs:
            hashlib.sha1(path.read_bytes())
        for number, data in enumerate(content):
            target = merged / f"floor-{number}"
            with target.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())

    return call(work)
