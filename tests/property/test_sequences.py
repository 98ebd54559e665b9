"""Any sequence of pushes, our verbs, and git's own maintenance leaves the same objects, byte for byte.

The history is prepared: a step sends its next push, or does one piece of maintenance. `git gc` and `git repack -a -d`
keep unreachable objects here, so nothing may ever go away.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path

import pytest
from histories import History, HistorySpec, pushed_history, send_push
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from oracle import all_objects, fsck, git, pack_dir, verify_midx

from gpa_maint import commands, fs
from gpa_maint.errors import GpaError
from gpa_maint.plan import run as plan_run
from gpa_maint.verbs import session

SPEC = HistorySpec(kind="tree", pushes=4, waiting=8, files=10)
Step = Callable[[History], object]
Objects = dict[str, tuple[str, int, str]]


def push(history: History) -> None:
    """The first waiting push that the server has not seen."""
    for waiting in history.waiting:
        news = [update for update in waiting if update.oid and not _has(history.server, update.oid)]
        if news:
            send_push(history.client, history.server, waiting)
            return


def _has(repo: Path, oid: str) -> bool:
    return git(repo, "cat-file", "-e", oid, check=False).returncode == 0


def repack(batch_bytes: int, page_objects: int) -> Step:
    return lambda history: commands.repack(
        str(history.server), batch_bytes=batch_bytes, page_objects=page_objects or None
    )


def git_step(*words: str) -> Step:
    """git's own maintenance. It may refuse (no index to repack), and must not break anything."""
    return lambda history: git(history.server, *words, check=False)


def killed_run(number: int) -> Step:
    """A run in a process that is killed before its `number`-th step that makes a name appear or vanish."""

    def step(history: History) -> None:
        pid = os.fork()
        if pid == 0:
            steps = iter(range(number, -1, -1))
            fs.door.before_step = lambda *_: next(steps, None) == 0 and os.kill(os.getpid(), signal.SIGKILL)
            try:
                commands.maintain(str(history.server))
            finally:
                os._exit(0)
        os.waitpid(pid, 0)

    return step


def commit(history: History) -> None:
    """What a commit on the server leaves: loose objects."""
    for number in range(3):
        git(history.server, "hash-object", "-w", "--stdin", input=f"{number} of {len(all_objects(history.server))}")


