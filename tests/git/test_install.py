"""git gpa install and uninstall: afterwards everything is as before, byte for byte, however far install came."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from oracle import git, git_line, gits
from running import gpa, gpa_any, gpa_json

from gpa_maint import fs, install, uninstall
from gpa_maint.cli.install import describe
from gpa_maint.cli.main import main as cli
from gpa_maint.errors import Locked, Refused, SystemFailed
from gpa_maint.model.setup import InstallChange
from gpa_maint.repo.git import version_in
from gpa_maint.setup import install as install_room
from gpa_maint.setup import uninstall as uninstall_room
from gpa_maint.setup.plan import CONFIG_HOOKS_SINCE
from gpa_maint.setup.scripts import EVENTS, MARK, render

PROGRAM = "/no/such/git-gpa"

# A newer git gets hooks in its configuration where these are refused.
OLDER_GIT = pytest.mark.skipif(
    version_in(git(Path("/"), "version", program=gits()[0]).stdout) >= CONFIG_HOOKS_SINCE,
    reason="this git has hooks in the configuration",
)

WANTED = {
    "gc.auto": "0",
    "receive.autogc": "false",
    "maintenance.auto": "false",
    "maintenance.geometric-repack.auto": "0",
    "receive.unpackLimit": "1",
    "fetch.unpackLimit": "1",
}

OLD_HOOK = "#!/bin/sh\necho old\n"

CONFIGS = {
    "plain": "",
    "some set": "[gc]\n\tauto = 6700\n[fetch]\n\tunpackLimit = 100\n",
    "comments": "# of ours\n[gc] ; here\n\tauto = 6700 # too few\n\n[receive]\n   autogc=true\n[other]\n\tkey = 1\n",
    "several values": "[gc]\n\tauto = 1\n[other]\n\tkey\n[gc]\n\tauto = 2\n\tauto = 3\n",
    "no value": "[receive]\n\tautogc\n[maintenance]\n\tauto\n",
    "as wanted": "[gc]\n\tauto = 0\n[receive]\n\tunpackLimit = 1\n",
    "odd values": '[gc]\n\tauto = " 5 ; \\"x\\" = "\n[fetch]\n\tunpackLimit = -1\n',
    "own hook": '[hook "gpa"]\n\tcommand = true\n\tevent = post-commit\n\tenabled = false\n',
    "no utf-8": "[user]\n\tname = J\udcf6rg\n[gc]\n\tauto = 6700\n",
    "windows lines": "[gc]\r\n\tauto = 6700\r\n",
}


class Entry(NamedTuple):
    """A file as it has to be again: `content` is where it leads, for a link."""

    mode: int
    mtime_ns: int
    content: bytes


class Snapshot(NamedTuple):
    config: bytes
    listed: str
    hooks: dict[str, Entry] | None


def git_dir(repo: Path) -> Path:
    return (repo / git_line(repo, "rev-parse", "--git-common-dir")).resolve()


def hooks_dir(repo: Path) -> Path:
    return (repo / git_line(repo, "rev-parse", "--git-path", "hooks")).resolve()


def snapshot(repo: Path) -> Snapshot:
    folder = hooks_dir(repo)
    listed = git(repo, "config", "--list", "--show-origin", "-z").stdout
    found = {path.name: _entry(path) for path in folder.rglob("*") if not path.is_dir()} if folder.exists() else None
    return Snapshot((git_dir(repo) / "config").read_bytes(), listed, found)


def _entry(path: Path) -> Entry:
    stat = path.lstat()
    content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
    return Entry(stat.st_mode, stat.st_mtime_ns, content)


def settings(repo: Path) -> dict[str, str]:
    return {key: git_line(repo, "config", key) for key in WANTED}


def assert_installed(repo: Path, *, way: str = "file") -> None:
    assert settings(repo) == WANTED
    ours = {event for event in EVENTS if _starts_with_mark(hooks_dir(repo) / event)}
    command = git(repo, "config", "hook.gpa.command", check=False).stdout
    events = git(repo, "config", "--get-all", "hook.gpa.event", check=False).stdout.split()
    if way == "file":
        assert (set(EVENTS), "", []) == (ours, command, events)
    else:
        assert (set(), list(EVENTS)) == (ours, events)
        assert "/gpa-hook.sh" in command
        assert os.access(git_dir(repo) / "gpa-hook.sh", os.X_OK)
    assert [] == strays(repo)


def _starts_with_mark(path: Path) -> bool:
    return path.exists() and path.read_bytes().startswith(MARK) and os.access(path, os.X_OK)


def strays(repo: Path) -> list[Path]:
    """Temporary files and locks."""
    return [path for folder in {git_dir(repo), hooks_dir(repo)} for path in folder.rglob("*.gpa-new*")] + list(
        git_dir(repo).glob("*.lock")
    )


def assert_as_before(repo: Path, before: Snapshot) -> None:
    assert before == snapshot(repo)
    assert {"install.lock"} >= {path.name for path in (git_dir(repo) / "gpa").glob("*")}
    assert [] == strays(repo)


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A bare repository with a hook of its own, and with one that is switched off."""
    repo = tmp_path / "server.git"
    git(tmp_path, "init", "--quiet", "--bare", repo)
    add_hook(repo, "post-receive")
    add_hook(repo, "post-merge", mode=0o644)
    return repo


