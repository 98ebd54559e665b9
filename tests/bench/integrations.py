"""What do dulwich and gitdb cost when they read through PageStore, beside their own stores?

The same objects at random, opening included, as `read` asks for them: in packs as they were pushed, merged into pages,
and in one of long chains of deltas. `dulwich, parsed` makes dulwich's objects of them, which both hash. A fetch sends
what the newest pushes brought to an empty repository.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

from dulwich.object_store import DiskObjectStore
from dulwich.pack import generate_unpacked_objects
from dulwich.repo import Repo
from gitdb import GitDB

from gpa_maint import commands
from gpa_maint.integrations.dulwich import PagedObjectStore, open_repository
from gpa_maint.integrations.gitdb import PagedDB
from tests.bench import workloads
from tests.bench.measure import Cost, Table, call, fresh_copy
from tests.bench.read import stored_order

READS = 5000  # gitdb takes a second for a thousand of the chains
CHAINS = 60
SENT = 500

Way = Callable[[Path, Sequence[bytes], bool], object]


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    repo = fresh_copy(source, work)
    _bench_one(repo, pairs, f"{title}, as pushed")
    _fetch(repo, pairs, f"{title}, as pushed")
    commands.repack(os.fspath(repo))
    commands.expire(os.fspath(repo), grace_seconds=0)
    _bench_one(repo, pairs, f"{title}, merged")
    chains = workloads.chains(work.with_name("integrations-chains"), CHAINS)
    _bench_one(chains, pairs, f"integrations, {CHAINS} chains of 50 deltas on 20 kB")


def _bench_one(repo: Path, pairs: int, title: str) -> None:
    stored = stored_order(repo)
    chosen = random.Random(3).sample(stored, min(READS, len(stored)))
    for what, way in WAYS.items():
        table = Table(f"{title}: {len(chosen)} at random, {what}", ours="PageStore")
        for _ in range(pairs):
            for name, ours in (("PageStore", True), ("its own store", False)):
                cost = call(lambda way=way, ours=ours: way(repo, chosen, ours))  # type: ignore[misc]
                table.add(name, Cost(cost.wall, cost.cpu), f"{1000 * cost.cpu / len(chosen):.1f} us of CPU each")
        table.show()


def _objects(repo: Path, ours: bool) -> DiskObjectStore:
    return (PagedObjectStore if ours else DiskObjectStore)(os.fspath(repo / "objects"))


def _dulwich_raw(repo: Path, oids: Sequence[bytes], ours: bool) -> None:
    with closing(_objects(repo, ours)) as objects:
        for oid in oids:
            objects.get_raw(oid.hex().encode())


def _dulwich_parsed(repo: Path, oids: Sequence[bytes], ours: bool) -> None:
    with closing(_objects(repo, ours)) as objects:
        for oid in oids:
            objects[oid.hex().encode()]


def _gitdb_streams(repo: Path, oids: Sequence[bytes], ours: bool) -> None:
    database = (PagedDB if ours else GitDB)(os.fspath(repo / "objects"))
    for oid in oids:
        database.stream(oid).read()


def _gitdb_headers(repo: Path, oids: Sequence[bytes], ours: bool) -> None:
    database = (PagedDB if ours else GitDB)(os.fspath(repo / "objects"))
    for oid in oids:
        database.info(oid)


def _fetch(repo: Path, pairs: int, title: str) -> None:
    """The newest objects as a pack, which another repository takes in."""
    oids = [oid.hex().encode() for oid in stored_order(repo)[-SENT:]]
    target = repo.with_name("integrations-target")
    table = Table(f"{title}: dulwich sends {len(oids)} objects", ours="PageStore")
    for _ in range(pairs):
        for name, opener in (("PageStore", open_repository), ("its own store", Repo)):
            shutil.rmtree(target, ignore_errors=True)
            with opener(os.fspath(repo)) as source, Repo.init_bare(os.fspath(target), mkdir=True) as into:
                cost = call(lambda source=source, into=into: _send(source, into, oids))  # type: ignore[misc]
            size = sum(path.stat().st_size for path in (target / "objects/pack").glob("*.pack"))
            table.add(name, cost, f"{size / 1024:.0f} KiB")
    table.show()


def _send(source: Repo, into: Repo, oids: Sequence[bytes]) -> None:
    records = generate_unpacked_objects(source.object_store, [(oid, None) for oid in oids])
    into.object_store.add_pack_data(len(oids), records)


WAYS: dict[str, Way] = {
    "dulwich, raw": _dulwich_raw,
    "dulwich, parsed": _dulwich_parsed,
    "gitdb, streams": _gitdb_streams,
    "gitdb, headers": _gitdb_headers,
}
