"""How fast are clones and walks of a repository kept as pages, beside the same objects fully repacked into one pack?"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.bench.cold import Cache
from tests.bench.measure import Table, fresh_copy

WALK = ["git", "rev-list", "--objects", "--all", "--quiet"]


def bench(source: Path, work: Path, *, pairs: int, title: str, cache: Cache) -> None:
    """Pages of 2000 objects under an index, made by `git gpa repack` of every pack there is, and `git repack -a -d`."""
    pages = fresh_copy(source, work.with_name("pages"))
    _git(pages, "config", "gpa.pageObjects", "2000")
    _as_pages(pages)
    one = fresh_copy(source, work.with_name("one-pack"))
    _git(one, "repack", "-a", "-d", "-q", "--no-write-bitmap-index")
    target = work.with_name("cloned")
    clone = ["git", "clone", "-q", "--bare", "--no-local"]
    tables = {"a clone": Table(f"{title}: a clone", ours="pages"), "a walk": Table(f"{title}: a walk", ours="pages")}
    for _ in range(pairs):
        for name, repo in (("pages", pages), ("one pack", one)):
            count = len(list((repo / "objects/pack").glob("*.pack")))
            shutil.rmtree(target, ignore_errors=True)
            cost = cache.run([[*clone, str(repo), str(target)]], work.parent, repo)
            tables["a clone"].add(name, cost, f"{count} packs")
            tables["a walk"].add(name, cache.run([WALK], repo), f"{count} packs")
    for table in tables.values():
        table.show()


def _as_pages(repo: Path) -> None:
    """Large packs too: cut into pages by giving them to git as small ones."""
    _git(repo, "repack", "-a", "-d", "-q", "--no-write-bitmap-index", "--max-pack-size=1m")
    _git(repo, "gpa", "repack", "-q")
    _git(repo, "gpa", "expire", "-q", "--grace=now")


def _git(repo: Path, *words: str) -> None:
    subprocess.run(["git", *words], cwd=repo, check=True)
