"""`.ci/make`: what is nice to have is installed where that is possible, and where it is not, a warning is all."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "make"
TOOLS = ("sh", "cat", "dirname", "env", "git", "python3")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder for PATH: what is needed is there, pkg-config and man are missing, `make` says what it was asked for."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    add_tool(folder, "make", 'echo "made $*"')
    return folder


def add_tool(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def ci_make(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    compiler = shutil.which("gcc")
    assert compiler, "tests run where the C core was compiled"
    env = {"PATH": str(folder), "CC": compiler, "LC_ALL": "C", **environment}
    return subprocess.run(["sh", SCRIPT, "check"], env=env, capture_output=True, text=True, check=False)


def wanted(folder: Path) -> list[str]:
    """Return the packages that a run as root asks apt-get for, when all are there to be installed."""
    calls = folder.parent / "calls"
    add_tool(folder, "id", "echo 0")
    add_tool(folder, "apt-get", f'echo "$*" >>{calls}')
    done = ci_make(folder)
    assert (0, "made check\n") == (done.returncode, done.stdout)
    (install,) = [line for line in calls.read_text().splitlines() if line.startswith("-q install ")]
    return install.partition("--no-install-recommends ")[2].split()


def test_what_is_nice_to_have_is_installed_though_nothing_needed_is_missing(tools: Path) -> None:
    assert {"pkg-config", "man-db"} <= set(wanted(tools))


@pytest.mark.parametrize(
    ("user", "apt"), [("1000", "exit 3"), ("0", "exit 100"), ("0", None)], ids=["no root", "no network", "no apt-get"]
)
def test_where_it_cannot_be_installed_one_warning_names_it(tools: Path, user: str, apt: str | None) -> None:
    add_tool(tools, "id", f"echo {user}")
    if apt:
        add_tool(tools, "apt-get", apt)
    done = ci_make(tools)
    assert (0, "made check\n") == (done.returncode, done.stdout)
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: going on without these packages: pkg-config ")


def test_where_it_is_there_nothing_is_installed_and_nothing_is_said(tools: Path) -> None:
    add_tool(tools, "pkg-config", "exit 0")
    add_tool(tools, "man", "exit 0")
    add_tool(tools, "id", "echo 0")
    add_tool(tools, "apt-get", "echo apt-get was started; exit 100")
    done = ci_make(tools)
    assert (0, "made check\n", "") == (done.returncode, done.stdout, done.stderr)


def test_a_build_without_libdeflate_asks_for_none(tools: Path) -> None:
    add_tool(tools, "man", "exit 0")
    add_tool(tools, "apt-get", "echo apt-get was started; exit 100")
    assert "" == ci_make(tools, GPA_NO_LIBDEFLATE="1").stderr


def test_the_gits_say_why_the_newest_is_missing(tmp_path: Path, tools: Path) -> None:
    """Without a mirror of Debian in the sources of apt-get the git in PATH is all there is, and that is an error."""
    for name in ("ls", "sort", "tail", "mkdir", "flock", "find", "mktemp", "rm", "grep", "head"):
        found = shutil.which(name)
        assert found, name
        (tools / name).symlink_to(found)
    env = {"PATH": str(tools), "XDG_CACHE_HOME": str(tmp_path / "cache"), "GPA_APT_SOURCES": str(tmp_path)}
    script = SCRIPT.with_name("gits")
    done = subprocess.run(["sh", script], env=env, capture_output=True, text=True, check=False)
    assert (1, f"{tools}/git\n") == (done.returncode, done.stdout)
    assert done.stderr.startswith("warning: no mirror of Debian")
    assert os.listdir(tmp_path / "cache" / "gpa-gits") == ["lock"]


def test_the_gits_take_what_was_built_before(tmp_path: Path) -> None:
    for version in ("2.9.1", "2.55.0"):
        folder = tmp_path / "gpa-gits" / version / "bin"
        folder.mkdir(parents=True)
        add_tool(folder, "git", "exit 0")
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    script = SCRIPT.with_name("gits")
    done = subprocess.run(["sh", script], env=env, capture_output=True, text=True, check=True)
    assert str(tmp_path / "gpa-gits/2.55.0/bin/git") == done.stdout.splitlines()[-1]
