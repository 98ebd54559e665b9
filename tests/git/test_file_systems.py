"""Every verb on file systems that do not know some system calls, or fail in them (file_system_shim.py)."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import file_system_shim
import pytest
from histories import History, HistorySpec
from oracle import all_objects, fsck, git, verify_midx
from running import leftovers

HistoryFactory = Callable[[HistorySpec], History]

SPEC = HistorySpec(pushes=4)

VERBS = (
    ("write",),
    ("add-loose",),
    ("repack",),
    ("expire", "--grace=now"),
    ("install",),
    ("uninstall",),
    ("run",),
    ("verify",),
    ("repair",),
    ("status",),
)

UNKNOWN = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM, errno.EACCES)
"""What a file system answers that does not know a call, or allows it on no file."""

DISPENSABLE = {
    "link": (*UNKNOWN, errno.EMLINK, errno.EXDEV, errno.ENOTDIR, errno.EROFS, errno.EIO, errno.ENOSPC, errno.EDQUOT),
    "fsync of a directory": (*UNKNOWN, errno.EBADF, errno.EISDIR, errno.ENOTTY),
    "sync_file_range": UNKNOWN,
    "chmod": UNKNOWN,
    "chown": UNKNOWN,
    "utimensat": UNKNOWN,
    "posix_fadvise": UNKNOWN,
}
"""Calls without which every verb does its work."""

NEEDED = {
    "rename": (errno.EACCES, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS),
    "unlink": (errno.EACCES, errno.EIO, errno.EROFS, errno.EBUSY),
    "create": (errno.EACCES, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENAMETOOLONG),
    "mkdir": (errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMLINK),
    "write": (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    "fsync": (errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EINVAL),
    "flock": (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL),
    "utimensat": (errno.EIO,),
}
"""Calls that a verb may fail over."""

ALL_VERBS = """
import json, os, sys
from gpa_maint.cli.main import main
for verb in json.loads(sys.argv[1]):
    print("verb", *verb, file=sys.stderr)
    status = main(verb)
    print("status", status, file=sys.stderr)
"""

WRITER = """
from gpa_maint import PageStore
with PageStore.for_repository(".").writer() as writer:
    for number in range(100):
        writer.add("blob", b"content %d" % number)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return file_system_shim.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def server(history: HistoryFactory) -> Path:
    """A repository with packs, loose objects, and core.sharedRepository."""
    repo = history(SPEC).server
    git(repo, "config", "core.sharedRepository", "group")
    for number in range(3):
        git(repo, "hash-object", "-w", "--stdin", input=f"loose {number}")
    return repo


def run_python(repo: Path, library: Path, call: str, number: int, *words: str) -> CompletedProcess[str]:
    """A Python program in `repo`, for which `call` answers `number`."""
    environment = file_system_shim.environment(library, call, number, repo)
    return subprocess.run(
        [sys.executable, *words], cwd=repo, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def statuses(done: CompletedProcess[str]) -> dict[str, tuple[int, str]]:
    """verb -> its exit status, and what it said on stderr."""
    found = {}
    for part in done.stderr.split("verb ")[1:]:
        verb, _, rest = part.partition("\n")
        said, _, status = rest.rpartition("status ")
        found[verb] = (int(status), said)
    return found


@pytest.mark.parametrize("call", DISPENSABLE)
def test_every_verb_works_where_a_call_is_not_known(server: Path, library: Path, tmp_path: Path, call: str) -> None:
    before = all_objects(server)
    for number in DISPENSABLE[call]:
        repo = tmp_path / str(number)
        shutil.copytree(server, repo, symlinks=True)
        done = run_python(repo, library, call, number, "-c", ALL_VERBS, json.dumps(VERBS))
        failed = {verb: said for verb, (status, said) in statuses(done).items() if status}
        assert ({}, len(VERBS)) == (failed, len(statuses(done))), errno.errorcode[number]
        written = run_python(repo, library, call, number, "-c", WRITER)
        assert (0, "") == (written.returncode, written.stderr), errno.errorcode[number]
        fsck(repo)
        assert before.items() <= all_objects(repo).items()
        verify_midx(repo)
        assert [] == leftovers(repo)
        shutil.rmtree(repo)


@pytest.mark.parametrize("call", NEEDED)
def test_a_verb_that_fails_names_the_file_and_loses_nothing(
    server: Path, library: Path, tmp_path: Path, call: str
) -> None:
    before = all_objects(server)
    for number in NEEDED[call]:
        repo = tmp_path / str(number)
        shutil.copytree(server, repo, symlinks=True)
        found = statuses(run_python(repo, library, call, number, "-c", ALL_VERBS, json.dumps(VERBS)))
        assert len(VERBS) == len(found)
        for verb, (status, said) in found.items():
            where = (errno.errorcode[number], verb, said)
            assert status in (0, 1, 128), where
            if status:
                assert f": {os.strerror(number)}" in said, where
                assert f"'{repo}" in said, where
        written = run_python(repo, library, call, number, "-c", WRITER)
        assert written.returncode == 0 or os.strerror(number) in written.stderr, errno.errorcode[number]
        after = statuses(run_python(repo, library, "none", 0, "-c", ALL_VERBS, json.dumps(VERBS)))
        assert {} == {verb: said for verb, (status, said) in after.items() if status}, errno.errorcode[number]
        assert before.items() <= all_objects(repo).items()
        assert [] == leftovers(repo)
        shutil.rmtree(repo)
