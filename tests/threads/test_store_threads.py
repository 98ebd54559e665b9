"""Many threads and processes read through stores while others rewrite the repository beneath them (I2).

The short tests do one round; the slow ones loop for a minute (GPA_STRESS_SECONDS). Each object is compared with what
git said of it before.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from histories import History, HistorySpec, pushed_history, send_push
from oracle import all_objects, git, objects_dir, pack_dir

from gpa_maint import PageStore

SECONDS = int(os.environ.get("GPA_STRESS_SECONDS", "60"))
MISSING = "00112233445566778899aabbccddeeff00112233"

Objects = dict[str, tuple[str, int, str]]

# What goes round beside the readers. Each leaves every object readable.
GPA = ["write", "repack", "expire --grace=now"]
STOCK = ["repack -q -a -d -k --write-midx", "gc -q --no-prune", "multi-pack-index write", "repack -q -d -k"]


@pytest.fixture
def history(tmp_path: Path) -> History:
    return pushed_history(tmp_path / "history", HistorySpec(kind="tree", pushes=30, waiting=10))


def check(store: PageStore, expected: Objects, oid: str) -> None:
    """One object, in one of the ways to ask for it."""
    kind, size, digest = expected[oid]
    way = random.randrange(5)
    if way == 0:
        assert oid in store
    elif way == 1:
        assert (kind, size) == store.info(oid)
    elif way == 2:
        with store.stream(oid) as stream:
            assert digest == hashlib.sha256(stream.read()).hexdigest()
    else:
        assert (kind, digest) == ((found := store.read(oid))[0], hashlib.sha256(found[1]).hexdigest())


def read_until(store: PageStore, expected: Objects, stop: Callable[[], bool]) -> int:
    """Read at random; how many objects were read."""
    oids, count = list(expected), 0
    while not stop():
        for oid in random.sample(oids, min(50, len(oids))):
            check(store, expected, oid)
        chosen = random.sample(oids, min(50, len(oids)))
        assert [expected[oid][2] for oid in chosen] == [
            hashlib.sha256(content).hexdigest() for _, content in store.read_many(chosen, threads=2)
        ]
        assert [expected[oid][:2] for oid in chosen] == store.info_many(chosen, threads=2)
        assert [bytes.fromhex(MISSING)] == store.missing([*chosen, MISSING])
        assert MISSING not in store
        if not count % 5000:
            assert {oid.hex() for oid in store} >= expected.keys()
        count += 201
    return count


class Readers:
    """Threads that read until the block ends; what goes wrong in one of them is raised there."""

    def __init__(self, store: PageStore, expected: Objects, count: int) -> None:
        self._stopped = False
        self.read = 0
        self.errors: list[BaseException] = []
        self._store, self._expected = store, expected
        self._threads = [threading.Thread(target=self._run) for _ in range(count)]

    def _run(self) -> None:
        try:
            self.read += read_until(self._store, self._expected, lambda: self._stopped)
        except BaseException as error:
            self.errors.append(error)

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.join()
        if self.errors:
            raise self.errors[0]


def run_gpa(repo: Path, words: str) -> None:
    """One verb, in a process of its own; another one may hold the locks."""
    command = [sys.executable, "-m", "gpa_maint.cli.main", *words.split(), "-q"]
    subprocess.run(command, cwd=repo, check=False, capture_output=True)


def maintain_once(history: History) -> None:
    for push in history.waiting[:2]:
        send_push(history.client, history.server, push)
    for words in GPA:
        run_gpa(history.server, words)
    for words in STOCK:
        git(history.server, *words.split(), check=False)


def test_readers_go_on_while_everything_is_rewritten(history: History) -> None:
    expected = all_objects(history.server)
    with PageStore.for_repository(history.server, map_count=4) as store:
        with Readers(store, expected, 8) as readers:
            maintain_once(history)
        assert readers.read > 0


def test_a_store_works_in_a_forked_process(history: History) -> None:
    """Fork while other threads are inside the store: no lock stays behind, and the parent goes on."""
    expected = all_objects(history.server)
    with PageStore.for_repository(history.server) as store, Readers(store, expected, 4):
        for _ in range(20):
            pid = os.fork()
            if not pid:
                signal.alarm(60)
                good = all(
                    expected[oid][2] == hashlib.sha256(store.read(oid)[1]).hexdigest()
                    for oid in random.sample(list(expected), 50)
                )
                store.refresh()
                os._exit(0 if good and MISSING not in store else 1)
            assert 0 == os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def digests(store: PageStore, oids: list[str]) -> list[str]:
    return [hashlib.sha256(store.read(oid)[1]).hexdigest() for oid in oids]


def test_a_store_travels_to_worker_processes(history: History) -> None:
    expected = all_objects(history.server)
    with PageStore.for_repository(history.server) as store:
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                answers = pool.starmap(digests, [(store, list(expected)[part::2]) for part in range(2)])
            assert [fields[2] for fields in list(expected.values())[0::2]] == answers[0]


def test_closing_waits_for_nobody_and_hurts_nobody(history: History) -> None:
    expected = all_objects(history.server)
    for _ in range(20):
        store = PageStore.for_repository(history.server)
        with pytest.raises(ValueError, match="closed"), Readers(store, expected, 4):
            time.sleep(0.02)
            store.close()


def test_refresh_and_reads_mix(history: History) -> None:
    expected = all_objects(history.server)
    store = PageStore.for_repository(history.server, map_count=2, cache_bytes=10_000)
    with store, Readers(store, expected, 4):
        for number in range(200):
            store.refresh()
            if number % 50 == 0:
                (pack_dir(history.server) / "multi-pack-index").unlink(missing_ok=True)
            elif number % 50 == 25:
                git(history.server, "multi-pack-index", "write")


@contextmanager
def looping(work: Callable[[], None], seconds: float) -> Iterator[None]:
    """Run `work` again and again in a thread, for so long."""
    until = time.monotonic() + seconds

    def run() -> None:
        while time.monotonic() < until:
            work()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


READER_PROCESS = """
import json, os, sys, time
sys.path.insert(0, sys.argv[3])
from test_store_threads import PageStore, read_until
expected = json.load(open(sys.argv[2]))
until = time.monotonic() + float(sys.argv[4])
with PageStore.open(sys.argv[1], map_count=8) as store:
    assert read_until(store, {oid: tuple(fields) for oid, fields in expected.items()}, lambda: time.monotonic() > until)
