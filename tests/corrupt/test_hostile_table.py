"""Every file and folder of ours, as something that it must not be: each verb ends, and nothing outside is touched.

The table of names is complete: a test lets every verb work and finds no name that is not in it.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from histories import HistorySpec, pushed_history
from oracle import all_objects, fsck, git, pack_dir
from running import gpa_any

from gpa_maint import PageStore, commands
from gpa_maint.databranch import DataBranch

SECONDS = 60
MIB = 1 << 20
MEMORY = 600 * MIB
"""More address space than every verb needs together, and much less than any of the files here is long."""

OTHER_USER = 65534

FILES = (
    "gpa/config.gpa-new",
    "gpa/data/refs%2Fheads%2Fmeta/1-00000000.intents",
    "gpa/data/refs%2Fheads%2Fmeta/turn",
    "gpa/history",
    "gpa/hook.sh",
    "gpa/install.json",
    "gpa/install.json.gpa-new",
    "gpa/install.lock",
    "gpa/journal/1-1-0",
    "gpa/last-run.json",
    "gpa/lock",
    "gpa/log",
    "gpa/next",
    "gpa/next-1-1",
    "gpa/reserve",
    "gpa/saved.json",
    "gpa/saved.json.new",
    "gpa/saved.lock",
    "gpa/state.json",
    "gpa/tmp/1-1.pack",
    "gpa/tmp/hidden-pack-0000000000000000000000000000000000000000.idx",
    "gpa/totals.json",
    "objects/pack/pack-0000000000000000000000000000000000000000.keep",
    "objects/pack/tmp_gpa_1-1.pack",
    "hooks/post-receive",
)
FOLDERS = (
    *("gpa", "gpa/damaged", "gpa/damaged/lost", "gpa/data", "gpa/data/refs%2Fheads%2Fmeta", "gpa/journal", "gpa/tmp"),
    *("objects/17", "hooks"),
)
"""objects/pack may be a link from the beginning: git goes where it leads, and so do we."""


# -- What may stand in the place of a file


def link(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "file")


def link_to_a_folder(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def dangling(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "nothing")


def second_name(path: Path, outside: Path) -> None:
    path.hardlink_to(outside / "file")


def fifo(path: Path, _outside: Path) -> None:
    os.mkfifo(path)


def device(path: Path, _outside: Path) -> None:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero has no end


def folder(path: Path, _outside: Path) -> None:
    path.mkdir()
    (path / "inner").write_text("inner")


def sparse(path: Path, _outside: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def foreign(path: Path, _outside: Path) -> None:
    """Nobody else may read it, and the owner of the repository may not either, unless it is root."""
    path.write_text("{}")
    path.chmod(0o600)
    os.chown(path, OTHER_USER, OTHER_USER)


Put = Callable[[Path, Path], None]
KINDS: tuple[Put, ...] = (link, link_to_a_folder, dangling, second_name, fifo, device, folder, sparse, foreign)
ONLY_ROOT = (device, foreign)

WORKER = """
import shutil, signal, subprocess, sys
from itertools import count
from gpa_maint import GpaError, PageStore, commands, install, uninstall
from gpa_maint.databranch import DataBranch

numbers = count()

def write():
    with PageStore.for_repository(".") as store:
        writer = store.writer(durability="journal")
        writer.add("blob", b"new " + str(next(numbers)).encode())
        writer.confirm(writer.save())

def data():
    with DataBranch(".") as db:
        db.set("key", str(next(numbers)).encode())
        db.check()

def backup():
    commands.backup("../copy")

STEPS = {
    "status": commands.status, "write": commands.write, "writer": write, "add-loose": commands.add_loose,
    "repack": commands.repack, "expire": lambda: commands.expire(grace_seconds=0), "run": commands.maintain,
    "verify": commands.verify, "install": lambda: install(program="/no/such/git-gpa"), "repair": commands.repair,
    "backup": backup, "uninstall": uninstall, "data": data,
}
for line in sys.stdin:
    left_out = line.split()
    signal.alarm(int(sys.argv[1]))
    subprocess.run(["git", "hash-object", "-w", "--stdin"], input=line.encode(), stdout=subprocess.DEVNULL, check=True)
    for name, step in STEPS.items():
        if name in left_out:
            continue
        try:
            step()
        except (GpaError, OSError) as error:
            print(f"{name}: {error}")
    shutil.rmtree("../copy", ignore_errors=True)
    print("done", flush=True)
"""
"""For each line that it is given: a loose object, and each verb that the line does not name. An exception that is no
error of ours ends it."""

LEFT_OUT = {
    "install": "install hook config",
    "uninstall": "install hook config",
    "backup": "objects/ saved",
    "data": "data journal",
}
"""Verbs that take long, and what is in the names of the files that they read or write."""


class Worker:
    """A process in which every verb works again and again, with little memory; one that hangs is ended."""

    def __init__(self, repo: Path) -> None:
        self._process = subprocess.Popen(
            ["prlimit", f"--as={MEMORY}", sys.executable, "-c", WORKER, str(SECONDS)],
            cwd=repo,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def work(self, about: str, name: str = "") -> list[str]:
        """Let each verb work once that has to do with the file `name`; return the errors, one a line."""
        assert self._process.stdin and self._process.stdout and self._process.stderr
        far = [verb for verb, parts in LEFT_OUT.items() if name and not any(part in name for part in parts.split())]
        self._process.stdin.write(f"{' '.join([*far, about])}\n")
        self._process.stdin.flush()
        errors = []
        for line in self._process.stdout:
            if line == "done\n":
                return errors
            errors.append(line.rstrip("\n"))
        raise AssertionError(f"{about}: ends with {self._process.wait()}\n{self._process.stderr.read()}")

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture
def worker(repo: Path) -> Iterator[Worker]:
    made = Worker(repo)
    yield made
    made.close()


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pushes, a loose object that no pack has, small limits; not to be changed."""
    made = pushed_history(tmp_path_factory.mktemp("pushed"), HistorySpec(pushes=3, files=4)).server
    for key, value in (("gpa.autoPages", "2"), ("gpa.autoLoose", "1"), ("gpa.expireGrace", "now")):
        git(made, "config", key, value)
    git(made, "hash-object", "-w", "--stdin", input="loose")
    return made


