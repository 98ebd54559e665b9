"""The picture of the README: the packs of 400 pushes before and after `git gpa repack`, as `git gpa map` draws them."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

from histories import HistorySpec, pushed_history

from gpa_maint import commands
from gpa_maint.base.text import count_of, human_size
from gpa_maint.pictures.cells import Cell, cells_of
from gpa_maint.pictures.map import dark_style, draw_packs
from gpa_maint.pictures.svg import Box, fill, frame
from gpa_maint.repo.discover import find_object_dir

SPEC = HistorySpec(kind="tree", pushes=400)
WIDTH, HEIGHT, MAP = 1000, 350, 440
LABEL = "The packs of 400 pushes before and after git gpa repack and expire"


def draw(chart: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        repo = os.fspath(pushed_history(Path(folder), SPEC).server)
        before = _cells(repo)
        commands.repack(repo)
        commands.expire(repo, grace_seconds=0)
        after = _cells(repo)
    body = [*_half(before, 0, "after 400 pushes"), *_arrow()]
    body += _half(after, WIDTH - MAP, "after git gpa repack, and expire")
    chart.write_text(frame(WIDTH, HEIGHT, LABEL, body, more=dark_style()))


def _cells(repo: str) -> list[Cell]:
    settings = find_object_dir(repo).settings
    inventory = commands.survey(repo)
    return cells_of(inventory, page_objects=settings.page_objects, page_bytes=settings.page_bytes, now=int(time.time()))


def _half(cells: list[Cell], x: int, caption: str) -> list[str]:
    objects, size = sum(cell.objects for cell in cells), sum(cell.size for cell in cells)
    numbers = f"{count_of(len(cells), 'pack')}, {objects:,} objects stored, {human_size(size)}"
    return [
        f'<text x="{x + 3}" y="24" font-size="18" font-weight="600">{caption}</text>',
        f'<text x="{x + 3}" y="45" font-size="14" {fill("faint")}>{numbers}</text>',
        *draw_packs(cells, Box(x, 56, MAP, HEIGHT - 60), sums=False),
    ]


def _arrow() -> list[str]:
    return [f'<path d="M{MAP + 25} 190h44v-16l36 28-36 28v-16h-44z" {fill("faint")}/>']
