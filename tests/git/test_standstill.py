"""Maintenance that nothing starts any more: status says why, with the command that mends it, and a check alarms."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from histories import History, HistorySpec
from oracle import git
from running import gpa_any, gpa_json

import gpa_maint

HistoryFactory = Callable[[HistorySpec], History]

SPEC = HistorySpec(pushes=3)


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A git-gpa that hooks may start, in a virtual environment that looks as such ones do."""
    folder = tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(os.path.realpath(sys.executable))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    (folder.parent / "pyvenv.cfg").write_text(f"home = /usr/bin\nversion = {version}.1\n")
    made = folder / "git-gpa"
    made.write_text(f"#!{folder}/python\nraise SystemExit\n")
    made.chmod(0o755)
    return made


@pytest.fixture
def server(history: HistoryFactory, program: Path) -> Path:
    repo = history(SPEC).server
    gpa_maint.install(os.fspath(repo), way="file", program=os.fspath(program))
    gpa_maint.maintain(os.fspath(repo))
    return repo


def replace_program(repo: Path, program: Path) -> None:
    for hook in (repo / "hooks").iterdir():
        text = hook.read_text()
        hook.write_text(text.replace(f"program={program}", "program=@PROGRAM@"))


def put_elsewhere(repo: Path, _program: Path) -> None:
    (repo / "others").mkdir()
    git(repo, "config", "core.hooksPath", repo / "others")


def replace_hook(repo: Path, _program: Path) -> None:
    (repo / "hooks/post-receive").write_text("#!/bin/sh\nexec gitolite post-receive\n")


def upgrade_python(_repo: Path, program: Path) -> None:
    (program.parent.parent / "pyvenv.cfg").write_text("version = 3.4.1\n")


def date_ahead(repo: Path, _program: Path) -> None:
    later = time.time() + 30 * 86400
    os.utime(repo / "gpa/next", (later, later))


def wait_for_hours(repo: Path, _program: Path) -> None:
    """As if nobody had run since hours, and a push came then, and another one."""
    gpa = repo / "gpa"
    (gpa / "next").write_text("0 0\n")
    (repo / "objects/pack/multi-pack-index").unlink()
    long_ago = time.time() - 10 * 86400
    os.utime(gpa / "last-run.json", (long_ago, long_ago))


def let_runs_fail(repo: Path, _program: Path) -> None:
    """As a run leaves it when it fails."""
    path = repo / "gpa/last-run.json"
    path.write_text(path.read_text().replace('"error":""', '"error":"x"').replace('"error": ""', '"error": "x"'))


CAUSES: dict[str, tuple[Callable[[Path, Path], object], str, str]] = {
    # what: (how it comes about, code, what its hint begins with)
    "removed": (lambda repo, _: (repo / "hooks/post-receive").unlink(), "hook-missing", "git gpa install"),
    "not executable": (
        lambda repo, _: (repo / "hooks/post-receive").chmod(0o644),
        "hook-not-executable",
        "chmod +x ",
    ),
    "replaced": (replace_hook, "hook-replaced", "git gpa install"),
    "hooks elsewhere": (put_elsewhere, "hooks-elsewhere", "git gpa install, or git config --unset core.hooksPath"),
    "program gone": (lambda _, program: program.unlink(), "hook-program", "git gpa install"),
    "program not executable": (lambda _, program: program.chmod(0o644), "hook-program", "git gpa install"),
    "python gone": (lambda _, program: (program.parent / "python").unlink(), "hook-program", "git gpa install"),
    "python upgraded": (upgrade_python, "hook-program", "git gpa install"),
    "not filled in": (replace_program, "hook-not-filled-in", "git gpa schedule --print=hook > "),
    "next ahead": (date_ahead, "next-in-future", "git gpa run"),
    "no run": (wait_for_hours, "no-run", "git gpa run"),
    "runs fail": (let_runs_fail, "last-run-failed", "git gpa run"),
    "record damaged": (lambda repo, _: (repo / "gpa/install.json").write_text("{"), "hooks-unreadable", "remove it"),
}


