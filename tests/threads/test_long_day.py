"""Installed once, and nobody thinks of it again: no pusher and no reader sees an error, and packs stay few."""

from __future__ import annotations

import statistics
from pathlib import Path

import pytest
from histories import init_server
from long_day import Day, live, no_orphans, packs_named
from oracle import fsck, git
from packwriter import Whole, add_pack


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A server with maintenance installed; small limits, so that a short day has many runs."""
    repo = init_server(tmp_path / "server.git")
    blob = Whole(kind="blob", content=b"the first file\n")
    add_pack(repo, [blob])
    tree = git(repo, "mktree", input=f"100644 blob {git_oid(repo, blob)}\tfile\n").stdout.strip()
    commit = git(repo, "commit-tree", "-m", "first", tree).stdout.strip()
    git(repo, "update-ref", "refs/heads/main", commit)
    git(repo, "symbolic-ref", "HEAD", "refs/heads/main")
    git(repo, "gpa", "install")
    return repo


def git_oid(repo: Path, blob: Whole) -> str:
    return git(repo, "hash-object", "--stdin", input=blob.content.decode()).stdout.strip()


def limits(repo: Path, **settings: str) -> None:
    for key, value in settings.items():
        git(repo, "config", f"gpa.{key}", value)


def judge(day: Day, most_packs: int) -> None:
    """I2, I7, I10"""
    print(
        f"\n{dict(day.done)}, at most {day.most_packs} live packs, {len(packs_named(day.server))} at the end; a push "
        f"took {statistics.median(day.seconds) * 1e3:.0f} ms (median), {max(day.seconds) * 1e3:.0f} ms at most"
    )
    assert [] == day.errors
    assert day.pushes == len(day.pushed) == day.done["push"]
    fsck(day.server)
    names = "".join(f"{commit}\n" for commit in day.pushed)
    assert "missing" not in git(day.server, "cat-file", "--batch-check", input=names).stdout
    assert most_packs >= day.most_packs
    assert "merged" in (day.server / "gpa" / "log").read_text()
    assert all(day.done[who] for who in ("clone", "fetch", "pygit2", "dulwich", "cat-file"))


def test_a_short_day(server: Path, tmp_path: Path) -> None:
    """I2, I7, I10"""
    limits(server, pageObjects="60", autoPages="8", expireGrace="5")
    with no_orphans(server):
        day = live(server, tmp_path, pushes=160, gc_every=6)
    judge(day, most_packs=80)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_long_day(server: Path, tmp_path: Path) -> None:
    """I2, I7, I10. 5,000 pushes; a grace of a minute stands for the hour of a real one."""
    limits(server, expireGrace="1.minute")
    with no_orphans(server):
        day = live(server, tmp_path, pushes=5000, gc_every=60)
    judge(day, most_packs=400)
