"""Children that die before a step, with or without the power going out: for crash tests of packs and of archives."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from gpa_maint import fs

DONE, FAILED, KILLED, NOTHING_LOST = 0, 1, 77, 78

# -- What a power cut takes


class Disk:
    """What of a folder would survive: watched from inside the child, step by step."""

    def __init__(self, folder: Path, durable: Path) -> None:
        self.folder = folder
        self.durable = durable
        self.synced = {path.stat().st_ino for path in folder.iterdir()}
        self.last = ("", "")
        self._keep()

    def step(self, operation: str, path: str) -> None:
        """A step begins, so the one before it is done."""
        before, where = self.last
        if before == "fsync" and Path(where) == self.folder:
            self._keep()
        elif before == "fsync" and os.path.exists(where):
            self.synced.add(os.stat(where).st_ino)
        self.last = (operation, path)

    def cut(self, lost: str) -> bool:
        """`lost`: "all" names since the last sync of the directory, or only the "new" ones. Was anything lost?"""
        changed = False
        kept = {path.name: path for path in self.durable.iterdir()}
        for path in list(self.folder.iterdir()):
            if path.name not in kept or path.stat().st_ino != kept[path.name].stat().st_ino:
                changed = True
                path.unlink()
                if path.name in kept:
                    os.link(kept[path.name], path)
        for name, path in kept.items() if lost == "all" else ():
            if not (self.folder / name).exists():
                changed = True
                os.link(path, self.folder / name)
        for path in self.folder.iterdir():
            if path.stat().st_ino not in self.synced:
                changed = True
                path.chmod(0o644)
                os.truncate(path, 0)
        return changed

    def _keep(self) -> None:
        shutil.rmtree(self.durable, ignore_errors=True)
        self.durable.mkdir()
        for path in self.folder.iterdir():
            os.link(path, self.durable / path.name)


# -- Children


def in_child(work: Callable[[], int]) -> tuple[int, str]:
    """Run `work` in a forked process: its exit status, or minus the signal, and what it said.

    Through a pipe: a limit on the size of files does not silence it.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = FAILED
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            sys.stdout = sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115 the child's own, to its end
            status = work()
        except BaseException:
            traceback.print_exc(file=sys.stderr)
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), said


def killed_at(number: int, folder: Path, work: Callable[[], object], scratch: Path, lost: str) -> int:
    """Run `work` in a child that dies before its `number`-th step. KILLED, or DONE when it has fewer.

    `folder`: where the power cut takes what `lost` says. NOTHING_LOST when that was nothing, so that it is no other
    case than that of "nothing" lost.
    """

    def run() -> int:
        disk = Disk(folder, scratch / "durable")
        left = iter(range(number - 1, -1, -1))

        def before_step(operation: str, path: str) -> None:
            disk.step(operation, path)
            if next(left) == 0:
                if lost != "nothing" and not disk.cut(lost):
                    os._exit(NOTHING_LOST)
                os.kill(os.getpid(), signal.SIGKILL)

        fs.door.before_step = before_step
        work()
        return DONE

    status, said = in_child(run)
    assert status in (DONE, NOTHING_LOST, -signal.SIGKILL), said
    return KILLED if status < 0 else status
