"""The hook for a whole host, as docs/operations.md has it set up: its commands are run, and real pushes follow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from oracle import fsck, git, git_line
from running import gpa, gpa_any, gpa_json

from gpa_maint.setup.scripts import render
from gpa_maint.setup.settings import SETTINGS

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()


def section(title: str) -> str:
    return PAGE.split(f"\n### {title}\n")[1].split("\n## ")[0].split("\n### ")[0]


def commands(text: str) -> str:
    """The indented blocks."""
    return "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home of an account that owns repositories, with the settings that the page names."""
    home = tmp_path / "home"
    home.mkdir()
    settings = re.findall(r"^```ini\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0]
    (home / ".gitconfig").write_text(f"{settings}[user]\n\tname = A\n\temail = a@example.com\n")
    monkeypatch.setenv("HOME", os.fspath(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.fspath(home / ".gitconfig"))
    return home


def run(folder: Path, script: str) -> None:
    done = subprocess.run(["sh", "-e", "-c", script], cwd=folder, capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr + done.stdout


def push(client: Path, url: str, count: int) -> None:
    """So many pushes, each of one commit."""
    if not client.exists():
        git(client.parent, "init", "--quiet", "-b", "main", client.name)
    for number in range(count):
        git(client, "commit", "--quiet", "--allow-empty", "-m", f"commit {number}")
        git(client, "push", "--quiet", url, "HEAD:refs/heads/main")


def wait_for_run(repo: Path) -> None:
    log = repo / "gpa" / "log"
    while not log.exists() or not log.read_text():
        time.sleep(0.02)
    while gpa_any(repo, "run").returncode == 75:  # it is still at work
        time.sleep(0.02)
    fsck(repo)
    assert "failed" not in log.read_text()
    assert [] == [warning["code"] for warning in gpa_json(repo, "status")["warnings"] if "install" in warning["code"]]


def test_the_page_names_the_settings_that_install_makes(host: Path) -> None:
    for key, value, _reason in SETTINGS:
        assert value == git_line(host, "config", "--global", key), key


def test_what_is_printed_is_the_script_that_install_puts_into_a_repository(tmp_path: Path) -> None:
    printed = gpa(tmp_path, "schedule", "--print=hook").stdout
    git(tmp_path, "init", "--quiet", "--bare", "repo.git")
    gpa(tmp_path / "repo.git", "install")
    assert (tmp_path / "repo.git" / "hooks" / "post-receive").read_text() == printed
    program = re.search("^program=(.*)$", printed, re.M)
    assert program is not None and os.access(program[1], os.X_OK)
    answer = gpa_json(tmp_path, "schedule", "--print=hook")
    assert [{"path": "post-receive", "content": printed}] == answer["files"]
    assert ["chmod +x post-receive", *(f"git config --global {key} {value}" for key, value, _ in SETTINGS)] == answer[
        "commands"
    ]
    assert printed == render(program[1]).decode()
    assert 129 == gpa_any(tmp_path, "schedule", "--print=hook", "--all=.").returncode


def test_a_template_brings_it_to_new_repositories(host: Path) -> None:
    git(host, "init", "--quiet", "--bare", "old.git")
    run(host, commands(section("Templates and core.hooksPath")).split("\nmkdir")[0])
    git(host, "init", "--quiet", "--bare", "new.git")
    git(host / "old.git", "init", "--quiet", "--bare")  # as the page says of those that are there
    for name in ("new.git", "old.git"):
        push(host / "work", os.fspath(host / name), 2)
        wait_for_run(host / name)


def test_a_folder_of_hooks_serves_all_repositories(host: Path) -> None:
    git(host, "init", "--quiet", "--bare", "a.git")
    _template, folder = re.split("\n(?=mkdir)", commands(section("Templates and core.hooksPath")))
    run(host, folder)
    push(host / "work", os.fspath(host / "a.git"), 2)
    wait_for_run(host / "a.git")
    assert not (host / "a.git" / "hooks" / "post-receive").exists()


def test_a_repository_of_gitea_runs_it_beside_the_hook_of_gitea(host: Path) -> None:
    repo = host / "data" / "gitea-repositories" / "owner" / "a.git"
    git(host, "init", "--quiet", "--bare", repo)
    (repo / "hooks" / "post-receive.d").mkdir(parents=True)
    # As Gitea writes it, for each of its events.
    delegate = """#!/usr/bin/env bash
        data=$(cat)
        exitcodes=""
        hookname=$(basename $0)
        GIT_DIR=${GIT_DIR:-$(dirname $0)/..}
        for hook in ${GIT_DIR}/hooks/${hookname}.d/*; do
            test -x "${hook}" && test -f "${hook}" || continue
            echo "${data}" | "${hook}"
            exitcodes="${exitcodes} $?"
        done
        for i in ${exitcodes}; do [ ${i} -eq 0 ] || exit ${i}; done
    """
    (repo / "hooks" / "post-receive").write_text(delegate)
    (repo / "hooks" / "post-receive").chmod(0o755)
    run(host, commands(section("Gitea, Forgejo")).replace("/var/lib/gitea", os.fspath(host)))
    push(host / "work", os.fspath(repo), 2)
    wait_for_run(repo)


@pytest.mark.skipif(not shutil.which("gitolite"), reason="gitolite is not installed")
def test_gitolite_runs_it_in_every_repository(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With gitolite's own programs; what stands in place of ssh hands them the command as sshd would."""
    (host / "admin.pub").write_text("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== admin\n")
    monkeypatch.setenv("USER", "git")
    monkeypatch.setenv("GIT_SSH_VARIANT", "simple")
    run(host, "gitolite setup -pk admin.pub || gitolite setup -a admin")
    rc = (host / ".gitolite.rc").read_text()
    set_up = re.search("`(LOCAL_CODE => [^`]+)`", section("gitolite"))
    assert set_up is not None
    (host / ".gitolite.rc").write_text(re.sub(r"# LOCAL_CODE .*HOME.*", set_up[1], rc, count=1))
    run(host, commands(section("gitolite")))
    ssh = host / "ssh"
    shell = shutil.which("gitolite-shell") or "/usr/share/gitolite3/gitolite-shell"
    ssh.write_text(f'#!/bin/sh\nshift\nSSH_ORIGINAL_COMMAND="$*" SSH_CONNECTION="1 2 3 4" exec {shell} admin\n')
    ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", os.fspath(ssh))
    push(host / "work", "gl:testing", 3)
    wait_for_run(host / "repositories" / "testing.git")
    assert (host / "repositories" / "testing.git" / "hooks" / "post-receive").is_symlink()