"""


@pytest.mark.slow
def test_readers_read_for_minutes_while_all_loops_run(history: History, tmp_path: Path) -> None:
    """8 threads and 4 processes; beside them our verbs, stock git's repack and gc, and pushes."""
    import json

    expected = all_objects(history.server)
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    pushes = iter(history.waiting)

    def push() -> None:
        for one in pushes:
            send_push(history.client, history.server, one)
            return
        time.sleep(1)

    def ours() -> None:
        run_gpa(history.server, random.choice(GPA))

    def stock() -> None:
        git(history.server, *random.choice(STOCK).split(), check=False)
        time.sleep(random.random())

    arguments = [objects_dir(history.server), tmp_path / "expected.json", Path(__file__).parent, str(SECONDS)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[1])])}
    processes = [subprocess.Popen([sys.executable, "-c", READER_PROCESS, *arguments], env=env) for _ in range(4)]
    with PageStore.for_repository(history.server, map_count=8) as store:
        loops = looping(ours, SECONDS), looping(stock, SECONDS), looping(push, SECONDS)
        with Readers(store, expected, 8) as readers, loops[0], loops[1], loops[2]:
            time.sleep(SECONDS / 2)
            descriptors = len(os.listdir("/proc/self/fd"))
        assert readers.read > 0
        assert len(os.listdir("/proc/self/fd")) <= descriptors
    assert [0] * 4 == [process.wait() for process in processes]


@pytest.mark.slow
def test_an_object_that_moves_is_never_missing(history: History) -> None:
    """Packed to loose and back, by stock git, again and again."""
    expected = all_objects(history.server)
    oids = list(expected)

    with PageStore.for_repository(history.server) as store:

        def loosen() -> None:
            git(history.server, "repack", "-q", "-a", "-d", "-k")
            for oid in random.sample(oids, 20):
                kind, content = store.read(oid)
                git(history.server, "hash-object", "-w", "--stdin", "-t", kind, "--literally", input=content)
            git(history.server, "prune-packed", "-q")

        with Readers(store, expected, 4), looping(loosen, SECONDS / 2):
            pass
