"""What does reading an object cost in a Python program, through PageStore and through what one would use instead?

Each way opens the repository anew and reads the same objects; CPU time counts, git's process included (but not what its
caller spends on talking to it). Three repositories: as pushed, merged into pages, and one of long chains of deltas.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import gitdb
import pygit2
from dulwich.object_store import DiskObjectStore

from gpa_maint import PageStore, commands
from tests.bench import workloads
from tests.bench.cold import WARM, Cache
from tests.bench.measure import Table, fresh_copy

READS = 20_000
MISSES = 1000  # each costs the peers a look at every pack
CHAINS = 200

Way = Callable[[Path, Sequence[bytes]], object]


def bench(source: Path, work: Path, *, pairs: int, title: str, cache: Cache) -> None:
    repo = fresh_copy(source, work)
    _bench_one(repo, pairs, f"{title}, as pushed", cache)
    commands.repack(os.fspath(repo))
    commands.expire(os.fspath(repo), grace_seconds=0)
    _bench_one(repo, pairs, f"{title}, merged", cache)
    chains = workloads.chains(work.with_name("chains"), CHAINS)
    _bench_one(chains, pairs, f"read, {CHAINS} chains of 50 deltas on 20 kB", cache)


def _bench_one(repo: Path, pairs: int, title: str, cache: Cache) -> None:
    stored = stored_order(repo)
    chosen = random.Random(3).sample(stored, min(READS, len(stored)))
    positions = {oid: position for position, oid in enumerate(stored)}
    absent = [random.Random(position).randbytes(20) for position in range(READS)]
    ordered = sorted(chosen, key=positions.__getitem__)
    compare(f"{title}: {len(chosen)} at random", repo, READERS, chosen, pairs, cache=cache)
    compare(f"{title}: the same in order", repo, READERS, ordered, pairs, cache=cache)
    compare(f"{title}: headers", repo, HEADERS, chosen, pairs, cache=cache)
    compare(f"{title}: {MISSES} absent", repo, LOOKUPS, absent[:MISSES], pairs, cache=cache)
    compare(f"{title}: opened, and one read", repo, READERS, chosen[:1], pairs, cache=cache)
    table = Table(f"{title}: read_many", ours="2 threads")
    for _ in range(pairs):
        for threads in (1, 2):
            cost = cache.call(lambda count=threads: _many(repo, chosen, count), repo)  # type: ignore[misc]
            table.add(f"{threads} threads", cost)
    table.show()


def compare(
    title: str,
    repo: Path,
    ways: dict[str, Way],
    oids: Sequence[bytes],
    pairs: int,
    *,
    ours: str = "PageStore",
    cache: Cache = WARM,
) -> None:
    """Each way once a pair, one after the other."""
    table = Table(title, ours=ours)
    for _ in range(pairs):
        for name, way in ways.items():
            cost = cache.call(lambda way=way: way(repo, oids), repo)  # type: ignore[misc]
            table.add(name, cost, f"{1000 * cost.cpu / len(oids):.1f} us of CPU each")
    table.show()


def stored_order(repo: Path) -> list[bytes]:
    """All ids, in the order in which they are stored."""
    words = ["git", "cat-file", "--batch-all-objects", "--unordered", "--batch-check=%(objectname)"]
    lines = subprocess.run(words, cwd=repo, check=True, capture_output=True).stdout.split()
    return [bytes.fromhex(line.decode()) for line in lines]


def _many(repo: Path, oids: Sequence[bytes], threads: int) -> None:
    with PageStore.open(repo / "objects") as store:
        store.read_many(oids, threads=threads)


def _store_reads(repo: Path, oids: Sequence[bytes]) -> None:
    with PageStore.open(repo / "objects") as store:
        for oid in oids:
            store.read(oid)


def _store_headers(repo: Path, oids: Sequence[bytes]) -> None:
    with PageStore.open(repo / "objects") as store:
        for oid in oids:
            store.info(oid)


def _store_many_headers(repo: Path, oids: Sequence[bytes]) -> None:
    with PageStore.open(repo / "objects") as store:
        store.info_many(oids, threads=1)


def _store_many_lookups(repo: Path, oids: Sequence[bytes]) -> None:
    with PageStore.open(repo / "objects") as store:
        assert len(oids) == len(store.missing(oids, threads=1))


def _store_lookups(repo: Path, oids: Sequence[bytes]) -> None:
    with PageStore.open(repo / "objects") as store:
        assert not any(oid in store for oid in oids)


def _git(option: str) -> Way:
    def run(repo: Path, oids: Sequence[bytes]) -> None:
        lines = b"".join(b"%b\n" % oid.hex().encode() for oid in oids)
        words = ["git", "cat-file", option, "--buffer"]
        subprocess.run(words, cwd=repo, input=lines, check=True, stdout=subprocess.DEVNULL)

    return run


def _pygit2_reads(repo: Path, oids: Sequence[bytes]) -> None:
    odb = pygit2.Repository(os.fspath(repo)).odb
    for oid in oids:
        odb.read(pygit2.Oid(raw=oid))


def _pygit2_lookups(repo: Path, oids: Sequence[bytes]) -> None:
    odb = pygit2.Repository(os.fspath(repo)).odb
    assert not any(pygit2.Oid(raw=oid) in odb for oid in oids)


def _dulwich_reads(repo: Path, oids: Sequence[bytes]) -> None:
    store = DiskObjectStore(os.fspath(repo / "objects"))
    for oid in oids:
        store.get_raw(oid.hex().encode())
    store.close()


def _dulwich_lookups(repo: Path, oids: Sequence[bytes]) -> None:
    store = DiskObjectStore(os.fspath(repo / "objects"))
    assert not any(oid.hex().encode() in store for oid in oids)
    store.close()


def _gitdb_reads(repo: Path, oids: Sequence[bytes]) -> None:
    store = gitdb.GitDB(os.fspath(repo / "objects"))
    for oid in oids:
        store.stream(oid).read()


def _gitdb_headers(repo: Path, oids: Sequence[bytes]) -> None:
    store = gitdb.GitDB(os.fspath(repo / "objects"))
    for oid in oids:
        store.info(oid)


def _gitdb_lookups(repo: Path, oids: Sequence[bytes]) -> None:
    store = gitdb.GitDB(os.fspath(repo / "objects"))
    assert not any(store.has_object(oid) for oid in oids)


READERS: dict[str, Way] = {
    "PageStore": _store_reads,
    "git cat-file --batch": _git("--batch"),
    "pygit2": _pygit2_reads,
    "dulwich": _dulwich_reads,
    "gitdb": _gitdb_reads,
}
HEADERS: dict[str, Way] = {
    "PageStore": _store_headers,
    "PageStore.info_many": _store_many_headers,
    "git cat-file --batch-check": _git("--batch-check"),
    "gitdb": _gitdb_headers,
}
LOOKUPS: dict[str, Way] = {
    "PageStore": _store_lookups,
    "PageStore.missing": _store_many_lookups,
    "git cat-file --batch-check": _git("--batch-check"),
    "pygit2": _pygit2_lookups,
    "dulwich": _dulwich_lookups,
    "gitdb": _gitdb_lookups,
}
