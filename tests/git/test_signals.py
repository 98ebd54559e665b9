"""Ctrl-C and SIGTERM end each verb that writes, with git's exit status, and nothing is left behind.

The signal comes at a known moment: a step of the verb sends it to its own process, and goes on when it has arrived.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from histories import init_server
from oracle import content_digest, fsck, git
from packwriter import Whole, add_pack
from running import gpa, leftovers

SHIM = """
import os, sys, threading
from gpa_maint.apply import STEP_MODULE as module
from gpa_maint.base.progress import StopRequest

number = int(sys.argv.pop(1))
step, ask, asked = module.STEP, StopRequest.request, threading.Event()

def request(self, why):
    ask(self, why)
    asked.set()

def interrupted(*args, **kwargs):
    if not asked.is_set():
        os.kill(os.getpid(), number)
        assert asked.wait(60)
    return step(*args, **kwargs)

StopRequest.request, module.STEP = request, interrupted
from gpa_maint.cli.main import main
main()
"""
STEPS = {
    "write": ("write", "write_midx"),
    "repack": ("repack", "write_page"),
    "add-loose": ("add_loose", "write_page"),
    "expire": ("expire", "match_pack"),
    "run": ("repack", "write_page"),
}
OPTIONS = {"expire": ["--grace=now"]}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("verb", STEPS)
def test_a_signal_ends_the_verb_and_leaves_nothing_behind(tmp_path: Path, verb: str, number: signal.Signals) -> None:
    repo = init_server(tmp_path / "server")
    for pack in range(4):
        add_pack(repo, [Whole(kind="blob", content=b"%d of pack %d\n" % (entry, pack)) for entry in range(20)])
    for content in ("one", "two", "three"):
        git(repo, "hash-object", "-w", "--stdin", input=content)
    if verb == "expire":
        gpa(repo, "repack")
    if verb == "run":
        git(repo, "config", "gpa.autoPages", "2")
        git(repo, "config", "gpa.autoLoose", "0")
    digest, before = content_digest(repo), sorted(os.listdir(repo / "objects/pack"))
    module, step = STEPS[verb]
    shim = tmp_path / "main.py"
    shim.write_text(SHIM.replace("STEP_MODULE", module).replace("STEP", step))
    words = [sys.executable, os.fspath(shim), str(int(number)), verb, *OPTIONS.get(verb, [])]
    done = subprocess.run(words, cwd=repo, capture_output=True, text=True, check=False)
    assert done.returncode in (-number, 128 + number)
    assert "" == done.stderr
    assert [] == leftovers(repo)
    assert before == sorted(os.listdir(repo / "objects/pack"))
    assert digest == content_digest(repo)
    gpa(repo, verb, *OPTIONS.get(verb, []))
    assert before != sorted(os.listdir(repo / "objects/pack"))
    assert digest == content_digest(repo)
    fsck(repo)


AT_STEP = """
import os, sys
from gpa_maint import fs

number, ends_with = int(sys.argv.pop(1)), sys.argv.pop(1)

def step(operation, path):
    if operation == "fsync" and path.endswith(ends_with):
        fs.door.before_step = None
        os.kill(os.getpid(), number)

fs.door.before_step = step
from gpa_maint.cli.main import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("verb", ["backup", "repair"])
def test_a_signal_leaves_no_temporary_file_of_a_verb_that_python_does(
    tmp_path: Path, verb: str, number: signal.Signals
) -> None:
    """What is read or written piece by piece ends between two of them."""
    repo, copy = init_server(tmp_path / "server"), tmp_path / "copy"
    for pack in range(4):
        add_pack(repo, [Whole(kind="blob", content=b"%d of pack %d\n" % (entry, pack)) for entry in range(20)])
    if verb == "repair":
        for path in (repo / "objects/pack").glob("*.idx"):
            path.chmod(0o644)
            path.write_bytes(path.read_bytes()[:-1])
    ends_with = {"backup": ".pack", "repair": ".idx"}[verb]
    shim = tmp_path / "main.py"
    shim.write_text(AT_STEP)
    words = [sys.executable, os.fspath(shim), str(int(number)), ends_with, verb]
    options = [os.fspath(copy)] if verb == "backup" else []
    done = subprocess.run([*words, *options], cwd=repo, capture_output=True, text=True, check=False)
    assert -number == done.returncode, done.stderr
    assert "" == done.stderr
    assert [] == leftovers(repo)
    if verb == "backup":
        assert [] == leftovers(copy)
    gpa(repo, verb, *options)
    fsck(copy if verb == "backup" else repo)