def add_hook(repo: Path, event: str, text: str = OLD_HOOK, *, mode: int = 0o755) -> Path:
    hook = hooks_dir(repo) / event
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(text)
    hook.chmod(mode)
    os.utime(hook, (1_000_000_000, 1_000_000_000))
    return hook


def work_tree(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "work")
    git(tmp_path / "work", "commit", "--quiet", "--allow-empty", "-m", "one")
    add_hook(tmp_path / "work", "post-commit")
    return tmp_path / "work"


def linked_worktree(tmp_path: Path) -> Path:
    git(work_tree(tmp_path), "worktree", "add", "--quiet", tmp_path / "linked")
    return tmp_path / "linked"


def submodule(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "super")
    git(tmp_path / "super", "submodule", "--quiet", "add", work_tree(tmp_path), "part")
    return tmp_path / "super" / "part"


def subdirectory(tmp_path: Path) -> Path:
    folder = work_tree(tmp_path) / "sub"
    folder.mkdir()
    return folder


def without_hooks(tmp_path: Path) -> Path:
    """No hooks directory at all."""
    git(tmp_path, "init", "--quiet", "--bare", "--template=", "bare.git")
    return tmp_path / "bare.git"


def hooks_elsewhere(tmp_path: Path) -> Path:
    """core.hooksPath of the repository itself, relative to the work tree."""
    repo = work_tree(tmp_path)
    git(repo, "config", "core.hooksPath", ".hooks")
    add_hook(repo, "post-commit")
    return repo


KINDS = [work_tree, linked_worktree, submodule, subdirectory, without_hooks, hooks_elsewhere]


# -- There and back


@pytest.mark.parametrize("kind", KINDS)
def test_uninstall_brings_everything_back(tmp_path: Path, kind: Callable[[Path], Path]) -> None:
    repo = kind(tmp_path)
    before = snapshot(repo)
    gpa(repo, "install")
    assert_installed(repo)
    gpa(repo, "uninstall")
    assert_as_before(repo, before)


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_settings_come_back_byte_for_byte(server: Path, text: str) -> None:
    with (server / "config").open("ab") as file:
        file.write(os.fsencode(text))
    before = snapshot(server)
    install(str(server), program=PROGRAM)
    assert_installed(server)
    uninstall(str(server))
    assert_as_before(server, before)


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_in_a_file_that_was_changed_meanwhile_each_setting_comes_back(server: Path, text: str) -> None:
    with (server / "config").open("ab") as file:
        file.write(os.fsencode(text))
    before = values_of(server)
    install(str(server), program=PROGRAM)
    git(server, "config", "remote.origin.url", "elsewhere")
    uninstall(str(server))
    assert {**before, "remote.origin.url": ["elsewhere"]} == values_of(server)


def values_of(repo: Path) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for item in filter(None, git(repo, "config", "--local", "--list", "-z").stdout.split("\0")):
        key, newline, value = item.partition("\n")
        found.setdefault(key, []).append(value if newline else None)
    return found