@pytest.fixture
def repo(pushed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pushed, tmp_path / "server"))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that is none of the repository's business."""
    made = tmp_path / "outside"
    made.mkdir(0o700)
    (made / "file").write_text("precious")
    (made / "file").chmod(0o640)
    (made / "pack-0000000000000000000000000000000000000000.idx").write_text("precious, too")
    return made


def everything(made: Path) -> dict[str, object]:
    """Path -> mode, owner, mtime and content. A second name changes no more than the number of links."""
    found: dict[str, object] = {}
    for path in (made, *sorted(made.rglob("*"))):
        now = path.lstat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (now.st_mode, now.st_uid, now.st_mtime_ns if path.is_file() else 0, content)
    return found


def place(repo: Path, name: str) -> Path:
    path = repo / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.memory
@pytest.mark.parametrize("put", KINDS)
def test_a_file_that_is_none(repo: Path, outside: Path, worker: Worker, put: Put) -> None:
    if put in ONLY_ROOT and os.geteuid() != 0:
        pytest.skip("only root makes devices and gives files away")
    objects = all_objects(repo)
    for name in FILES:
        path = place(repo, name)
        remove(path)
        before = everything(outside)
        put(path, outside)
        for line in worker.work(f"{put.__name__} in the place of {name}", name):
            # The error names the file, or the folder that it is in.
            assert path.name in line or f"{path.parent}'" in line, f"{name}: {line}"
        assert before == everything(outside), name
        remove(path)
    assert [] == worker.work("all are gone")
    assert objects.items() <= all_objects(repo).items()
    fsck(repo)


@pytest.mark.memory
@pytest.mark.parametrize("put", [link_to_a_folder, dangling, fifo, sparse])
def test_a_folder_that_is_none(repo: Path, outside: Path, worker: Worker, put: Put) -> None:
    objects = all_objects(repo)
    for name in FOLDERS:
        path, away = place(repo, name), repo / "away"
        if path.exists():
            path.rename(away)
        before = everything(outside)
        put(path, outside)
        for line in worker.work(f"{put.__name__} in the place of {name}"):
            assert f"{path}" in line, f"{name}: {line}"
        assert before == everything(outside), name
        remove(path)
        if away.exists():
            away.rename(path)
    assert [] == worker.work("all are back")
    assert objects.items() <= all_objects(repo).items()
    fsck(repo)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def test_the_table_names_every_file_of_ours(repo: Path, tmp_path: Path) -> None:
    seen: set[str] = set()
    before = {str(path.relative_to(repo)) for path in repo.rglob("*")}

    def look(_operation: str, _path: str) -> None:
        seen.update(str(path.relative_to(repo)) for path in (repo / "gpa").rglob("*"))
        seen.update(path.name and f"objects/pack/{path.name}" for path in pack_dir(repo).iterdir())

    from gpa_maint import fs
    from gpa_maint.setup.install import install
    from gpa_maint.setup.uninstall import uninstall

    fs.door.before_step = look
    try:
        text = str(repo)
        commands.write(text)
        with PageStore.for_repository(text) as store:
            writer = store.writer(durability="journal")
            writer.add("blob", b"new")
            writer.confirm(writer.save())
            look("", "")
        install(text, program="/no/such/git-gpa")
        gpa_any(repo, "run")
        commands.repack(text)
        commands.expire(text, grace_seconds=0)
        commands.backup(tmp_path / "copy", path=text)
        commands.repair(text)
        with DataBranch(text) as db:
            db.set("key", b"value")
            look("", "")
        uninstall(text)
    finally:
        fs.door.before_step = None
    known = {shape(name) for name in (*FILES, *FOLDERS)}
    git_own = {
        shape(name) for name in ("objects/pack/pack-1.pack", "objects/pack/pack-1.idx", "objects/pack/pack-1.rev")
    }
    git_own |= {"objects/pack/multi-pack-index", "objects/pack/multi-pack-index.lock"}
    assert set() == {shape(name) for name in seen - before} - known - git_own


def shape(name: str) -> str:
    """The name without what differs from one to the next: numbers, ids and the endings of temporary files."""
    name = re.sub(r"[0-9a-f]{40}", "N", name)
    name = re.sub(r"^(gpa/data/[^/]+/).*\.intents$", r"\1N.intents", name)
    name = re.sub(r"\d+", "N", name)
    return re.sub(r"^(gpa/tmp/N-N|gpa/journal/).*", r"\1", re.sub(r"(N-)+N", "N-N", name))
