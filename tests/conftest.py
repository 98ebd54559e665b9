"""Fixtures for all tests. Git sees none of the machine's settings here, and histories come from the cache."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from histories import History, HistorySpec, pushed_history
from oracle import ObjectFormat, gits, isolated_environment

HistoryFactory = Callable[[HistorySpec], History]


@pytest.fixture(scope="session", autouse=True)
def git_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """HOME, settings, locale and time zone of the tests' own; no GIT_* variable from outside."""
    before = dict(os.environ)
    isolated = isolated_environment(tmp_path_factory.mktemp("home"))
    os.environ.clear()
    os.environ.update(isolated)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def history(tmp_path: Path) -> HistoryFactory:
    """Call it with a HistorySpec: a copy of that history in the test's own folder, a new one for each call."""
    number = count()
    return lambda spec: pushed_history(tmp_path / f"history-{next(number)}", spec)


@pytest.fixture(params=["sha1", "sha256"])
def object_format(request: pytest.FixtureRequest) -> ObjectFormat:
    """Runs the test with both object formats."""
    chosen: ObjectFormat = request.param
    return chosen


@pytest.fixture(params=gits())
def git_program(request: pytest.FixtureRequest) -> str:
    """Runs the test with each git of `oracle.gits`, for the `program` argument of the oracle's functions."""
    program: str = request.param
    return program