def test_a_setting_that_somebody_changed_since_stays(server: Path) -> None:
    git(server, "config", "gc.auto", "6700")
    install(str(server), program=PROGRAM)
    git(server, "config", "gc.auto", "50")
    git(server, "config", "--unset", "receive.autogc")
    answer = gpa_any(server, "uninstall")
    assert 0 == answer.returncode
    assert "warning: left 'gc.auto' as it is: somebody changed it\n" == answer.stderr
    assert "50" == git_line(server, "config", "gc.auto")
    assert not {"receive.autogc", "fetch.unpacklimit"} & values_of(server).keys()


def test_a_setting_changed_since_is_set_again_by_install_and_comes_back(server: Path) -> None:
    install(str(server), program=PROGRAM)
    git(server, "config", "gc.auto", "50")
    (change,) = install(str(server), program=PROGRAM).changes
    assert ("gc.auto", ("50",), ("0",)) == (change.name, change.before, change.after)
    assert_installed(server)
    uninstall(str(server))
    assert ["50"] == values_of(server).pop("gc.auto")
    assert not {"receive.autogc", "fetch.unpacklimit"} & values_of(server).keys()


def test_hooks_that_were_there_keep_bytes_mode_and_time(server: Path) -> None:
    (server / "hooks" / "post-commit").symlink_to("post-receive")
    (server / "hooks" / "post-rewrite").symlink_to("/no/such/hook")
    before = snapshot(server).hooks
    assert before is not None
    install(str(server), program=PROGRAM)
    now = snapshot(server).hooks
    assert now is not None
    for event in EVENTS:
        assert before[event] == now[f"{event}.before-gpa"]
    assert_installed(server)


def test_a_second_install_changes_nothing_and_says_so(server: Path) -> None:
    gpa(server, "install")
    before = snapshot(server)
    assert "nothing to do: already installed\n" == gpa(server, "install").stdout
    assert [] == gpa_json(server, "install")["changes"]
    assert before == snapshot(server)


def test_uninstall_without_install_does_nothing(server: Path) -> None:
    before = snapshot(server)
    assert "nothing to do: not installed\n" == gpa(server, "uninstall").stdout
    assert before == snapshot(server)
    assert not (server / "gpa").exists()


# -- What it says


def test_the_answer_names_each_change(server: Path) -> None:
    git(server, "config", "gc.auto", "6700")
    lines = gpa(server, "install").stdout.splitlines()
    assert [
        "hook post-receive: added; the one that was there runs first, as post-receive.before-gpa",
        "hook post-commit: added",
    ] == lines[:2]
    assert "set gc.auto = 0, was 6700 (gc merges all packs into one, pages too)" == lines[4]
    assert 4 + len(WANTED) + 1 == len(lines)
    assert "'git gpa uninstall'" in lines[-1]
    lines = gpa(server, "uninstall").stdout.splitlines()
    assert "set gc.auto = 6700, was 0" == lines[0]
    assert "unset receive.autogc" == lines[1]
    assert ["hook post-receive: the one from before is back", "hook post-commit: removed"] == lines[6:8]
    assert f"what is left is our state: rm -r {server}/gpa" == lines[-1]


PLANNED = {
    r"^hook (\S+): (added|removed|replaced)": r"hook \1: would be \2",
    r"the one that was there runs": "the one that is there would run",
    r"the one from before is back": "the one from before would be back",
    r"^(set|unset) ": r"would \1 ",
    r", was ": ", is ",
}


def as_a_plan(line: str) -> str:
    for said, planned in PLANNED.items():
        line = re.sub(said, planned, line)
    return line


