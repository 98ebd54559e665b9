"""Many threads and processes write at once, into stores of their own and into one, while maintenance runs beside them.

Whoever was told that an object is there finds it, from then on and at the end. The short tests do one round; the slow
one goes on for a minute (GPA_STRESS_SECONDS).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
from histories import init_server
from oracle import all_objects, fsck, git, objects_dir
from packwriter import oid_hex
from writing import add_commit, assert_ends_well, forked, left_behind, loose_count

from gpa_maint import PageStore
from gpa_maint.store.writer import Writer

SECONDS = int(os.environ.get("GPA_STRESS_SECONDS", "60"))
UPKEEP = ["run", "repack", "expire --grace=now", "write"]
STOCK = ["repack -q -a -d -k", "gc -q --no-prune", "multi-pack-index write"]


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    made = init_server(tmp_path / "server")
    git(made, "config", "gpa.autoPages", "8")
    return made


def content(rng: random.Random) -> bytes:
    """Often one that somebody else writes too."""
    return b"%d " % rng.randrange(4000) * rng.choice([1, 30, 300])


def write_some(store: PageStore, writer: Writer, rng: random.Random) -> list[bytes]:
    """One way of adding; what was acknowledged is there at once."""
    way = rng.randrange(6)
    if way == 0:
        oids = [add_commit(writer, content(rng))]
    elif way == 1:
        oids = writer.add_many([("blob", content(rng)) for _ in range(rng.randrange(50))])
    elif way == 2:
        with store.batch() as batch:
            oids = [add_commit(batch, content(rng)) for _ in range(5)]
    elif way == 3:
        writer.seal()
        oids = []
    else:
        oids = [writer.add("blob", content(rng))]
    assert all(kind in ("blob", "commit") for kind, _ in store.read_many(oids, threads=1))
    return oids


def write_until(store: PageStore, seed: int, stop: Callable[[], bool], **options: str) -> list[bytes]:
    """What was acknowledged."""
    rng = random.Random(seed)
    writer = store.writer(**options)
    oids: list[bytes] = []
    while not stop():
        oids += write_some(store, writer, rng)
        if oids:
            assert rng.choice(oids) in store
    return oids


class Threads:
    """Threads at work until the block ends; what goes wrong in one of them is raised there."""

    def __init__(self, count: int, work: Callable[[int], None]) -> None:
        self._errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(work, number)) for number in range(count)]

    def _run(self, work: Callable[[int], None], number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            self._errors.append(error)

    def __enter__(self) -> Threads:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]


def counting(rounds: int) -> Callable[[], bool]:
    """False so many times."""
    left = iter(range(rounds))
    return lambda: next(left, None) is None


def until(seconds: float) -> Callable[[], bool]:
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def run_gpa(repo: Path, words: str) -> None:
    """One verb, in a process of its own; another one may hold the locks."""
    command = [sys.executable, "-m", "gpa_maint.cli.main", *words.split(), "-q"]
    subprocess.run(command, cwd=repo, check=False, capture_output=True)


@contextmanager
def upkeep(repo: Path, seconds: float) -> Iterator[None]:
    """Our verbs and stock git's, again and again."""
    rng = random.Random(0)

    def work(number: int) -> None:
        stop = until(seconds)
        while not stop():
            if number:
                run_gpa(repo, rng.choice(UPKEEP))
            else:
                git(repo, *rng.choice(STOCK).split(), check=False)
            time.sleep(0.05)

    with Threads(2, work):
        yield


def assert_all_there(repo: Path, oids: list[bytes]) -> None:
    """When the next writer has looked after what was left."""
    with PageStore.open(objects_dir(repo)) as store, store.writer():
        pass
    assert {oid.hex() for oid in oids} <= all_objects(repo).keys()
    fsck(repo)
    assert {} == left_behind(repo)


@pytest.mark.parametrize("durability", ["none", "page", "journal"])
def test_threads_write_through_one_store(repo: Path, durability: str) -> None:
    git(repo, "config", "gpa.pageObjects", "100")
    oids: list[list[bytes]] = [[] for _ in range(6)]
    with PageStore.open(objects_dir(repo)) as store:

        def work(number: int) -> None:
            oids[number] = write_until(store, number, counting(60))

        store.writer(durability=durability)
        with Threads(6, work):
            run_gpa(repo, "repack")
        assert all(oid in store for own in oids for oid in own)
        stats = store.writer().stats()
    assert_all_there(repo, [*chain(*oids)])
    assert len(all_objects(repo)) <= stats.object_count
    assert 0 == loose_count(repo)