def damage_and_repair(suffix: str) -> Step:
    """The checksum that a file ends with: of a pack, an idx or the index. Nothing is lost by it."""

    def step(history: History) -> None:
        paths = sorted(path for path in pack_dir(history.server).glob(f"*{suffix}") if not _is_kept(path))
        if paths:
            path = paths[len(paths) // 2]
            path.chmod(0o644)
            content = path.read_bytes()
            path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            assert () == commands.repair(str(history.server)).lost

    return step


def _is_kept(path: Path) -> bool:
    return path.with_suffix(".keep").exists()


def clock_jumps(seconds: int) -> Step:
    """From here on the clock says something else."""

    def step(_: History) -> None:
        CLOCK["ahead"] = seconds

    return step


CLOCK = {"ahead": 0}
OURS = ("write", "repack", "expire", "run", "damage")

STEPS: dict[str, Step] = {
    "push": push,
    "write": lambda history: commands.write(str(history.server)),
    "write --bitmap": lambda history: commands.write(str(history.server), bitmap=True),
    "expire now": lambda history: commands.expire(str(history.server), grace_seconds=0),
    "expire later": lambda history: commands.expire(str(history.server), grace_seconds=3600),
    "run": lambda history: commands.maintain(str(history.server)),
    "commit": commit,
    "damage a pack": damage_and_repair(".pack"),
    "damage an idx": damage_and_repair(".idx"),
    "damage the index": damage_and_repair("multi-pack-index"),
    "the clock jumps ahead": clock_jumps(30 * 86400),
    "the clock falls back": clock_jumps(-30 * 86400),
    "git gc": git_step("gc", "--quiet", "--prune=never"),
    "git repack -a -d -k": git_step("repack", "-q", "-a", "-d", "-k"),
    "git multi-pack-index write": git_step("multi-pack-index", "write"),
    "git multi-pack-index repack": git_step("multi-pack-index", "repack"),
    "git multi-pack-index repack --batch-size": git_step("multi-pack-index", "repack", "--batch-size=2k"),
    "git multi-pack-index expire": git_step("multi-pack-index", "expire"),
    "delete the index": lambda history: (pack_dir(history.server) / "multi-pack-index").unlink(missing_ok=True),
    "delete our state": lambda history: shutil.rmtree(history.server / "gpa", ignore_errors=True),
    "keep a pack": lambda history: next(pack_dir(history.server).glob("*.pack")).with_suffix(".keep").touch(),
}

# So that a run finds something due after a few pushes.
RUN_SETTINGS = {"autoPages": "2", "maxPages": "3", "autoUnindexed": "4", "autoLoose": "5", "expireGrace": "now"}

# What keeps I6. Of git's own commands only `write` does: the others delete what a reader with an older index needs.
CAREFUL = ("write", "expire now", "run", "git multi-pack-index write")

pushes = st.just(("push", push))
repacks = st.builds(
    lambda batch, page: (f"repack {batch} {page}", repack(batch, page)),
    st.sampled_from([0, 500, 2000, 20000]),
    st.sampled_from([0, 1, 2, 5, 20, 60]),
)
kills = st.builds(lambda number: (f"killed run {number}", killed_run(number)), st.integers(1, 80))
others = st.one_of(st.sampled_from(sorted(STEPS.items())), kills)
sequences = st.lists(st.one_of(pushes, repacks, others, repacks, others), min_size=2, max_size=8)


@cache
def original() -> History:
    """Made once; not to be changed."""
    return pushed_history(Path(tempfile.mkdtemp(prefix="sequences-")), SPEC)


@pytest.fixture(scope="module", autouse=True)
def _clean_up() -> Iterator[None]:
    yield
    shutil.rmtree(original().server.parent)
    original.cache_clear()


def fresh(root: Path) -> History:
    made = original()
    shutil.copytree(made.server, root / "server")
    for key, value in RUN_SETTINGS.items():
        git(root / "server", "config", f"gpa.{key}", value)
    shutil.copytree(made.client, root / "client")
    return History(
        spec=made.spec,
        server=root / "server",
        client=root / "client",
        packs=made.packs,
        pushed=made.pushed,
        waiting=made.waiting,
    )


def run(steps: list[tuple[str, Step]], root: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        CLOCK["ahead"] = 0
        patch.setattr(session, "wall_clock", lambda: time.time() + CLOCK["ahead"])
        _run(steps, root)


def _run(steps: list[tuple[str, Step]], root: Path) -> None:
    history = fresh(root)
    seen = all_objects(history.server)
    littered = False
    for name, step in steps:
        note(name)
        try:
            step(history)
        except GpaError as error:
            raise AssertionError(f"after '{name}': {error}") from error
        now = all_objects(history.server)
        if name in ("push", "commit"):
            assert seen.items() <= now.items()
            seen = now
        assert seen == now, f"'{name}' changed what is there"
        assert_whole(history.server)
        # What a killed run left is removed by the next one of ours.
        littered = name.startswith("killed") or (littered and not name.startswith(OURS))
        assert littered or [] == list((history.server / "gpa" / "tmp").glob("*"))


def assert_whole(repo: Path) -> None:
    fsck(repo)
    if (pack_dir(repo) / "multi-pack-index").exists():
        verify_midx(repo)


COMMON = settings(deadline=None, suppress_health_check=list(HealthCheck), database=None)


@settings(COMMON, max_examples=30, derandomize=True)
@given(steps=sequences)
def test_no_sequence_of_maintenance_changes_an_object(steps: list[tuple[str, Step]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(steps, Path(folder))


careful = st.sampled_from([(name, STEPS[name]) for name in CAREFUL])


@settings(COMMON, max_examples=20, derandomize=True)
@given(
    steps=st.lists(st.one_of(pushes, careful, repacks, careful), min_size=3, max_size=9), fold=st.sampled_from([2, 64])
)
def test_whoever_has_opened_the_repository_finds_all_that_was_there(steps: list[tuple[str, Step]], fold: int) -> None:
    """I2, I6. After each step a reader opens it, and holds the index of that moment until the end."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_run, "FOLD", fold)
        history = fresh(Path(folder))
        readers = []
        for name, step in steps:
            objects = all_objects(history.server)
            readers.append((name, stack.enter_context(open_reader(history.server)), list(objects)))
            assert [] == missing(readers[-1][1], readers[-1][2][:1])
            note(name)
            step(history)
        for name, reader, oids in readers:
            assert [] == missing(reader, oids), f"a reader that opened before '{name}'"


@contextmanager
def open_reader(repo: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = ["git", "cat-file", "--batch-check"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=repo, stdin=pipe, stdout=pipe) as reader:
        yield reader
        reader.communicate()


def missing(reader: subprocess.Popen[bytes], oids: list[str]) -> list[str]:
    """Those that the reader, still open, does not find."""
    assert reader.stdin and reader.stdout
    found = []
    for oid in oids:
        reader.stdin.write(f"{oid}\n".encode())
        reader.stdin.flush()
        if reader.stdout.readline().endswith(b"missing\n"):
            found.append(oid)
    return found


@pytest.mark.slow
@settings(COMMON, max_examples=1000)
@given(steps=st.lists(st.one_of(pushes, repacks, others), min_size=2, max_size=20))
def test_no_long_sequence_of_maintenance_changes_an_object(steps: list[tuple[str, Step]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run(steps, Path(folder))
