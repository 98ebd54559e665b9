"""Stopped before the 1st, 2nd, 3rd ... step that makes a name appear or vanish, git is content, and a second run
finishes.

A verb runs in a forked child that kills itself; I1, I2, I3. The power goes out in three ways: nothing is lost but the
process; all names that the directory was not synced for are lost; of those names the new ones are lost and the removed
ones stay removed. In the last two, files that were not synced are empty.
"""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from dying import DONE, KILLED, NOTHING_LOST, in_child, killed_at
from faults import count_fault
from histories import HistorySpec, pushed_history, send_push
from loose import loose_oids, pack_all_loose, write_loose
from oracle import content_digest, fsck, git, midx_winners, pack_dir, verify_midx

from gpa_maint import commands, fs
from gpa_maint.cli.main import main as cli
from gpa_maint.errors import GpaError, Locked

SPEC = HistorySpec(pushes=12, files=6, waiting=4)
MOST_STEPS = 400
RANDOM_KILLS = int(os.environ.get("GPA_TEST_KILLS", "120"))
"""How often each of four repositories is hit by a random kill: `make crash` says 1000."""

STRIDE = {} if "GPA_TEST_KILLS" in os.environ else {"run": 5}
"""What consists of others that are stopped at each step is stopped at each fifth one, but for `make crash`."""

POWER = {"nothing": "killed", "all": "power cut", "new": "power cut, new names lost"}

Verb = Callable[[Path], object]
VERBS: dict[str, Verb] = {
    "write": lambda repo: commands.write(str(repo)),
    "repack": lambda repo: commands.repack(str(repo), page_objects=40),
    "expire": lambda repo: commands.expire(str(repo), grace_seconds=0),
    "loose": lambda repo: pack_all_loose(repo, page_objects=5),
    "run": lambda repo: commands.maintain(str(repo)),
}
RUN_SETTINGS = {"autoPages": "2", "pageObjects": "40", "autoLoose": "1", "autoRefs": "3", "expireGrace": "now"}


