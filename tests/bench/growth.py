"""How does each cost grow with the repository? The same 300 pushes beside 4,000, 40,000 and 400,000 objects.

The exponent is that of the number of objects, from the first to the last: 0 does not grow, 1 grows as the number does.
"""

from __future__ import annotations

import math
import os
import random
import statistics
from collections.abc import Callable
from pathlib import Path

from histories import HistorySpec, pushed_history

from gpa_maint import PageStore, commands, install
from tests.bench.measure import Cost, call, fresh_copy, run

SIZES = (4_000, 40_000, 400_000)
PUSHES = 300
LOOKS = 2000

Step = Callable[[Path], Cost]


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    """The workload is made here: `source` is not looked at."""
    del source, title
    made: dict[int, dict[str, float]] = {}
    for size in SIZES:
        spec = HistorySpec(kind="snapshots", seed=11, pushes=PUSHES, files=14, longer=18, base_objects=size)
        server = pushed_history(work.with_name(f"growth-{size}"), spec).server
        made[size] = _measure(fresh_copy(server, work), pairs)
    print(f"\ngrowth: {PUSHES} pushes beside so many objects, CPU in ms, medians of {pairs} runs")
    print(f"  {'':44} {' '.join(f'{size:>9,}' for size in SIZES)} {'exponent':>9}")
    for step in made[SIZES[0]]:
        costs = [made[size][step] for size in SIZES]
        exponent = math.log(costs[-1] / costs[0]) / math.log(SIZES[-1] / SIZES[0])
        print(f"  {step:44} {' '.join(f'{cost:9.2f}' for cost in costs)} {exponent:9.2f}", flush=True)


def _measure(repo: Path, pairs: int) -> dict[str, float]:
    """In this order: first what changes nothing, at the end the merge."""
    install(os.fspath(repo))
    run([["git-gpa", "write", "-q"]], repo)
    steps: dict[str, Step] = {
        "1000 looks of the hook, nothing due": _hook,
        "git gpa status": lambda at: run([["git-gpa", "status"]], at),
        "git gpa run, nothing due": _idle_run,
        "full index, warm": _full_index,
        "PageStore: opened, and 2,000 random reads": _reads,
        "PageStore: 2,000 absent ids": _misses,
    }
    found = {name: statistics.median(step(repo).cpu for _ in range(pairs)) for name, step in steps.items()}
    large = max((repo / "objects/pack").glob("*.pack"), key=lambda path: path.stat().st_size)
    large.with_suffix(".keep").touch()  # git would merge it too
    merged = fresh_copy(repo, repo.with_name("growth-merged"))
    found["git gpa repack, expire: all pushes"] = _merge(merged).cpu
    found["git multi-pack-index repack, expire"] = _git_merge(fresh_copy(repo, merged)).cpu
    return found


def _hook(repo: Path) -> Cost:
    (repo / "gpa").mkdir(exist_ok=True)
    (repo / "gpa/next").write_text("100000 100000\n")
    (repo / "gpa/next-100000-100000").touch()
    os.utime(repo / "gpa/next", (4e9, 4e9))
    cost = run(
        [["sh", "-c", "i=0; while [ $i -lt 20 ]; do sh hooks/post-receive </dev/null; i=$((i + 1)); done"]], repo
    )
    return Cost(50 * cost.wall, 50 * cost.cpu)


def _idle_run(repo: Path) -> Cost:
    """gpa/next is not asked, and the thresholds are out of reach."""
    words = ["-c", "gpa.autoPages=1000000", "-c", "gpa.pageObjects=100000000", "-c", "gpa.autoUnindexed=1000000"]
    return run([["git", *words, "gpa", "run", "-q"]], repo)


def _full_index(repo: Path) -> Cost:
    (repo / "objects/pack/multi-pack-index").unlink()
    return call(lambda: commands.write(os.fspath(repo)))


def _reads(repo: Path) -> Cost:
    with PageStore.open(repo / "objects") as store:
        chosen = random.Random(1).sample(list(store), LOOKS)

    def read() -> None:
        with PageStore.open(repo / "objects") as store:
            for oid in chosen:
                store.read(oid)

    return call(read)


def _misses(repo: Path) -> Cost:
    absent = [random.Random(number).randbytes(20) for number in range(LOOKS)]

    def look() -> None:
        with PageStore.open(repo / "objects") as store:
            assert not any(oid in store for oid in absent)

    return call(look)


def _merge(repo: Path) -> Cost:
    return run([["git-gpa", "repack", "-q"], ["git-gpa", "expire", "-q", "--grace=now"]], repo)


def _git_merge(repo: Path) -> Cost:
    words = ["git", "multi-pack-index"]
    return run([[*words, "repack"], [*words, "expire"]], repo)
