"""What does it cost to put 2000 loose objects of a work tree into a page, beside git's ways to put them into a pack?

git searches deltas; a page holds whole objects, so `--window=0` compares like with like. All sync what they write.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from loose import pack_all_loose

from tests.bench import workloads
from tests.bench.measure import Table, call, fresh_copy, pack_bytes, run

OBJECTS = 2000
GIT = ["git", "-c", "core.fsync=committed,-loose-object"]
CALL = "import sys; from pathlib import Path; from loose import pack_all_loose; pack_all_loose(Path('.'))"
LIST = "cd objects && printf '%s\\n' ??/* | tr -d / | grep -E '^[0-9a-f]{40}$'"

WAYS = {
    "git-gpa": [[sys.executable, "-c", CALL]],
    "git repack -d": [[*GIT, "repack", "-d", "-q"]],
    "git repack -d --window=0": [[*GIT, "repack", "-d", "-q", "--window=0"]],
    "git pack-objects, prune-packed": [
        ["sh", "-c", f"({LIST}) | {' '.join(GIT)} pack-objects -q objects/pack/pack"],
        ["git", "prune-packed", "-q"],
    ],
}


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    """Each way on a fresh copy, in turn. The loose objects are of a history of this project's sources."""
    del source, title
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    made = workloads.committed(work.with_name("committed"), OBJECTS)
    table = Table(f"loose, {OBJECTS} objects")
    for _ in range(pairs):
        for name, steps in WAYS.items():
            repo = fresh_copy(made, work)
            cost = run(steps, repo)
            table.add(name, cost, f"{pack_bytes(repo) >> 10} KiB")
        repo = fresh_copy(made, work)
        cost = call(lambda repo=repo: pack_all_loose(repo))
        table.add("git-gpa, warm process", cost, f"{pack_bytes(repo) >> 10} KiB")
    table.show()
