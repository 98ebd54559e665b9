"""What happened to the objects that were lost: which packs held them, who made these, and who deleted them."""

from __future__ import annotations

from pathlib import Path

from .check import Findings
from .world import World, idx_objects

LINES = 40


def report(world: World, found: Findings, *, whole: bool) -> str:
    """The packs that held what was lost, with the events around them; with `whole` also the last steps."""
    events = world.trace.read_text(errors="replace").splitlines() if world.trace.exists() else []
    everything = sorted([*events, *world.lines], key=_time)
    (world.folder / "steps.txt").write_text("\n".join(everything) + "\n")
    commands = {line.split()[1]: line for line in events if line.split()[2:3] == ["start"]}
    lines = [f"  the repository is '{world.repo}', all steps and events are in '{world.folder / 'steps.txt'}'"]
    for oid in found.lost[:2]:
        lines.append(f"  {oid} was in")
        for idx in sorted(world.grave.glob("*.idx")):
            if oid in idx_objects(world, idx):
                lines += _story(idx, events, commands)
        loose = f"{oid[:2]}/{oid[2:]}"
        lines += [f"    {line[:200]}{_who(line, commands)}" for line in events if loose in line]
    if whole:
        lines.append("  the last steps, and the last changes of packs and indexes:")
        shown = [line for line in everything if _tells(line)]
        lines += [f"    {line[:300]}" for line in shown[-LINES:]]
    return "\n".join(lines)


def _story(idx: Path, events: list[str], commands: dict[str, str]) -> list[str]:
    lines = [f"    {idx.stem}:"]
    return lines + [
        f"      {line[:160]}{_who(line, commands)}" for line in events if idx.stem in line and " start " not in line
    ]


def _tells(line: str) -> bool:
    """Leave out what readers do, processes that start, loose objects, and our own bookkeeping."""
    if " start " in line or " create " in line or "cat-file" in line or "rev-list" in line:
        return False
    return ("objects/" not in line and "gpa/" not in line) or "/pack/pack-" in line or "multi-pack-index" in line


def _who(line: str, commands: dict[str, str]) -> str:
    words = commands.get(line.split()[1], "").split(" ", 3)[3:]
    return f"   by {words[0][:120]}" if words else ""


def _time(line: str) -> float:
    try:
        return float(line.split(" ", 1)[0])
    except ValueError:
        return 0.0
