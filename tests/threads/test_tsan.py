"""The C reader under ThreadSanitizer while maintenance runs beside it: `make tsan` builds csrc/threads/readers.c."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from histories import HistorySpec, pushed_history, send_push
from oracle import git
from running import gpa_any

READERS = os.environ.get("GPA_TSAN_READERS", "")
SECONDS = "20"


@pytest.mark.skipif(not READERS, reason="the program is built by make tsan")
def test_no_data_race_while_pages_are_merged_and_expired(tmp_path: Path) -> None:
    history = pushed_history(tmp_path, HistorySpec(pushes=30, waiting=30, files=20))
    server, waiting = history.server, list(history.waiting)
    command = [READERS, server / "objects", "6", SECONDS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as readers:
        while readers.poll() is None:
            if waiting:
                send_push(history.client, server, waiting.pop())
            gpa_any(server, "repack", "--page-objects=40")
            gpa_any(server, "expire", "--grace=now")
            git(server, "multi-pack-index", "write", check=False)
            if len(waiting) % 7 == 0:
                git(server, "repack", "-q", "-a", "-d", "-k", check=False)
        said, complaint = readers.communicate()
    assert (0, "") == (readers.returncode, complaint)
    assert said.endswith(" objects\n")
