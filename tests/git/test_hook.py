"""hooks/post-receive: it starts maintenance, no push waits for it, and none fails because of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from histories import History, HistorySpec, send_push
from oracle import fsck, git

HistoryFactory = Callable[[HistorySpec], History]

HOOK = Path(__file__).resolve().parents[2] / "hooks" / "post-receive"


@pytest.fixture
def hooked(history: HistoryFactory, monkeypatch: pytest.MonkeyPatch) -> History:
    """A server with the hook, for which two packs are many."""
    made = history(HistorySpec(pushes=3, waiting=1))
    (made.server / "hooks").mkdir(exist_ok=True)
    shutil.copy(HOOK, made.server / "hooks" / "post-receive")
    monkeypatch.setenv("GPA_HOOK_PACKS", "2")
    return made


def put_in_path(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of the name git-gpa that comes before the real one."""
    folder.mkdir()
    program = folder / "git-gpa"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.timeout(60)
def test_a_push_does_not_wait_for_maintenance(hooked: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """I10. Maintenance that never ends by itself: it waits until somebody opens the other end of its pipe."""
    begun, end = tmp_path / "begun", tmp_path / "end"
    os.mkfifo(begun)
    os.mkfifo(end)
    put_in_path(f'echo "$@" >{begun}; cat {end}; exit 1', tmp_path / "bin", monkeypatch)
    send_push(hooked.client, hooked.server, hooked.waiting[0])
    assert "repack" in begun.read_text()
    end.write_text("")
    fsck(hooked.server)


@pytest.mark.timeout(60)
def test_maintenance_holds_nothing_that_somebody_waits_for(
    hooked: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I10. sshd reads to the end of every descriptor that it lent, and git lends the hook one beyond 2."""
    end = tmp_path / "end"
    os.mkfifo(end)
    put_in_path(f"cat {end}; exit 1", tmp_path / "bin", monkeypatch)
    reading, writing = os.pipe()
    hook = [hooked.server / "hooks" / "post-receive"]
    pipe = subprocess.PIPE

    def lend() -> None:
        os.dup2(writing, 9)

    with subprocess.Popen(
        hook, cwd=hooked.server, stdin=pipe, stdout=pipe, stderr=pipe, close_fds=False, preexec_fn=lend
    ) as running:
        os.close(writing)
        assert (b"", b"") == running.communicate()
        assert b"" == os.read(reading, 1)
    os.close(reading)
    assert 0 == running.returncode
    end.write_text("")


@pytest.mark.parametrize("script", [None, "exit 1", "kill -9 $$"], ids=["gone", "fails", "is killed"])
def test_a_push_succeeds_where_git_gpa_is_gone_or_fails(
    hooked: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    """I10"""
    if script is None:
        monkeypatch.setenv("PATH", os.defpath)
    else:
        put_in_path(script, tmp_path / "bin", monkeypatch)
    send_push(hooked.client, hooked.server, hooked.waiting[0])
    (update,) = hooked.waiting[0]
    assert update.oid == git(hooked.server, "rev-parse", update.ref).stdout.strip()


def test_in_a_quarantine_the_hook_does_nothing(
    hooked: History, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_in_path(f"touch {tmp_path}/called", tmp_path / "bin", monkeypatch)
    monkeypatch.setenv("GIT_QUARANTINE_PATH", str(tmp_path))
    subprocess.run([hooked.server / "hooks" / "post-receive"], cwd=hooked.server, check=True, timeout=30)
    assert not (tmp_path / "called").exists()
