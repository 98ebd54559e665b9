"""Deleting many files, whose blocks are freed by threads."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path

import pytest

from gpa_maint import fs
from gpa_maint.errors import SystemFailed
from gpa_maint.fs.delete_many import Freeing


def files_in(folder: Path, count: int) -> list[str]:
    for number in range(count):
        (folder / f"{number}").write_bytes(b"x" * 5000)
    return [str(folder / f"{number}") for number in range(count)]


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 500])
def test_at_the_end_every_name_is_gone_and_nothing_is_held(count: int, tmp_path: Path) -> None:
    before = open_descriptors()
    with Freeing() as freeing:
        assert all(freeing.unlink(path) for path in files_in(tmp_path, count))
        assert not os.listdir(tmp_path)
    assert before == open_descriptors()


def test_names_go_in_the_order_of_the_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    monkeypatch.setattr(fs.door, "before_step", lambda _operation, path: steps.append(path))
    paths = files_in(tmp_path, 100)[::-1]
    with Freeing() as freeing:
        for path in paths:
            freeing.unlink(path)
    assert paths == steps


def test_an_error_lets_go_of_what_is_held(tmp_path: Path) -> None:
    before = open_descriptors()
    (tmp_path / "folder").mkdir()
    with pytest.raises(SystemFailed, match="cannot unlink"), Freeing() as freeing:
        for path in [*files_in(tmp_path, 40), str(tmp_path / "folder")]:
            freeing.unlink(path)
    assert before == open_descriptors()


def test_without_descriptors_files_are_freed_at_once(tmp_path: Path) -> None:
    paths = files_in(tmp_path, 40)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with Freeing() as freeing:
            gone = [freeing.unlink(path) for path in paths]
            again = freeing.unlink(paths[0])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(gone)
    assert not again
    assert not os.listdir(tmp_path)


def test_without_threads_files_are_freed_by_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    before = open_descriptors()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Freeing() as freeing:
        assert all(freeing.unlink(path) for path in files_in(tmp_path, 200))
    assert before == open_descriptors()
