"""No program that a repository names is run: not by any git command that we start, whatever the repository holds.

Each hook, alias, filter, helper and pager of the repository here leaves a mark.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import archives
import damage as d
import pytest
from histories import HistorySpec, pushed_history
from oracle import git, gits, objects_dir, pack_dir

import gpa_maint

HOOKS = [
    *("applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-applypatch", "post-checkout"),
    *("post-commit", "post-index-change", "post-merge", "post-receive", "post-rewrite", "post-update"),
    *("pre-applypatch", "pre-auto-gc", "pre-commit", "pre-merge-commit", "pre-push", "pre-rebase"),
    *("pre-receive", "prepare-commit-msg", "proc-receive", "push-to-checkout", "reference-transaction"),
    *("sendemail-validate", "update"),
]

STARTED = {
    *("rev-parse", "config", "version", "pack-refs", "update-server-info", "multi-pack-index", "index-pack"),
    *("unpack-objects", "cat-file", "pack-objects", "rev-list", "for-each-ref", "update-ref", "symbolic-ref"),
    *("init", "worktree", "prune-packed", "check-ref-format", "var", "merge-base"),
}
"""Every git command that the package starts in a repository."""

UNTRAPPED = ("-c", "core.hooksPath=/dev/null", "-c", "hook.trap.enabled=false", "-c", "hook.tr=ap.enabled=false")
"""Options for a git that the test itself starts."""

PROGRAM_KEYS = [
    *("core.fsmonitor", "core.pager", "core.editor", "core.sshCommand", "core.askPass"),
    *("core.alternateRefsCommand", "core.gitProxy", "credential.helper", "diff.external"),
    *("diff.trap.textconv", "diff.trap.command", "filter.trap.clean", "filter.trap.smudge"),
    *("filter.trap.process", "gc.recentObjectsHook", "gpg.program", "gpg.ssh.program", "gpg.x509.program"),
    *("interactive.diffFilter", "merge.trap.driver", "sequence.editor", "uploadpack.packObjectsHook"),
    *("pager.config", "pager.rev-parse", "pager.for-each-ref", "pager.rev-list", "man.viewer"),
    *("browser.trap.cmd", "trailer.trap.command", "hook.trap.command", "hook.tr=ap.command"),
]


def set_traps(repo: Path, trap: Path) -> None:
    """Everything by which a repository can name a program; the hooks are where git looks by default, and elsewhere."""
    elsewhere = repo / "more-hooks"
    elsewhere.mkdir()
    for folder in (repo / "hooks", elsewhere):
        for name in HOOKS:
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(trap)
    for key in PROGRAM_KEYS:
        git(repo, "config", key, str(trap))
    for event in HOOKS:
        git(repo, "config", "--add", "hook.trap.event", event)
        git(repo, "config", "--add", "hook.tr=ap.event", event)
    for command in STARTED:
        git(repo, "config", f"alias.{command}", f"!{trap}")
    (repo / "info").mkdir(exist_ok=True)
    (repo / "info" / "attributes").write_text("* filter=trap diff=trap merge=trap\n")
    settings = {
        "core.repositoryFormatVersion": "1",
        "extensions.partialClone": "origin",
        "remote.origin.promisor": "true",
        "remote.origin.url": f"ext::{trap}",
        "remote.origin.vcs": "trap",
        "remote.origin.uploadpack": str(trap),
        "protocol.allow": "always",
        "protocol.ext.allow": "always",
        "log.showSignature": "true",
        "gpa.autoLoose": "1",
        "gpa.autoRefs": "1",
        "gpa.autoPages": "2",
        "gpa.expireGrace": "now",
    }
    for key, value in settings.items():
        git(repo, "config", key, value)


Where = Callable[[Path], None]


def default_hooks(repo: Path) -> None:
    """git looks for hooks where it does by default."""


def named_hooks(repo: Path) -> None:
    git(repo, "config", "core.hooksPath", str(repo / "more-hooks"))


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    path = tmp_path / "trap"
    path.write_text(f'#!/bin/sh\necho "$0" "$@" >>{tmp_path}/sprung\ncat\n')
    path.chmod(0o755)
    return path


@pytest.fixture(params=[default_hooks, named_hooks])
def repo(request: pytest.FixtureRequest, tmp_path: Path, trap: Path) -> Path:
    server = pushed_history(tmp_path / "pushed", HistorySpec(pushes=6, files=8)).server
    set_traps(server, trap)
    where: Where = request.param
    where(server)
    return server


def sprung(tmp_path: Path) -> str:
    path = tmp_path / "sprung"
    return path.read_text() if path.exists() else ""


def watched(tmp_path: Path, program: str) -> dict[str, str]:
    """An environment in which each git that is started is written down, in `tmp_path`/started."""
    folder = tmp_path / "bin"
    folder.mkdir()
    real = shutil.which(program)
    script = f'#!/bin/sh\nfor word do printf "%s\\t" "$word"; done >>{tmp_path}/started\necho >>{tmp_path}/started\n'
    (folder / "git").write_text(f'{script}exec {real} "$@"\n')
    (folder / "git").chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def started(tmp_path: Path) -> set[str]:
    """The commands of these gits."""
    found = set()
    for line in (tmp_path / "started").read_text().splitlines():
        words = line.split("\t")
        while words[0].startswith("-"):
            del words[: 2 if words[0] in ("-C", "-c") else 1]
        found.add(words[0])
    return found


def everything(repo: Path, environment: dict[str, str], tmp_path: Path) -> None:
    """All that starts a git."""

    def run(words: str) -> None:
        subprocess.run(["git-gpa", *words.split()], cwd=repo, env=environment, capture_output=True, check=False)

    def damage(*, idx_too: bool) -> None:
        largest = max(pack_dir(repo).glob("*.pack"), key=lambda path: path.stat().st_size)
        largest.chmod(0o644)
        largest.write_bytes(d.flipped(40)(largest.read_bytes()))
        if idx_too:
            largest.with_suffix(".idx").chmod(0o644)
            largest.with_suffix(".idx").write_bytes(b"no idx")
        run("repair")

    git(repo, "update-server-info")
    for words in ("status", "run -n", "explain", "verify --deep", "config", "install", "uninstall", "write --bitmap"):
        run(words)
    run("run")
    git(repo, *UNTRAPPED, "hash-object", "-w", "--stdin", input="x")
    for words in ("add-loose", "repack", "expire --grace=now", "run", f"export-v1 {tmp_path}/archive main"):
        run(words)
    for words in (f"backup {tmp_path}/backup", f"backup {tmp_path}/backup"):
        run(words)
    for words in ("data set key one", "data append key two", "data list", "data log", "data check"):
        run(words)
    git(repo, *UNTRAPPED, "update-ref", "refs/remotes/origin/meta", "meta")
    for words in ("data set key three", "data set other one", "union-merge refs/heads/u meta main", "data forget"):
        run(words)
    made = archives.unpack(tmp_path / "v1") / "saved-by-api"
    folder = made if made.is_dir() else next(path for path in made.parent.iterdir() if (path / "packed-refs").exists())
    run(f"import-v1 {folder} --delta --refs {folder}/packed-refs")
    subprocess.run(["git-gpa", "cat-file", "--batch-check"], cwd=repo, env=environment, input=b"main\n", check=False)
    damage(idx_too=False)
    damage(idx_too=True)


@pytest.mark.parametrize("program", gits())
def test_no_git_that_we_start_runs_what_the_repository_names(repo: Path, tmp_path: Path, program: str) -> None:
    (tmp_path / "sprung").unlink(missing_ok=True)  # setting the traps may have sprung one
    environment = watched(tmp_path, program)
    everything(repo, environment, tmp_path)
    assert "" == sprung(tmp_path)
    assert STARTED - started(tmp_path) <= MISSED


MISSED = {"symbolic-ref", "worktree"}
"""HEAD is born here, and there is no linked work tree: tests/git/test_archive_v1.py and those of backups start them."""


def test_every_git_command_of_the_package_is_in_the_table() -> None:
    package = Path(gpa_maint.__file__).parent
    sources = "".join(path.read_text() for path in package.rglob("*.py"))
    named = set(re.findall(r'run_git\(\s*\[\s*(?:"--no-replace-objects", )?"([a-z-]+)"', sources)) - {
        "--exec-path",
        "-c",
    }
    assert set() == named - STARTED


def test_the_traps_would_spring(repo: Path, tmp_path: Path) -> None:
    (tmp_path / "sprung").unlink(missing_ok=True)
    git(repo, "pack-refs", "--all", check=False)
    assert "reference-transaction" in sprung(tmp_path)


def test_the_owner_s_hooks_run_in_the_owner_s_pushes(repo: Path, tmp_path: Path, trap: Path) -> None:
    git(repo, "config", "receive.denyDeletes", "false")
    clone = tmp_path / "clone"
    (tmp_path / "sprung").unlink(missing_ok=True)
    git(tmp_path, "clone", "-q", str(repo), str(clone))
    git(clone, "push", "-q", "origin", "HEAD:refs/heads/new", check=False)
    assert "pre-receive" in sprung(tmp_path)


def test_a_link_among_the_refs_leads_no_packing_elsewhere(tmp_path: Path) -> None:
    server = pushed_history(tmp_path / "pushed", HistorySpec(pushes=6, files=8)).server
    other = tmp_path / "other.git"
    shutil.copytree(server, other)
    git(server, "config", "gpa.autoRefs", "1")
    refs = git(other, "for-each-ref").stdout
    for name in ("refs/heads", "packed-refs"):
        here, there = server / name, other / name
        if not there.exists():
            there.write_text("")
        shutil.rmtree(here) if here.is_dir() else here.unlink(missing_ok=True)
        here.symlink_to(there)
        git(server, "update-ref", "refs/tags/loose", next(iter(git(other, "for-each-ref").stdout.split())))
        done = subprocess.run(["git-gpa", "run"], cwd=server, capture_output=True, text=True, check=True)
        assert f"not packing refs: '{here}' is a symbolic link" in done.stderr
        assert refs == git(other, "for-each-ref").stdout
        here.unlink()
        shutil.copytree(there, here) if there.is_dir() else shutil.copy(there, here)
    assert objects_dir(server).is_dir()