@pytest.mark.parametrize("kind", ["hook", "setting"])
@pytest.mark.parametrize("before", [(), ("git-gpa",), ("post-commit",), ("post-commit.before-gpa", "git-gpa")])
@pytest.mark.parametrize("after", [(), ("git-gpa",), ("post-commit",), ("post-commit.before-gpa", "git-gpa")])
def test_every_change_is_told_in_another_way_when_it_is_only_planned(
    kind: str, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    change = InstallChange(kind, "post-commit", before, after)
    assert "would" not in describe(change)
    assert " would " in f" {describe(change, is_plan=True)}"
    assert as_a_plan(describe(change)) == describe(change, is_plan=True)


@pytest.mark.parametrize("verb", ["install", "uninstall"])
def test_a_dry_run_says_the_same_and_changes_nothing(server: Path, verb: str) -> None:
    if verb == "uninstall":
        gpa(server, "install")
    before = snapshot(server)
    planned = gpa(server, verb, "-n").stdout
    planned_json = gpa_json(server, verb, "-n")
    assert before == snapshot(server)
    assert (verb == "uninstall") == (server / "gpa").exists()
    done = gpa(server, verb).stdout
    assert planned.splitlines() == [as_a_plan(line) for line in done.splitlines()[:-1]]
    assert planned_json["changes"]


def test_quiet_means_quiet(server: Path) -> None:
    assert "" == gpa(server, "install", "-q").stdout
    assert "" == gpa(server, "uninstall", "-q").stdout


def test_json_has_every_change_with_both_values(server: Path) -> None:
    git(server, "config", "gc.auto", "6700")
    answer = gpa_json(server, "install")
    assert ("InstallResult", "file", str(server / "hooks")) == (answer["kind"], answer["way"], answer["hooks_dir"])
    by_name = {change["name"]: (change["before"], change["after"]) for change in answer["changes"]}
    assert (["post-receive"], ["post-receive.before-gpa", "git-gpa"]) == by_name["post-receive"]
    assert ([], ["git-gpa"]) == by_name["post-commit"]
    assert (["6700"], ["0"]) == by_name["gc.auto"]


def test_the_object_directory_option_is_refused(server: Path) -> None:
    assert 129 == gpa_any(server, "install", f"--object-dir={server}/objects").returncode


@pytest.mark.parametrize("place", ["include", "worktree"])
def test_a_setting_that_does_not_hold_is_told(tmp_path: Path, place: str) -> None:
    repo = work_tree(tmp_path)
    if place == "include":
        (repo / ".git" / "more").write_text("[gc]\n\tauto = 7\n")
        git(repo, "config", "gc.auto", "5")
        git(repo, "config", "include.path", "more")
    else:
        git(repo, "config", "extensions.worktreeConfig", "true")
        git(repo, "config", "--worktree", "gc.auto", "7")
    before = snapshot(repo)
    (warning,) = install(str(repo), program=PROGRAM).warnings
    assert "'gc.auto' does not hold" in warning
    uninstall(str(repo))
    assert_as_before(repo, before)


# -- Hooks of others, and ours when somebody changed them


def test_a_script_of_another_version_is_replaced(server: Path) -> None:
    install(str(server), program="/old/git-gpa")
    changes = install(str(server), program=PROGRAM).changes
    assert set(EVENTS) == {change.name for change in changes}
    assert render(PROGRAM) == (server / "hooks" / "post-receive").read_bytes()
    assert OLD_HOOK == (server / "hooks" / "post-receive.before-gpa").read_text()


def test_a_script_that_somebody_changed_is_left_with_a_warning(server: Path) -> None:
    install(str(server), program=PROGRAM)
    hook = server / "hooks" / "post-receive"
    hook.write_text(hook.read_text() + "echo mine\n")
    (warning,) = install(str(server), program="/new/git-gpa").warnings
    assert warning == f"left '{hook}' as it is: somebody changed it"
    assert hook.read_text().endswith("echo mine\n")
    assert (warning,) == uninstall(str(server)).warnings
    assert hook.read_text().endswith("echo mine\n")
    assert not (server / "hooks" / "post-commit").exists()
    assert (server / "hooks" / "post-receive.before-gpa").exists()


def test_a_hook_that_took_the_place_of_ours_is_left(server: Path) -> None:
    install(str(server), program=PROGRAM)
    add_hook(server, "post-receive", "#!/bin/sh\necho other\n")
    (warning,) = uninstall(str(server)).warnings
    assert "is not ours any more" in warning
    assert "other" in (server / "hooks" / "post-receive").read_text()
    assert OLD_HOOK == (server / "hooks" / "post-receive.before-gpa").read_text()


def test_install_does_not_overwrite_a_hook_that_is_set_aside_already(server: Path) -> None:
    install(str(server), program=PROGRAM)
    add_hook(server, "post-receive", "#!/bin/sh\necho other\n")
    before = snapshot(server)
    with pytest.raises(Refused, match="is another hook"):
        install(str(server), program=PROGRAM)
    assert before == snapshot(server)


def test_a_server_that_writes_its_hook_again_is_no_obstacle(server: Path) -> None:
    before = snapshot(server)
    install(str(server), program=PROGRAM)
    add_hook(server, "post-receive")
    install(str(server), program=PROGRAM)
    assert_installed(server)
    uninstall(str(server))
    assert_as_before(server, before)


def test_a_hook_that_runs_a_directory_stays_and_ours_goes_there(server: Path) -> None:
    """It may look at its own name, so it is not set aside."""
    text = '#!/bin/sh\nfor hook in "hooks/$(basename "$0").d/"*; do "$hook"; done\n'
    add_hook(server, "post-receive", text)
    (server / "hooks" / "post-receive.d").mkdir()
    before = snapshot(server)
    result = install(str(server), program=PROGRAM)
    assert () == result.warnings
    assert text == (server / "hooks" / "post-receive").read_text()
    assert render(PROGRAM) == (server / "hooks" / "post-receive.d" / "gpa").read_bytes()
    assert () == install(str(server), program=PROGRAM).changes
    uninstall(str(server))
    assert_as_before(server, before)


def test_a_hook_that_looks_at_its_own_name_is_told(server: Path) -> None:
    add_hook(server, "post-receive", '#!/bin/sh\ncase "$(basename "$0")" in *) ;; esac\n')
    (warning,) = install(str(server), program=PROGRAM).warnings
    assert "look at its own name" in warning


def test_without_the_record_hooks_still_come_back(server: Path) -> None:
    before = snapshot(server).hooks
    install(str(server), program=PROGRAM)
    shutil.rmtree(server / "gpa")
    (warning,) = uninstall(str(server)).warnings
    assert "gc.auto" in warning
    assert before == snapshot(server).hooks
    assert "0" == git_line(server, "config", "gc.auto")


def test_a_directory_in_place_of_a_hook_is_refused(server: Path) -> None:
    (server / "hooks" / "post-rewrite").mkdir()
    before = snapshot(server)
    with pytest.raises(Refused, match="is a directory"):
        install(str(server), program=PROGRAM)
    assert before == snapshot(server)


# -- Hooks directories that others use, and hooks in the configuration


@pytest.fixture
def shared_hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """core.hooksPath for every repository of this user."""
    folder = tmp_path / "shared-hooks"
    folder.mkdir()
    settings = tmp_path / "gitconfig"
    settings.write_text(f"{Path(os.environ['GIT_CONFIG_GLOBAL']).read_text()}[core]\n\thooksPath = {folder}\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    return folder


@pytest.fixture
def newer_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A git that says it has hooks in the configuration; not below `git gpa`, where git puts itself before it."""
    real = shutil.which("git")
    folder = tmp_path / "newer"
    folder.mkdir()
    wrapper = folder / "git"
    wrapper.write_text(f'#!/bin/sh\n[ "$1" != version ] || exec echo git version 2.55.0\nexec {real} "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@OLDER_GIT
def test_a_hooks_directory_of_many_repositories_is_left_alone(server: Path, shared_hooks: Path) -> None:
    before = snapshot(server)
    answer = gpa_any(server, "install")
    assert 128 == answer.returncode
    assert f"fatal: not writing to the hooks directory '{shared_hooks}': core.hooksPath is set in" in answer.stderr
    for way_out in ("git gpa run --auto --detach", "--hook=file", "git gpa schedule"):
        assert way_out in answer.stderr.replace("\n", " ")
    assert before == snapshot(server)
    assert not (server / "gpa").exists()


@OLDER_GIT
def test_a_linked_hooks_directory_is_left_alone_too(server: Path, tmp_path: Path) -> None:
    (server / "hooks").rename(tmp_path / "hooks")
    (server / "hooks").symlink_to(tmp_path / "hooks")
    with pytest.raises(Refused, match="it is a link to"):
        install(str(server), program=PROGRAM)


def test_a_hooks_directory_of_many_repositories_is_written_to_when_asked(server: Path, shared_hooks: Path) -> None:
    before = snapshot(server)
    gpa(server, "install", "--hook=file")
    assert_installed(server)
    assert set(EVENTS) == {path.name for path in shared_hooks.iterdir()}
    assert () == install(str(server)).changes
    uninstall(str(server))
    assert_as_before(server, before)


def test_a_newer_git_gets_hooks_in_the_configuration_there(server: Path, shared_hooks: Path, newer_git: None) -> None:
    before = snapshot(server)
    assert () != install(str(server), program=PROGRAM).changes
    assert_installed(server, way="config")
    assert [] == list(shared_hooks.iterdir())
    section = (server / "config").read_text().split('[hook "gpa"]')[1]
    assert section.index("command =") < section.index("event =")
    assert () == install(str(server), program=PROGRAM).changes
    uninstall(str(server))
    assert_as_before(server, before)


def test_hooks_in_the_configuration_go_from_a_changed_file_too(server: Path, newer_git: None) -> None:
    install(str(server), way="config", program=PROGRAM)
    git(server, "config", "remote.origin.url", "elsewhere")
    uninstall(str(server))
    assert "gpa" not in (server / "config").read_text()
    assert not (server / "gpa-hook.sh").exists()


@OLDER_GIT
def test_hooks_in_the_configuration_are_refused_for_an_older_git(server: Path) -> None:
    with pytest.raises(Refused, match=r"need git 2\.54; this is git 2\."):
        install(str(server), way="config", program=PROGRAM)
    assert not (server / "gpa").exists()


@pytest.mark.parametrize(("first", "second"), [("file", "config"), ("config", "file")])
def test_asked_for_the_other_way_install_removes_the_first(
    server: Path, newer_git: None, first: str, second: str
) -> None:
    before = snapshot(server)
    install(str(server), way=first, program=PROGRAM)
    assert_installed(server, way=first)
    install(str(server), way=second, program=PROGRAM)
    assert_installed(server, way=second)
    assert () == install(str(server), program=PROGRAM).changes
    uninstall(str(server))
    assert_as_before(server, before)


def test_when_the_hooks_directory_has_moved_ours_move_too(tmp_path: Path) -> None:
    repo = work_tree(tmp_path)
    before = snapshot(repo)
    install(str(repo), program=PROGRAM)
    git(repo, "config", "core.hooksPath", ".hooks")
    install(str(repo), program=PROGRAM)
    assert_installed(repo)
    git(repo, "config", "--unset", "core.hooksPath")
    assert before.hooks == snapshot(repo).hooks
    uninstall(str(repo))
    assert before.listed == snapshot(repo).listed
    assert not (repo / ".hooks").exists()


def test_switched_off_hooks_are_refused(server: Path) -> None:
    for value in (os.devnull, ""):
        git(server, "config", "core.hooksPath", value)
        with pytest.raises(Refused, match="is not a directory"):
            install(str(server), program=PROGRAM)
        assert "not installed" == uninstall(str(server)).reason


# -- Repositories of all sorts


def test_the_repository_may_be_named_by_git_dir(server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = snapshot(server)
    with monkeypatch.context() as context:
        context.setenv("GIT_DIR", "server.git")
        gpa(tmp_path, "install")
        gpa(tmp_path, "install")
    assert_installed(server)
    with monkeypatch.context() as context:
        context.setenv("GIT_DIR", str(server))
        gpa(tmp_path, "uninstall")
    assert_as_before(server, before)


def test_a_shared_repository_stays_shared(tmp_path: Path) -> None:
    repo = tmp_path / "group.git"
    git(tmp_path, "init", "--quiet", "--bare", "--shared=group", repo)
    umask = os.umask(0o077)
    try:
        install(str(repo), program=PROGRAM)
    finally:
        os.umask(umask)
    assert 0o2770 == (repo / "gpa").stat().st_mode & 0o7777
    assert 0o770 == (repo / "hooks" / "post-receive").stat().st_mode & 0o777
    assert 0o660 == (repo / "gpa" / "install.lock").stat().st_mode & 0o777


def test_the_record_tells_nobody_what_the_configuration_does_not(server: Path) -> None:
    (server / "config").chmod(0o600)
    install(str(server), program=PROGRAM)
    assert 0o600 == (server / "gpa" / "install.json").stat().st_mode & 0o777
    assert 0o600 == (server / "config").stat().st_mode & 0o777
    uninstall(str(server))
    assert 0o600 == (server / "config").stat().st_mode & 0o777


def test_a_configuration_file_that_is_a_link_stays_one(server: Path, tmp_path: Path) -> None:
    (server / "config").rename(tmp_path / "config")
    (server / "config").symlink_to(tmp_path / "config")
    before = snapshot(server)
    install(str(server), program=PROGRAM)
    assert_installed(server)
    uninstall(str(server))
    assert_as_before(server, before)
    assert (server / "config").is_symlink()


def as_ordinary_user(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    """Modes count for root too: without the capability to override them."""
    if os.geteuid() == 0:
        dropped = "-dac_override,-dac_read_search"
        words = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}", *words]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may write everywhere")
@pytest.mark.parametrize("closed", [".", "gpa", "hooks"])
def test_a_repository_that_is_read_only_is_told_once_and_stays_as_it_is(server: Path, closed: str) -> None:
    (server / "gpa").mkdir()
    if closed == ".":
        (server / "gpa").rmdir()
    before = snapshot(server)
    (server / closed).chmod(0o555)
    try:
        done = as_ordinary_user(["git", "gpa", "install"], server)
    finally:
        (server / closed).chmod(0o755)
    assert (128, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("fatal: cannot ")
    assert done.stderr.endswith(": Permission denied\n")
    assert 1 == done.stderr.count("\n")
    assert_as_before(server, before)


def test_a_repository_of_somebody_else_is_refused_in_gits_words(
    server: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "empty").touch()
    before = snapshot(server)
    with monkeypatch.context() as context:
        context.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "empty"))
        context.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        answer = gpa_any(server, "install")
    assert 128 == answer.returncode
    assert answer.stderr.startswith("fatal: detected dubious ownership in repository")
    assert before == snapshot(server)


def test_outside_a_repository_git_says_so(tmp_path: Path) -> None:
    answer = gpa_any(tmp_path, "install")
    assert 128 == answer.returncode
    assert "not a git repository" in answer.stderr


def test_a_configuration_that_somebody_is_writing_is_told_and_nothing_changes(server: Path) -> None:
    before = snapshot(server)
    (server / "config.lock").touch()
    with pytest.raises(Locked, match="could not lock config file"):
        install(str(server), program=PROGRAM)
    assert (server / "config.lock").exists()
    (server / "config.lock").unlink()
    assert_as_before(server, before)


def test_of_two_installs_the_second_is_told(server: Path) -> None:
    nested: list[Exception] = []

    def before_step(operation: str, path: str) -> None:
        if operation == "link" and not nested:
            with pytest.raises(Locked) as info:
                install(str(server), program=PROGRAM)
            nested.append(info.value)

    fs.door.before_step = before_step
    try:
        install(str(server), program=PROGRAM)
    finally:
        fs.door.before_step = None
    assert "another install or uninstall" in str(getattr(nested[0], "hint", ""))
    assert_installed(server)


# -- Stopped at every step


def killed_at(number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a child that dies before its `number`-th step of fs or start of git; False when it has fewer."""
    pid = os.fork()
    if pid == 0:
        left = iter(range(number - 1, -1, -1))

        def step(*_: object) -> None:
            if next(left) == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        spawn = os.posix_spawnp

        def counted(*args: object, **options: object) -> int:
            step()
            return spawn(*args, **options)  # type: ignore[arg-type]

        try:
            fs.door.before_step = step
            os.posix_spawnp = counted  # type: ignore[assignment]
            work()
            os._exit(0)
        except BaseException as error:
            print(error, file=sys.stderr)
        finally:
            os._exit(1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def copy_of(repo: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", repo, target], check=True)  # a lock is known by being the same file as another
    return target


@pytest.mark.parametrize("way", ["file", pytest.param("config", marks=pytest.mark.slow)])
def test_an_install_killed_at_any_step_is_undone_by_uninstall_and_completed_by_install(
    server: Path, tmp_path: Path, newer_git: None, way: str
) -> None:
    git(server, "config", "gc.auto", "6700")
    for number in count(1):
        repo = copy_of(server, tmp_path / "repo.git")
        before = snapshot(repo)
        killed = killed_at(number, lambda repo=repo: install(str(repo), way=way, program=PROGRAM))
        half = copy_of(repo, tmp_path / "half.git")
        uninstall(str(repo))
        assert_as_before(repo, before)
        install(str(half), way=way, program=PROGRAM)
        assert_installed(half, way=way)
        if not killed:
            break
    assert number > 30


def test_an_uninstall_killed_at_any_step_is_completed_by_another(server: Path, tmp_path: Path) -> None:
    git(server, "config", "gc.auto", "6700")
    before = snapshot(server)
    install(str(server), program=PROGRAM)
    for number in count(1):
        repo = copy_of(server, tmp_path / "repo.git")
        killed = killed_at(number, lambda repo=repo: uninstall(str(repo)))
        uninstall(str(repo))
        assert_as_before(repo, before._replace(listed=snapshot(repo).listed))
        if not killed:
            break
    assert number > 15


@pytest.mark.parametrize("first", [pytest.param("file", marks=pytest.mark.slow), "config"])
def test_a_change_of_ways_killed_at_any_step_can_be_undone(
    server: Path, tmp_path: Path, newer_git: None, first: str
) -> None:
    second = "config" if first == "file" else "file"
    before = snapshot(server)
    install(str(server), way=first, program=PROGRAM)
    for number in count(1):
        repo = copy_of(server, tmp_path / "repo.git")
        killed = killed_at(number, lambda repo=repo: install(str(repo), way=second, program=PROGRAM))
        uninstall(str(repo))
        assert_as_before(repo, before._replace(listed=snapshot(repo).listed))
        if not killed:
            break
    assert number > 30


def test_an_install_that_fails_takes_back_what_it_did(server: Path, tmp_path: Path) -> None:
    git(server, "config", "gc.auto", "6700")
    failed = 0
    for number in count(1):
        repo = copy_of(server, tmp_path / "repo.git")
        before = snapshot(repo)
        steps = count(1)

        def before_step(operation: str, path: str, number: int = number, steps: count[int] = steps) -> None:
            if next(steps) == number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

        fs.door.before_step = before_step
        try:
            install(str(repo), program=PROGRAM)
            break
        except OSError:
            failed += 1
        finally:
            fs.door.before_step = None
        uninstall(str(repo))  # what could not be removed when it was its removal that failed
        assert_as_before(repo, before)
    assert failed > 20


def test_errors_are_told_as_git_tells_them(server: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def before_step(operation: str, path: str) -> None:
        if operation == "rename" and path.endswith("post-merge"):
            raise SystemFailed(f"cannot rename '{path}': No space left on device", path=path, errno=errno.ENOSPC)

    here = os.getcwd()
    os.chdir(server)
    fs.door.before_step = before_step
    try:
        assert 128 == cli(["install"])
    finally:
        fs.door.before_step = None
        os.chdir(here)
    assert f"fatal: cannot rename '{server}/hooks/post-merge': No space left on device\n" == capsys.readouterr().err


# -- The parts


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("git version 2.39.5", (2, 39)),
        ("git version 2.55.0.618.gabcdef", (2, 55)),
        ("git version 2.54.0-rc1", (2, 54)),
        ("git version 2.39.3 (Apple Git-146)", (2, 39)),
        ("git version 3.0", (3, 0)),
        ("git version unknown", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_the_version_of_git(text: str, version: tuple[int, int]) -> None:
    from gpa_maint.repo.git import version_in

    assert version == version_in(text)


OLD, NEW = (2, 53), (2, 54)


@pytest.mark.parametrize(
    ("asked", "shared", "before", "version", "way"),
    [
        (None, "", "", OLD, "file"),
        (None, "", "", NEW, "file"),
        (None, "shared", "", NEW, "config"),
        (None, "shared", "", OLD, None),
        (None, "shared", "file", OLD, "file"),
        (None, "", "config", NEW, "config"),
        (None, "", "config", OLD, "file"),
        ("file", "shared", "", OLD, "file"),
        ("file", "", "config", NEW, "file"),
        ("config", "", "file", NEW, "config"),
        ("config", "", "", OLD, None),
    ],
)
def test_which_way_git_is_made_to_call_us(
    asked: str | None, shared: str, before: str, version: tuple[int, int], way: str | None
) -> None:
    from gpa_maint.setup.plan import choose_way

    def chosen() -> str:
        return choose_way(asked, hooks_dir="/hooks", shared_by=shared, before=before, version=version)

    if way is None:
        with pytest.raises(Refused):
            chosen()
    else:
        assert way == chosen()


def test_the_package_offers_both() -> None:
    assert (install_room.install, uninstall_room.uninstall) == (install, uninstall)
