"""Files of ours that are replaced while we work, and what test_hostile_table.py lacks: backups, git's files, packs.

In each cell nothing outside the repository changes, nobody waits, an error names what is in the way, and once that is
gone the next command works as if nothing had been.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from histories import HistorySpec, pushed_history
from oracle import content_digest, git, objects_dir, pack_dir

import gpa_maint
from gpa_maint import PageStore, commands, fs
from gpa_maint.base import safe_open
from gpa_maint.errors import GpaError
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.state.runs import read_history

SECONDS = 10
MEMORY = 1 << 29
OTHER_USER = 65534
PROGRAM = "/no/such/git-gpa"
JOURNAL = "99999-00000001-0.journal"


# -- What touches them


def run(repo: Path) -> None:
    commands.maintain(str(repo))


def look(repo: Path) -> None:
    commands.status(str(repo))
    commands.explain(str(repo))
    read_history(find_object_dir(str(repo)))


def save(repo: Path) -> None:
    """A writer, and a copy in cold storage."""
    with PageStore.for_repository(repo) as store, store.writer() as writer:
        writer.add("blob", b"a new one")
        writer.seal()
        writer.confirm(writer.save())


def repair(repo: Path) -> None:
    """With a loose object that cannot be repaired."""
    path = objects_dir(repo) / "17" / ("ab" * 19)
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        path.write_bytes(b"damaged")
    commands.repair(str(repo))


def install(repo: Path) -> None:
    gpa_maint.install(str(repo), program=PROGRAM)


def uninstall(repo: Path) -> None:
    gpa_maint.uninstall(str(repo))


def backup(repo: Path) -> None:
    commands.backup(str(repo.parent / "copy"), str(repo))


def expire(repo: Path) -> None:
    commands.expire(str(repo), grace_seconds=0)


Verb = Callable[[Path], None]


class Member(NamedTuple):
    """A file, as named from the common directory on, and what reads or writes it."""

    name: str
    verbs: tuple[Verb, ...]


OTHERS = [
    Member("gpa/log.old", (run,)),
    Member("gpa/history.old", (run, look)),
    Member("gpa/config", (install, uninstall)),
    Member("gpa/damaged/lost", (repair,)),
    Member(f"gpa/journal/{JOURNAL}", (save,)),
    Member("../copy/gpa/backup.json", (backup,)),
    Member("../copy/gpa/backup.json.new", (backup,)),
    Member("../copy/shallow", (backup,)),
    Member("shallow", (backup,)),
    Member("gc.pid", (run, expire)),
    Member("hooks/post-receive.before-gpa", (install, look, uninstall)),
]
"""The files that the other table lacks, or has as no file."""

FILES = [
    *OTHERS,
    Member("gpa/lock", (run, look, expire)),
    Member("gpa/log", (run,)),
    Member("gpa/history", (run, look)),
    Member("gpa/state.json", (run, look, expire)),
    Member("gpa/totals.json", (run, look)),
    Member("gpa/last-run.json", (run, look)),
    Member("gpa/next", (run, look)),
    Member("gpa/next-1-1", (run, look)),
    Member("gpa/reserve", (run, expire)),
    Member("gpa/saved.json", (save,)),
    Member("gpa/saved.json.new", (save,)),
    Member("gpa/saved.lock", (save,)),
    Member("gpa/install.json", (install, uninstall)),
    Member("gpa/install.json.gpa-new", (install, uninstall)),
    Member("gpa/install.lock", (install, uninstall)),
    Member("gpa/config.gpa-new", (install, uninstall)),
    Member("gpa/damaged/" + "17" + "ab" * 19, (repair,)),
    Member("gpa/tmp/1-1.pack", (run, look)),
    Member("gpa/tmp/hidden-pack-a.idx", (run, look)),
    Member("objects/pack/pack-a.keep", (run, look)),
    Member("hooks/post-receive", (install, look, uninstall)),
]


# -- What is in the way


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "nothing")


def hard_link(path: Path, outside: Path) -> None:
    os.link(outside / "file", path)


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def endless_link(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def device(path: Path, outside: Path) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))


def folder(path: Path, outside: Path) -> None:
    path.mkdir()
    (path / "file").touch()


def sparse(path: Path, outside: Path) -> None:
    path.touch()
    os.truncate(path, 20 << 30)


def of_another_user(path: Path, outside: Path) -> None:
    shutil.copy(outside / "file", path)
    os.chown(path, OTHER_USER, OTHER_USER)


FILE_KINDS = (link, dangling, hard_link, fifo, endless_link, folder, sparse)
ROOT_KINDS = (device, of_another_user)
Put = Callable[[Path, Path], None]


# -- The cells


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a repository in which each verb ran, and its backup; not to be changed."""
    folder = tmp_path_factory.mktemp("lived")
    shutil.move(pushed_history(folder / "pushed", HistorySpec(pushes=4, files=4)).server, folder / "repo")
    repo = folder / "repo"
    for key, value in (("gpa.autoPages", "2"), ("gpa.autoLoose", "1"), ("gpa.expireGrace", "now")):
        git(repo, "config", key, value)
    for verb in (install, run, look, save, backup, repair):
        verb(repo)
    (objects_dir(repo) / "17" / ("ab" * 19)).unlink(missing_ok=True)
    return folder


