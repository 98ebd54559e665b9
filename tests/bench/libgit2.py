"""What does a pygit2 repository cost that reads and writes through a PageStore, beside one that does so by itself? And
`git gpa cat-file` beside git's, for programs that talk to a process?

Each way opens the repository anew and asks for the same objects; CPU time counts, processes included. Repositories: as
pushed under an index, merged into pages, and one of long chains of deltas.

libgit2 hashes what it reads, slowly since it looks for collisions too. That can be switched off for the process, and a
store can do it with OpenSSL instead: the ways that are called "hashed by the store".
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pygit2

from gpa_maint import PageStore, commands
from gpa_maint.integrations.libgit2 import attach
from tests.bench import workloads
from tests.bench.measure import fresh_copy
from tests.bench.read import CHAINS, MISSES, READS, Way, compare, stored_order

Ask = Callable[[pygit2.Repository, Sequence[pygit2.Oid]], object]
OURS = "attached"
NEW = 1000


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    repo = fresh_copy(source, work)
    commands.write(os.fspath(repo))
    _bench_one(repo, pairs, f"{title}, as pushed")
    commands.repack(os.fspath(repo))
    commands.expire(os.fspath(repo), grace_seconds=0)
    _bench_one(repo, pairs, f"{title}, merged")
    chains = workloads.chains(work.with_name("chains"), CHAINS)
    _bench_one(chains, pairs, f"libgit2, {CHAINS} chains of 50 deltas on 20 kB")


def _bench_one(repo: Path, pairs: int, title: str) -> None:
    stored = stored_order(repo)
    chosen = random.Random(3).sample(stored, min(READS, len(stored)))
    positions = {oid: position for position, oid in enumerate(stored)}
    absent = [random.Random(position).randbytes(20) for position in range(MISSES)]
    compare(f"{title}: {len(chosen)} at random", repo, _ways(_read), chosen, pairs, ours=OURS)
    compare(f"{title}: as objects", repo, _ways(_look_up), chosen, pairs, ours=OURS)
    ordered = sorted(chosen, key=positions.__getitem__)
    compare(f"{title}: the same in order", repo, _ways(_read), ordered, pairs, ours=OURS)
    compare(f"{title}: headers", repo, _ways(_headers), chosen, pairs, ours=OURS)
    compare(f"{title}: {MISSES} absent", repo, _ways(_misses), absent, pairs, ours=OURS)
    writers = {OURS: _way(_write, "replace"), "pygit2": _way(_write, None)}
    compare(f"{title}: {NEW} new blobs", repo, writers, absent[:NEW], pairs, ours=OURS)
    for options in (["--batch", "--buffer"], ["--batch-check", "--buffer"], ["--batch"]):
        ways = {"git gpa cat-file": _cat_file("git", "gpa", *options), "git cat-file": _cat_file("git", *options)}
        compare(f"{title}: cat-file {' '.join(options)}", repo, ways, chosen, pairs, ours="git gpa cat-file")


def _ways(ask: Ask) -> dict[str, Way]:
    return {
        OURS: _way(ask, "replace"),
        "attached, mode add": _way(ask, "add"),
        "attached, hashed by the store": _hashed_by_store(_way(ask, "replace", verify=True)),
        "pygit2": _way(ask, None),
        "pygit2, hashing nothing": _hashed_by_store(_way(ask, None)),
    }


def _way(ask: Ask, mode: Literal["replace", "add"] | None, *, verify: bool = False) -> Way:
    def run(path: Path, oids: Sequence[bytes]) -> None:
        repo = pygit2.Repository(os.fspath(path))
        if mode:
            attach(repo, PageStore.open(path / "objects", verify=verify), mode=mode)
        ask(repo, [pygit2.Oid(raw=oid) for oid in oids])

    return run


def _hashed_by_store(way: Way) -> Way:
    def run(path: Path, oids: Sequence[bytes]) -> None:
        with _no_hashing():
            way(path, oids)

    return run


@contextmanager
def _no_hashing() -> Iterator[None]:
    option = pygit2.enums.Option.ENABLE_STRICT_HASH_VERIFICATION
    pygit2.option(option, False)
    try:
        yield
    finally:
        pygit2.option(option, True)


def _read(repo: pygit2.Repository, oids: Sequence[pygit2.Oid]) -> None:
    odb = repo.odb
    for oid in oids:
        odb.read(oid)


def _look_up(repo: pygit2.Repository, oids: Sequence[pygit2.Oid]) -> None:
    for oid in oids:
        repo[oid]


def _headers(repo: pygit2.Repository, oids: Sequence[pygit2.Oid]) -> None:
    odb = repo.odb
    for oid in oids:
        odb.read_header(oid)


def _misses(repo: pygit2.Repository, oids: Sequence[pygit2.Oid]) -> None:
    odb = repo.odb
    assert not any(oid in odb for oid in oids)


def _write(repo: pygit2.Repository, oids: Sequence[pygit2.Oid]) -> None:
    """Other contents each time; pygit2 alone writes loose objects."""
    salt = os.urandom(8)
    for oid in oids:
        repo.create_blob(salt + oid.raw)


def _cat_file(*words: str) -> Way:
    at = len([word for word in words if not word.startswith("-")])
    command = [*words[:at], "cat-file", *words[at:]]

    def run(repo: Path, oids: Sequence[bytes]) -> None:
        lines = b"".join(b"%b\n" % oid.hex().encode() for oid in oids)
        subprocess.run(command, cwd=repo, input=lines, check=True, stdout=subprocess.DEVNULL)

    return run
