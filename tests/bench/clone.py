"""How fast are clones and walks of a repository kept as pages, beside the same objects fully repacked into one pack?

Pages are made by `git gpa repack` of packs of about 1000 objects each, cut out of all objects in the order of a walk:
what is a delta on an object of another such pack is whole in its own. *Sending* is the server's part of a clone.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.bench.cold import Cache
from tests.bench.measure import Table, fresh_copy, pack_bytes
from tests.bench.workloads import split

OBJECTS_A_PACK = 1000
SEND = ["sh", "-c", "git pack-objects --all --revs --stdout --thin --delta-base-offset -q </dev/null"]
WALK = ["git", "rev-list", "--objects", "--all", "--quiet"]


def bench(source: Path, work: Path, *, pairs: int, title: str, cache: Cache) -> None:
    """Pages of 2000 objects under an index, and `git repack -a -d`."""
    pages = _as_pages(source, work.with_name("pages"))
    one = fresh_copy(source, work.with_name("one-pack"))
    _git(one, "repack", "-a", "-d", "-q", "--no-write-bitmap-index")
    target = work.with_name("cloned")
    clone = ["git", "clone", "-q", "--bare", "--no-local"]
    tables = {what: Table(f"{title}: {what}", ours="pages") for what in ("a clone", "sending", "a walk")}
    for _ in range(pairs):
        for name, repo in (("pages", pages), ("one pack", one)):
            note = f"{len(list((repo / 'objects/pack').glob('*.pack')))} packs, {pack_bytes(repo) >> 20} MiB"
            shutil.rmtree(target, ignore_errors=True)
            cost = cache.run([[*clone, str(repo), str(target)]], work.parent, repo)
            tables["a clone"].add(name, cost, note)
            tables["sending"].add(name, cache.run([SEND], repo), note)
            tables["a walk"].add(name, cache.run([WALK], repo), note)
    for table in tables.values():
        table.show()


def _as_pages(source: Path, target: Path) -> Path:
    """The large pack too: cut into small ones that are merged."""
    shutil.rmtree(target, ignore_errors=True)
    objects = len(_git(source, "rev-list", "--objects", "--all", "--no-object-names").splitlines())
    split(source, target, objects // OBJECTS_A_PACK + 2)
    _git(target, "config", "gpa.pageObjects", "2000")
    _git(target, "gpa", "repack", "-q")
    _git(target, "gpa", "expire", "-q", "--grace=now")
    return target


def _git(repo: Path, *words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=repo, check=True, stdout=subprocess.PIPE).stdout
