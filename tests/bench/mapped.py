"""What do reads cost where more packs are mapped than a store may keep resident?

400 packs, 400 MiB, twice: with `map_bytes` of 256 MiB, and with the default, which follows the memory of the machine.
The workload of the other questions is not used.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from histories import init_server
from oracle import pack_dir
from packwriter import Whole, idx_bytes, oid_hex, pack_bytes

from gpa_maint import PageStore
from tests.bench.measure import Table, call

PACKS = 400
OBJECTS = 128
OBJECT_BYTES = 8192
SMALL = 256 << 20
READS = 100_000


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    repo = init_server(work.with_name("mapped"))
    oids = add_packs(repo)
    chosen = random.Random(5).choices(oids, k=READS)
    for name, ask in (("headers", headers), ("random reads", reads)):
        table = Table(f"mapped, {PACKS} packs, {PACKS * OBJECTS * OBJECT_BYTES >> 20} MiB: {name}", ours="default")
        for _ in range(pairs):
            for size, options in (("default", {}), ("256 MiB", {"map_bytes": SMALL})):
                with PageStore.open(repo / "objects", **options) as store:
                    ask(store, chosen)  # all that may stay resident is
                    cost = call(partial(ask, store, chosen))
                table.add(size, cost, f"{1000 * cost.cpu / READS:.2f} us of CPU each")
        table.show()


def headers(store: PageStore, oids: Sequence[bytes]) -> None:
    _each(store.info, oids)


def reads(store: PageStore, oids: Sequence[bytes]) -> None:
    _each(store.read, oids)


def _each(ask: Callable[[bytes], object], oids: Sequence[bytes]) -> None:
    for oid in oids:
        ask(oid)


def add_packs(repo: Path) -> list[bytes]:
    """Packs of noise, which takes as many bytes in a pack as it has. All ids."""
    rng = random.Random(4)
    oids = []
    for _ in range(PACKS):
        entries = [Whole(kind="blob", content=rng.randbytes(OBJECT_BYTES), level=0) for _ in range(OBJECTS)]
        oids += [bytes.fromhex(oid_hex("blob", entry.content)) for entry in entries]
        data = pack_bytes(entries)
        path = pack_dir(repo) / f"pack-{data[-20:].hex()}.pack"
        path.write_bytes(data)
        path.with_suffix(".idx").write_bytes(idx_bytes(data, entries))
    return oids
