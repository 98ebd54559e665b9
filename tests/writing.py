"""Writing through a Writer: a commit of one document, what waits in journals, and packs as git would index them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from oracle import git, git_line, objects_dir, pack_dir

from gpa_maint.store.writer import Writer

PERSON = b"A U Thor <author@example.com> 1700000000 +0000"


def commit_text(tree: bytes, *parents: bytes, message: str = "a change") -> bytes:
    lines = [b"tree %s" % tree.hex().encode(), *(b"parent %s" % parent.hex().encode() for parent in parents)]
    return b"\n".join([*lines, b"author " + PERSON, b"committer " + PERSON, b"", message.encode(), b""])


def tree_text(files: dict[str, bytes]) -> bytes:
    """A tree of plain files, name -> raw id."""
    return b"".join(b"100644 %b\0%b" % (name.encode(), oid) for name, oid in sorted(files.items()))


def add_commit(writer: Writer, content: bytes, *parents: bytes, message: str = "a change") -> bytes:
    """A blob, a tree of it, a commit: each added by itself. Gives the commit's id."""
    blob = writer.add("blob", content)
    tree = writer.add("tree", tree_text({"document": blob}))
    return writer.add("commit", commit_text(tree, *parents, message=message))


def forked(work: Callable[[], object]) -> int:
    """The number of a process that does this, and ends with 0 unless it raises."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def assert_ends_well(*pids: int) -> None:
    assert [0] * len(pids) == [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def left_behind(repo: Path) -> dict[str, int]:
    """The files in gpa/journal, and their sizes."""
    folder = objects_dir(repo).parent / "gpa" / "journal"
    return {path.name: path.stat().st_size for path in folder.iterdir()} if folder.is_dir() else {}


def journals(repo: Path) -> dict[str, int]:
    return {name: size for name, size in left_behind(repo).items() if name.endswith(".journal")}


def loose_count(repo: Path) -> int:
    return int(git_line(repo, "count-objects").split()[0])


def assert_indexed_as_git_would(repo: Path, scratch: Path) -> None:
    """Each local .idx is byte for byte what `git index-pack` makes of its pack."""
    for pack in pack_dir(repo).glob("*.pack"):
        made = scratch / "git.idx"
        git(repo, "index-pack", "-o", made, pack)
        assert made.read_bytes() == pack.with_suffix(".idx").read_bytes()
        made.chmod(0o644)
        made.unlink()
        (scratch / "git.rev").unlink(missing_ok=True)


NEEDS_AN_ORDINARY_USER = os.geteuid() == 0 and shutil.which("setpriv") is None


def run_read_only(repo: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the repository as its argument, by a user who can only read it."""
    words = [sys.executable, "-c", program, str(repo)]
    if os.geteuid() == 0:  # modes count for root too, without the capability to override them
        dropped = "-dac_override,-dac_read_search"
        words = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}", *words]
    folders = [repo, *(path for path in repo.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False)
    finally:
        for folder in folders:
            folder.chmod(0o755)
