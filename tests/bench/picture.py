"""The picture of the README: the packs of 400 pushes before and after `git gpa repack`, as `git gpa map` draws them."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from histories import HistorySpec, pushed_history

from gpa_maint import commands
from gpa_maint.git import find_object_dir
from gpa_maint.pictures import map as pictures
from gpa_maint.pictures.cells import Cell, cells_of
from gpa_maint.words import count_of, human_size

SPEC = HistorySpec(kind="tree", pushes=400)
WIDTH, HEIGHT, MAP = 1000, 350, 440
FRAME = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif">'


def draw(chart: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo = os.fspath(pushed_history(Path(folder), SPEC).server)
        before = _cells(repo)
        commands.repack(repo)
        commands.expire(repo, grace_seconds=0)
        after = _cells(repo)
    lines = [FRAME, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>', *_half(before, 0, "after 400 pushes")]
    lines += [*_arrow(), *_half(after, WIDTH - MAP, "after git gpa repack, and expire"), "</svg>"]
    chart.write_text("\n".join(lines) + "\n")


def _cells(repo: str) -> list[Cell]:
    settings = find_object_dir(repo).settings
    inventory = commands.survey(repo)
    return cells_of(inventory, page_objects=settings.page_objects, page_bytes=settings.page_bytes, now=int(time.time()))


def _half(cells: list[Cell], x: int, caption: str) -> list[str]:
    objects, size = sum(cell.objects for cell in cells), sum(cell.size for cell in cells)
    numbers = f"{count_of(len(cells), 'pack')}, {objects:,} objects stored, {human_size(size)}"
    return [
        f'<text x="{x + 3}" y="24" font-size="18" font-weight="600" fill="{pictures.INK}">{caption}</text>',
        f'<text x="{x + 3}" y="45" font-size="14" fill="{pictures.FAINT}">{numbers}</text>',
        *pictures.draw_packs(cells, pictures.Box(x, 56, MAP, HEIGHT - 60)),
    ]


def _arrow() -> list[str]:
    return [f'<path d="M{MAP + 25} 190h44v-16l36 28-36 28v-16h-44z" fill="{pictures.FAINT}"/>']
