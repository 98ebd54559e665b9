"""What does it cost, per push, to keep a server in order while pushes arrive: time, and bytes written?

The packs of the workload arrive in the order in which they were pushed, and after every EVERY of them each way of
upkeep runs once, as a hook would start it. Written are all files that are new in objects/pack afterwards.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from gpa_maint.setup import scripts
from tests.bench.measure import Cost, run

EVERY = 10
WAYS: dict[str, Sequence[Sequence[str]]] = {
    "git-gpa run": [["git-gpa", "run", "--auto"]],
    "git repack --geometric": [["git", "repack", "--geometric=2", "-d", "--write-midx", "-q"]],
    "git incremental-repack": [["git", "maintenance", "run", "--task=incremental-repack", "--quiet"]],
}


def bench(source: Path, work: Path, *, pairs: int, title: str) -> None:
    """Once each: a run has as many steps as others have pairs."""
    packs = sorted((source / "objects/pack").glob("*.pack"), key=lambda path: path.stat().st_mtime)
    large = packs[0] if packs[0].stat().st_size > 16 << 20 else None
    pushes = packs[1:] if large else packs
    pushed = sum(path.stat().st_size for path in pushes)
    print(f"\n{title}: upkeep after every {EVERY} pushes, {pushed / len(pushes) / 1e3:.0f} kB a push")
    print(f"  {'':26} {'ms a push':>10} {'CPU ms':>8} {'slowest':>9} {'pushed + written':>18} {'packs, most':>12}")
    hook = _hook(work.with_name("hook"))
    for name, commands in {"git-gpa, by its hook": [["sh", hook]], **WAYS}.items():
        repo = _empty_copy(source, work, large)
        costs, written, most = _replay(repo, pushes, commands)
        wall, cpu = (sum(getattr(cost, what) for cost in costs) / len(pushes) for what in ("wall", "cpu"))
        ratio = (pushed + written) / pushed
        slowest = max(cost.wall for cost in costs)
        print(f"  {name:26} {wall:10.2f} {cpu:8.2f} {slowest:9.0f} {ratio:16.2f} x {most:12}", flush=True)


def _hook(path: Path) -> str:
    """What `git gpa install` puts in place, but that it waits for the run: all of it shall count."""
    text = scripts.render(shutil.which("git-gpa") or "")
    for word in (b" --detach", b" &\n"):
        assert text.count(word) == 1
        text = text.replace(word, b"\n" if word.endswith(b"\n") else b"")
    path.write_bytes(text)
    return os.fspath(path)


def _empty_copy(source: Path, target: Path, large: Path | None) -> Path:
    """The repository before the first push: all but the pushed packs."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=lambda folder, names: names if folder.endswith("objects/pack") else [])
    if large:
        _bring(target, large)
    subprocess.run(["git", "config", "gpa.expireGrace", "now"], cwd=target, check=True)
    subprocess.run(["git", "multi-pack-index", "write"], cwd=target, check=bool(large), capture_output=True)
    return target


def _bring(repo: Path, pack: Path) -> None:
    """As receive-pack does: files of their own, whose blocks are free once they are deleted, and synced."""
    for path in (pack, pack.with_suffix(".idx")):
        with open(shutil.copy2(path, repo / "objects/pack"), "rb") as file:
            os.fsync(file.fileno())


def _replay(repo: Path, pushes: Sequence[Path], commands: Sequence[Sequence[str]]) -> tuple[list[Cost], int, int]:
    """The cost of each upkeep, the bytes that all have written, and the most packs that were there."""
    folder = repo / "objects/pack"
    costs, written, most = [], 0, 0
    for first in range(0, len(pushes), EVERY):
        for pack in pushes[first : first + EVERY]:
            _bring(repo, pack)
        before = {path.stat().st_ino for path in folder.iterdir()}
        most = max(most, len(list(folder.glob("*.idx"))))
        costs.append(run(commands, repo))
        written += sum(path.stat().st_size for path in folder.iterdir() if path.stat().st_ino not in before)
    return costs, written, most