# -- Repositories in which a verb has something to do


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each verb a repository, not to be changed: each with packs the index does not name, and one with bitmaps."""
    root = tmp_path_factory.mktemp("ready")
    history = pushed_history(root, SPEC)
    made = {}
    for verb in VERBS:
        repo = root / verb
        shutil.copytree(history.server, repo)
        git(repo, "multi-pack-index", "write", "--bitmap")
        for push in history.waiting[:2]:
            send_push(history.client, repo, push)
        if verb == "expire":
            commands.repack(str(repo), page_objects=40)
            for push in history.waiting[2:]:
                send_push(history.client, repo, push)
        if verb == "run":
            commands.repack(str(repo), page_objects=40)
            for push in history.waiting[2:]:
                send_push(history.client, repo, push)
            for key, value in RUN_SETTINGS.items():
                git(repo, "config", f"gpa.{key}", value)
        if verb in ("loose", "run"):
            rng = random.Random(verb)
            for size in range(3000, 3013):
                write_loose(repo / "objects", "blob", rng.randbytes(size))
        made[verb] = repo
    return made


def copy_of(repo: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(repo, target, symlinks=True)
    return target


def stopped_at(number: int, repo: Path, verb: Verb, scratch: Path, lost: str) -> int:
    return killed_at(number, pack_dir(repo), lambda: verb(repo), scratch, lost)


# -- What must hold


def assert_whole(repo: Path, digest: str) -> None:
    """Git is content, and every object is there."""
    fsck(repo)
    assert digest == content_digest(repo)
    if (pack_dir(repo) / "multi-pack-index").exists():
        verify_midx(repo)


def leftovers(repo: Path) -> set[str]:
    """Temporary files and locks."""
    found = {str(path.relative_to(repo)) for path in (repo / "gpa" / "tmp").glob("*")}
    found |= {path.name for path in pack_dir(repo).iterdir() if path.name.endswith(".lock") or "tmp_" in path.name}
    return found | {name for name in ("gc.pid", "gc.pid.lock", "objects/maintenance.lock") if (repo / name).exists()}


def assert_finishes(repo: Path, verb: str, digest: str) -> None:
    """The same verb again does the rest."""
    VERBS[verb](repo)
    assert set() == leftovers(repo)
    assert digest == content_digest(repo)
    verify_midx(repo)
    if verb in ("loose", "run"):
        assert set() == loose_oids(repo)
    if verb == "expire":
        winners = midx_winners(repo)
        assert {name for name, _ in winners.values()} == {path.stem for path in pack_dir(repo).glob("*.pack")}
        commands.write(str(repo))
        assert winners == midx_winners(repo)  # nothing that was superseded comes back


@pytest.mark.parametrize("lost", ["nothing", "all", "new"])
@pytest.mark.parametrize("verb", VERBS)
def test_killed_before_any_step_git_is_content_and_a_second_run_finishes(
    ready: dict[str, Path], tmp_path: Path, verb: str, lost: str
) -> None:
    digest = content_digest(ready[verb])
    cuts = 0
    for number in count(1, STRIDE.get(verb, 1)):
        repo = copy_of(ready[verb], tmp_path / "repo")
        end = stopped_at(number, repo, VERBS[verb], tmp_path, lost)
        cuts += end == KILLED
        if end != NOTHING_LOST:
            with count_fault(verb, POWER[lost], end == KILLED):
                assert_whole(repo, digest)
                assert_finishes(repo, verb, digest)
        if end == DONE:
            break
        assert number < MOST_STEPS
    assert cuts > (8 if lost == "nothing" else 0)  # or nothing was tried at all


@pytest.mark.parametrize("verb", VERBS)
def test_killed_in_the_second_run_too_a_third_one_finishes(ready: dict[str, Path], tmp_path: Path, verb: str) -> None:
    """remove_stale() at work: what the first run left is taken away step by step."""
    digest = content_digest(ready[verb])
    first = 14 if verb == "expire" else 7
    for number in range(1, 14):
        repo = copy_of(ready[verb], tmp_path / "repo")
        assert KILLED == stopped_at(first, repo, VERBS[verb], tmp_path, "nothing")
        assert leftovers(repo)
        end = stopped_at(number, repo, VERBS[verb], tmp_path, "nothing")
        with count_fault(verb, "killed twice", end == KILLED):
            assert_whole(repo, digest)
            assert_finishes(repo, verb, digest)


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A repository in which an idx, a pack's trailer and the index are damaged, but no object is; and its digest."""
    root = tmp_path_factory.mktemp("damaged")
    repo = pushed_history(root, SPEC).server
    git(repo, "multi-pack-index", "write")
    digest = content_digest(repo)
    by_size = sorted(pack_dir(repo).glob("*.pack"), key=lambda path: path.stat().st_size)
    for path in (by_size[-1], by_size[-2].with_suffix(".idx"), pack_dir(repo) / "multi-pack-index"):
        path.chmod(0o644)
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return repo, digest


@pytest.mark.parametrize("lost", ["nothing", "all", "new"])
def test_killed_before_any_step_a_second_repair_loses_nothing(
    damaged: tuple[Path, str], tmp_path: Path, lost: str
) -> None:
    """I3. Damaged files are set aside when all that could be read is durable elsewhere."""
    original, digest = damaged
    cuts = 0
    for number in count(1):
        repo = copy_of(original, tmp_path / "repo")
        end = stopped_at(number, repo, lambda repo: commands.repair(str(repo)), tmp_path, lost)
        cuts += end == KILLED
        if end != NOTHING_LOST:
            with count_fault("repair", POWER[lost], end == KILLED):
                assert () == commands.repair(str(repo)).lost
                assert_whole(repo, digest)
                assert set() == leftovers(repo)
        if end == DONE:
            break
        assert number < MOST_STEPS
    assert cuts > (8 if lost == "nothing" else 0)


# -- Errors in place of crashes


def failing(number: int, error: int, *, once: bool) -> Callable[[str, str], None]:
    """Steps from the `number`-th on fail, or only that one. Locks can always be removed."""
    steps = count(1)

    def before_step(operation: str, path: str) -> None:
        if operation == "unlink" and path.endswith((".lock", "gc.pid")):
            return
        here = next(steps)
        if here == number or (here > number and not once):
            raise OSError(error, os.strerror(error), path)

    return before_step


def command_words(verb: str, repo: Path) -> list[str]:
    extra = {"repack": ["--page-objects=40"], "expire": ["--grace=now"]}
    return [verb, *extra.get(verb, [])]


def run_told(verb: str, repo: Path) -> int:
    """The command in this process, with its exit status; what is no command of its own says the same in its place."""
    os.chdir(repo)
    if verb != "loose":
        return cli(command_words(verb, repo))
    try:
        VERBS[verb](repo)
    except (GpaError, OSError) as error:
        print(f"fatal: {error}", file=sys.stderr)
        return 128
    return 0