def test_threads_share_one_sync_and_one_seal(repo: Path) -> None:
    """While one syncs, the others wait together for the next."""
    with PageStore.open(objects_dir(repo)) as store:
        writer = store.writer(durability="journal")

        def work(number: int) -> None:
            for at in range(40):
                writer.add("blob", b"%d of %d" % (at, number))
            for at in range(20):
                add_commit(writer, b"%d of %d, committed" % (at, number))

        with Threads(8, work):
            pass
        stats = writer.stats()
    assert 8 * 100 == stats.object_count
    assert stats.sync_count < 8 * 80
    assert stats.page_count < 8 * 20


PROCESS = """
import random, sys
sys.path[:0] = sys.argv[4:]
from test_writer_threads import *
stop = until(float(sys.argv[3]))
with PageStore.open(sys.argv[1]) as store:
    writer, rng = store.writer(), random.Random(int(sys.argv[2]))
    while not stop():
        for oid in write_some(store, writer, rng):
            print(oid.hex(), flush=True)
"""


def start_process(repo: Path, seed: int, seconds: float) -> subprocess.Popen[str]:
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    command = [sys.executable, "-c", PROCESS, objects_dir(repo), str(seed), str(seconds), *folders]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_write_while_maintenance_runs(repo: Path) -> None:
    processes = [start_process(repo, seed, 3) for seed in range(3)]
    with upkeep(repo, 3):
        said = [process.communicate()[0] for process in processes]
    assert [0, 0, 0] == [process.returncode for process in processes]
    assert_all_there(repo, [bytes.fromhex(line) for text in said for line in text.split()])


def kill_now_and_then(repo: Path, seconds: float) -> list[bytes]:
    """Processes that write are killed, and others come; what all of them had been told."""
    rng, stop, told = random.Random(7), until(seconds), []
    seed = 0
    while not stop():
        processes = [start_process(repo, seed := seed + 1, 60) for _ in range(3)]
        time.sleep(rng.uniform(0.3, 1.5))
        for process in processes:
            process.send_signal(signal.SIGKILL)
        # the last line may be half a line
        told += [line for process in processes for line in process.communicate()[0].split("\n")[:-1]]
    return [bytes.fromhex(line) for line in told if len(line) == 40]


def test_processes_killed_while_they_write_lose_nothing_that_was_told(repo: Path) -> None:
    oids = kill_now_and_then(repo, 4)
    fsck(repo)
    with PageStore.open(objects_dir(repo)) as store, store.writer() as writer:
        assert not [found for found in writer.recovered if found.problem]
    assert_all_there(repo, oids)


def test_forks_while_threads_write(repo: Path) -> None:
    """No lock stays behind, and neither disturbs the other."""
    stopped = threading.Event()
    oids: list[list[bytes]] = [[] for _ in range(4)]
    with PageStore.open(objects_dir(repo)) as store:
        store.writer()

        def work(number: int) -> None:
            oids[number] = write_until(store, number, stopped.is_set)

        def child(number: int) -> None:
            signal.alarm(60)
            add_commit(store.writer(), b"of child %d" % number)
            store.writer().add("blob", b"waits in child %d" % number)
            store.close()

        with Threads(4, work):
            try:
                for number in range(15):
                    assert_ends_well(forked(partial(child, number)))
            finally:
                stopped.set()
    assert_all_there(repo, [*chain(*oids)])
    assert {oid_hex("blob", b"waits in child %d" % number) for number in range(15)} <= all_objects(repo).keys()


@pytest.mark.slow
def test_everybody_writes_for_minutes_while_all_loops_run(repo: Path) -> None:
    """8 threads and 3 processes, processes that are killed, our verbs and stock git's."""
    git(repo, "config", "gpa.pageObjects", "500")
    oids: list[list[bytes]] = [[] for _ in range(8)]
    processes = [start_process(repo, 100 + seed, SECONDS) for seed in range(3)]
    outputs: list[str] = [""] * 3
    killed: list[bytes] = []
    with PageStore.open(objects_dir(repo)) as store:

        def work(number: int) -> None:
            if number < 8:
                oids[number] = write_until(store, number, until(SECONDS))
            elif number < 11:
                outputs[number - 8] = processes[number - 8].communicate()[0]
            else:
                killed.extend(kill_now_and_then(repo, SECONDS))

        with upkeep(repo, SECONDS), Threads(12, work):
            pass
    assert [0, 0, 0] == [process.returncode for process in processes]
    told = [bytes.fromhex(line) for text in outputs for line in text.split()]
    assert_all_there(repo, [*chain(*oids), *told, *killed])