@pytest.fixture
def repo(lived: Path, tmp_path: Path) -> Path:
    """A copy, whose backup takes it for the original."""
    shutil.copytree(lived, tmp_path / "lived")
    mark = tmp_path / "lived" / "copy" / "gpa" / "backup.json"
    mark.write_text(mark.read_text().replace(str(lived), str(tmp_path / "lived")))
    return tmp_path / "lived" / "repo"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    return folder


def fill(outside: Path, original: Path) -> None:
    """Somebody's file, with what would be believed in the place of the original."""
    if original.is_file() and not original.is_symlink():
        shutil.copy(original, outside / "file")
    else:
        (outside / "file").write_text("precious\n")
    for name in ("lock", "log", "state.json", "lost", "backup.json", "1-1.pack", "0-0-1.journal"):
        (outside / name).write_text("precious\n")
    for path in (outside / "file", outside):
        path.chmod(0o700 if path.is_dir() else 0o600)


def state_of(outside: Path) -> dict[str, tuple[bytes, int, int, int]]:
    found = {}
    for path in sorted([outside, *outside.rglob("*")]):
        status = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (content, status.st_mode, status.st_uid, status.st_mtime_ns if content else 0)
    return found


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Nobody waits, and little memory is taken."""

    def too_long(_number: int, _frame: object) -> None:
        raise AssertionError("somebody waits")

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    old = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)


def attempt(verb: Verb, repo: Path, path: Path) -> None:
    """It works, or an error names what is in the way."""
    with bounded():
        try:
            verb(repo)
        except (GpaError, OSError) as error:
            told = f"{error} {getattr(error, 'hint', '')}"
            assert path.name in told, f"{verb.__name__}: {error!r}"


def named(one: Member | Put) -> str:
    return one.name if isinstance(one, Member) else one.__name__


@pytest.mark.memory
@pytest.mark.parametrize("member", OTHERS, ids=named)
def test_what_is_in_the_place_of_a_file_harms_nothing(repo: Path, outside: Path, member: Member) -> None:
    check_cells(repo, outside, member, FILE_KINDS)


def may_make_devices() -> bool:
    """root may, unless it is in a container that takes the right away."""
    with tempfile.TemporaryDirectory() as made, contextlib.suppress(PermissionError):
        device(Path(made) / "device", Path(made))
        return True
    return False


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not may_make_devices(), reason="only root makes devices and gives files away"
)


@needs_root
@pytest.mark.memory
@pytest.mark.parametrize("member", OTHERS, ids=named)
def test_devices_and_files_of_others_harm_nothing(repo: Path, outside: Path, member: Member) -> None:
    check_cells(repo, outside, member, ROOT_KINDS)


def check_cells(repo: Path, outside: Path, member: Member, kinds: tuple[Put, ...]) -> None:
    path = Path(os.path.normpath(repo / member.name))
    kept, digest = repo.parent / "original", content_digest(repo)
    for put in kinds:
        if os.path.lexists(path):
            path.rename(kept)
        fill(outside, kept)
        put(path, outside)
        before = state_of(outside)
        for verb in member.verbs:
            attempt(verb, repo, path)
            assert before == state_of(outside), f"{put.__name__}: {verb.__name__}"
        remove(path)
        if kept.exists():
            kept.rename(path)
    for verb in member.verbs:
        with bounded():
            verb(repo)
    if save not in member.verbs:
        assert digest == content_digest(repo)


@pytest.mark.parametrize("member", FILES, ids=named)
def test_what_takes_a_file_s_place_before_each_step_harms_nothing(
    repo: Path, outside: Path, member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(os.path.normpath(repo / member.name))
    fill(outside, path)
    before = state_of(outside)
    for put in (link, hard_link):

        def swap(_operation: str, _path: str, put: Put = put) -> None:
            if path.parent.is_dir():
                remove(path)
                put(path, outside)

        for verb in member.verbs:
            with monkeypatch.context() as patched, bounded(), contextlib.suppress(GpaError, OSError):
                patched.setattr(fs.door, "before_step", swap)
                verb(repo)
            assert before == state_of(outside), f"{put.__name__}: {verb.__name__}"


# -- Beside the packs


@pytest.mark.parametrize("suffix", [".pack", ".idx", ".promisor", ".mtimes"])
@pytest.mark.parametrize("verb", [backup, repair, save], ids=named)
def test_nobody_waits_for_a_fifo_beside_the_packs(repo: Path, outside: Path, verb: Verb, suffix: str) -> None:
    shutil.rmtree(repo.parent / "copy")
    name = next(pack_dir(repo).glob("*.idx")).with_suffix(suffix)
    path = name if suffix in (".promisor", ".mtimes") else pack_dir(repo) / f"pack-{'a' * 40}{suffix}"
    os.mkfifo(path)
    attempt(verb, repo, path)


def test_a_backup_copies_nothing_from_elsewhere_by_way_of_a_link_beside_a_pack(repo: Path, outside: Path) -> None:
    shutil.rmtree(repo.parent / "copy")
    fill(outside, outside)
    path = next(pack_dir(repo).glob("*.idx")).with_suffix(".promisor")
    path.symlink_to(outside / "file")
    attempt(backup, repo, path)
    assert [] == [one for one in repo.parent.glob("copy/**/*") if one.is_file() and b"precious" in one.read_bytes()]


def test_what_is_lost_is_not_forgotten_where_the_list_is_too_long(repo: Path) -> None:
    path = repo / "gpa" / "damaged" / "lost"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, safe_open.MOST_BYTES + 1)
    repair(repo)
    assert safe_open.MOST_BYTES + 1 == path.with_name("lost.old").stat().st_size
    assert b"17" + b"ab" * 19 in path.read_bytes()


def test_a_hold_that_is_too_long_to_be_read_is_somebody_else_s(tmp_path: Path) -> None:
    path = tmp_path / "pack-a.keep"
    for count, size in ((1 << 20, 0), (1, safe_open.TEXT_BYTES)):
        path.write_bytes(b"git-gpa new\n" + b"a\n" * count + bytes(size))
        assert fs.read_hold(str(path)) is None


def test_a_program_or_environment_that_is_a_fifo_keeps_nobody_waiting(repo: Path, tmp_path: Path) -> None:
    """A hook may name any program."""
    program = tmp_path / "environment" / "bin" / "git-gpa"
    program.parent.mkdir(parents=True)
    os.mkfifo(program.parent.parent / "pyvenv.cfg")
    python = program.with_name("python")
    python.write_text("")
    program.write_text(f"#!{python}\n")
    for path in (python, program):
        path.chmod(0o755)
    gpa_maint.install(str(repo), program=str(program))
    with bounded():
        commands.status(str(repo))
    program.unlink()
    os.mkfifo(program, 0o755)
    with bounded():
        commands.status(str(repo))