@pytest.mark.parametrize(("error", "once"), [(errno.ENOSPC, True), (errno.EIO, False)], ids=["one step", "all further"])
@pytest.mark.parametrize("verb", VERBS)
def test_an_error_in_any_step_is_told_and_a_second_run_finishes(
    ready: dict[str, Path], tmp_path: Path, verb: str, error: int, once: bool
) -> None:
    digest = content_digest(ready[verb])
    injected, told, mark = 0, 0, tmp_path / "failed"
    for number in count(1, STRIDE.get(verb, 1)):
        repo = copy_of(ready[verb], tmp_path / "repo")
        mark.unlink(missing_ok=True)

        def work(repo: Path = repo, number: int = number) -> int:
            fail = failing(number, error, once=once)

            def before_step(operation: str, path: str) -> None:
                try:
                    fail(operation, path)
                except OSError:
                    mark.touch()
                    raise

            fs.door.before_step = before_step
            return run_told(verb, repo)

        status, said = in_child(work)
        assert "Traceback" not in said, f"step {number}: {said}"
        # A run goes on with its other steps, and a record that cannot be written does not make it fail. On a full disk
        # a part may be done.
        in_part = verb == "run" or error == errno.ENOSPC
        assert status in ((0, 1, 128) if in_part else (0, 128)), f"step {number}: {status} {said}"
        if status == 128:
            assert said.startswith("fatal: "), f"step {number}: {said}"
        if status:
            assert os.strerror(error) in said
        is_told = os.strerror(error) in said
        told += is_told
        injected += mark.exists()
        with count_fault(
            verb, f"{errno.errorcode[error]} in {'one step' if once else 'all further steps'}", status > 0
        ):
            assert_whole(repo, digest)
            assert_finishes(repo, verb, digest)
        # What does not fit on a full disk at once is done in smaller parts, and then there is nothing to tell.
        if not is_told and not (error == errno.ENOSPC and mark.exists()):
            break
        assert number < MOST_STEPS
    assert injected > 8
    assert told > 0


@pytest.mark.parametrize("lock", ["gc.pid", "maintenance.lock"])
def test_a_lock_that_could_not_be_removed_is_removed_by_the_next_run(
    ready: dict[str, Path], tmp_path: Path, lock: str
) -> None:
    repo = copy_of(ready["expire"], tmp_path / "repo")

    def before_step(operation: str, path: str) -> None:
        if operation == "unlink" and Path(path).name == lock:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    def work() -> int:
        os.chdir(repo)
        fs.door.before_step = before_step
        return cli(command_words("expire", repo))

    status, said = in_child(work)
    assert 128 == status, said
    assert leftovers(repo)
    assert_finishes(repo, "expire", content_digest(repo))


@pytest.mark.parametrize("verb", ["write", "repack", "loose"])
def test_a_full_disk_is_told_and_leaves_nothing_behind(ready: dict[str, Path], tmp_path: Path, verb: str) -> None:
    """The C core writes through its descriptor until the limit on a file's size stops it."""
    digest = content_digest(ready[verb])
    for limit in (0, 100, 1500, 4000):
        repo = copy_of(ready[verb], tmp_path / "repo")

        def limit_size(operation: str, path: str, limit: int = limit) -> None:
            if operation == "create" and path.endswith((".midx", ".pack")):
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        def work(repo: Path = repo, limit_size: Callable[[str, str], None] = limit_size) -> int:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            fs.door.before_step = limit_size
            return run_told(verb, repo)

        status, said = in_child(work)
        assert 128 == status, f"{limit} bytes: {said}"
        assert "Traceback" not in said
        assert os.strerror(errno.EFBIG) in said
        assert set() == leftovers(repo)
        with count_fault(verb, "short write, then EFBIG", True):
            assert_whole(repo, digest)
            assert_finishes(repo, verb, digest)