def test_where_hooks_start_runs_there_is_nothing_to_say(server: Path) -> None:
    assert [] == gpa_json(server, "status")["warnings"]
    assert 0 == gpa_any(server, "status", "--exit-code").returncode


@pytest.mark.parametrize("cause", CAUSES)
def test_each_cause_of_a_standstill_is_told(server: Path, program: Path, cause: str) -> None:
    happens, code, hint = CAUSES[cause]
    happens(server, program)
    found = {warning["code"]: warning for warning in gpa_json(server, "status")["warnings"]}
    assert code in found, found
    assert found[code]["hint"].startswith(hint), found[code]
    assert "\n" not in found[code]["text"]
    assert 1 == gpa_any(server, "status", "--exit-code").returncode


@pytest.mark.parametrize("cause", ["removed", "replaced", "program gone", "python gone", "hooks elsewhere"])
def test_the_command_that_is_named_mends_it(server: Path, program: Path, cause: str) -> None:
    CAUSES[cause][0](server, program)
    gpa_maint.install(os.fspath(server), way="file")
    assert [] == gpa_json(server, "status")["warnings"]


def test_a_hook_that_starts_git_gpa_by_itself_is_fine(server: Path) -> None:
    (server / "hooks/post-receive").write_text("#!/bin/sh\ngit gpa run --auto --detach\n")
    assert [] == gpa_json(server, "status")["warnings"]


@pytest.mark.skipif(os.getuid() != 0, reason="needs files of another user")
def test_files_of_another_user_are_told_of(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (server.parent / "gitconfig").write_text("[safe]\n\tdirectory = *\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.fspath(server.parent / "gitconfig"))
    for path in (server, *server.rglob("*")):
        if not path.is_relative_to(server / "gpa"):
            os.chown(path, 65534, 65534)
    found = {warning["code"]: warning for warning in gpa_json(server, "status")["warnings"]}
    subprocess.run(["sh", "-c", found["wrong-owner"]["hint"]], check=True)
    assert "wrong-owner" not in {warning["code"] for warning in gpa_json(server, "status")["warnings"]}


# ---- a .keep that nobody takes away ----


def keep(repo: Path, content: str, *, days: float) -> Path:
    """A .keep of this content beside a pack of its own, so many days old."""
    path = next(path for path in sorted(repo.glob("objects/pack/*.pack")) if not path.with_suffix(".keep").exists())
    made = path.with_suffix(".keep")
    made.write_text(content)
    then = time.time() - days * 86400
    os.utime(made, (then, then))
    return made


def dead() -> int:
    with subprocess.Popen(["true"]) as process:
        pass
    return process.pid


@pytest.mark.parametrize("who", ["receive-pack", "fetch-pack"])
def test_a_keep_of_a_dead_push_goes_when_it_is_old(history: HistoryFactory, who: str) -> None:
    repo = history(HistorySpec(pushes=6)).server
    here = os.uname().nodename
    stay = [
        keep(repo, f"{who} {dead()} on {here}\n", days=0.5),
        keep(repo, f"{who} {os.getpid()} on {here}\n", days=30),
        keep(repo, f"{who} {dead()} on elsewhere\n", days=30),
        keep(repo, "do not touch\n", days=30),
        keep(repo, "", days=30),
    ]
    old = keep(repo, f"{who} {dead()} on {here}\n", days=2)
    git(repo, "config", "gpa.keepExpire", "3.days")
    git(repo, "gpa", "run")
    assert old.exists()
    git(repo, "config", "--unset", "gpa.keepExpire")
    assert "removed 1 file of killed git processes" in git(repo, "gpa", "run").stdout
    assert not old.exists()
    assert all(path.exists() for path in stay)
    git(repo, "gpa", "repack")
    assert all(path.exists() and path.with_suffix(".pack").exists() for path in stay)
