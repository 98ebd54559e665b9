"""What does a look at a repository cost, and does it stay small with thousands of packs?"""

from __future__ import annotations

from pathlib import Path

from packwriter import add_many_packs

from tests.bench.cold import Cache
from tests.bench.measure import Table, fresh_copy

PEERS = {
    "git-gpa": ["git-gpa", "status"],
    "git-gpa explain": ["git-gpa", "explain"],
    "git count-objects -v": ["git", "count-objects", "-v"],
}


def bench(source: Path, work: Path, *, pairs: int, title: str, cache: Cache) -> None:
    """On the workload as it is, and with 3000 tiny packs more."""
    repo = fresh_copy(source, work)
    for more in (0, 3000):
        add_many_packs(repo, more)
        table = Table(f"{title}, {more} tiny ones more" if more else title)
        for _ in range(pairs):
            for name, command in PEERS.items():
                table.add(name, cache.run([command], repo))
        table.show()