@pytest.mark.parametrize("verb", VERBS)
def test_signals_that_interrupt_system_calls_change_nothing(ready: dict[str, Path], tmp_path: Path, verb: str) -> None:
    """EINTR: a timer that fires each millisecond, whose handler does nothing and restarts no call."""
    repo = copy_of(ready[verb], tmp_path / "repo")
    digest = content_digest(repo)
    fired = tmp_path / "fired"

    def work() -> int:
        ticks = count(1)
        signal.signal(signal.SIGALRM, lambda *_: next(ticks))
        signal.siginterrupt(signal.SIGALRM, True)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        VERBS[verb](repo)
        signal.setitimer(signal.ITIMER_REAL, 0)
        fired.write_text(str(next(ticks)))
        return DONE

    status, said = in_child(work)
    assert DONE == status, said
    assert int(fired.read_text()) > 3
    with count_fault(verb, "EINTR, each millisecond", True):
        assert_whole(repo, digest)
        assert_finishes(repo, verb, digest)


# -- Recovery


def test_a_lock_of_a_killed_run_is_taken_away(ready: dict[str, Path], tmp_path: Path) -> None:
    repo = copy_of(ready["write"], tmp_path / "repo")
    before = content_digest(repo)
    verb = VERBS["write"]
    for number in count(1):
        assert KILLED == stopped_at(number, repo, verb, tmp_path, "nothing"), "never killed while it held the lock"
        if (pack_dir(repo) / "multi-pack-index.lock").exists():
            break
    assert 128 == git(repo, "multi-pack-index", "write", check=False).returncode
    assert_finishes(repo, "write", before)


def test_a_lock_of_somebody_else_stays(ready: dict[str, Path], tmp_path: Path) -> None:
    repo = copy_of(ready["write"], tmp_path / "repo")
    lock = pack_dir(repo) / "multi-pack-index.lock"
    lock.write_bytes(b"")
    with pytest.raises(Locked, match="File exists"):
        commands.write(str(repo))
    assert lock.exists()
    assert {"multi-pack-index.lock"} == leftovers(repo)


def test_what_a_killed_run_with_our_process_number_left_is_no_obstacle(ready: dict[str, Path], tmp_path: Path) -> None:
    """In a container every run may have the same process number."""
    repo = copy_of(ready["write"], tmp_path / "repo")
    digest = content_digest(repo)
    (repo / "gpa" / "tmp").mkdir(parents=True, exist_ok=True)
    (repo / "gpa" / "tmp" / f"{os.getpid()}-1.midx").write_bytes(b"left behind")
    assert_finishes(repo, "write", digest)


def test_deleting_all_state_loses_no_object(ready: dict[str, Path], tmp_path: Path) -> None:
    repo = copy_of(ready["expire"], tmp_path / "repo")
    digest = content_digest(repo)
    shutil.rmtree(repo / "gpa")
    assert_whole(repo, digest)
    assert_finishes(repo, "expire", digest)


# -- Slow: real processes, killed at random times


REAL_VERBS = ["write", "repack", "expire", "run"]


def seconds_of(verb: str, repo: Path) -> float:
    """How long the command takes here when nothing ends it."""
    began = time.monotonic()
    command = [sys.executable, "-m", "gpa_maint.cli.main", *command_words(verb, repo)]
    subprocess.run(command, cwd=repo, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_processes_killed_at_random_times_lose_nothing(ready: dict[str, Path], tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    history = pushed_history(tmp_path / "history", HistorySpec(pushes=30, files=20, waiting=60, seed=seed))
    repo, waiting = history.server, list(history.waiting)
    begin = copy_of(repo, tmp_path / "begin")
    killed, took = 0, {verb: seconds_of(verb, copy_of(begin, tmp_path / verb)) for verb in REAL_VERBS}
    for _ in range(RANDOM_KILLS):
        if not waiting:  # from the beginning, so that there is always something to do
            copy_of(begin, repo)
            waiting = list(history.waiting)
        if rng.random() < 0.5:
            send_push(history.client, repo, waiting.pop(0))
        digest = content_digest(repo)
        verb = rng.choice(REAL_VERBS)
        command = [sys.executable, "-m", "gpa_maint.cli.main", *command_words(verb, repo)]
        with subprocess.Popen(command, cwd=repo, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                _, said = process.communicate(timeout=rng.uniform(0.3, 1.1) * took[verb])
                assert 0 == process.returncode, said
            except subprocess.TimeoutExpired:
                process.kill()
                killed += 1
        with count_fault(verb, "a real process, killed at random", process.returncode != 0):
            assert_whole(repo, digest)
    assert killed > RANDOM_KILLS // 20
    for verb in ("write", "repack", "expire"):
        assert_finishes(repo, verb, content_digest(repo))
