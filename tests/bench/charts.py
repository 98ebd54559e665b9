"""Charts as SVG files, the same bytes for the same figures; the only module that needs matplotlib."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib import pyplot

matplotlib.use("svg")
# Text stays text, and neither a date nor random ids make a file differ from one run to the next.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "git-gpa", "font.size": 9})


def figure(rows: int, *, title: str) -> tuple[Any, Any]:
    """A figure with `rows` plots below each other that share their x axis, and these plots."""
    canvas, plots = pyplot.subplots(rows, 1, sharex=True, figsize=(10, 3.2 * rows), layout="constrained")
    canvas.suptitle(title)
    for plot in plots:
        plot.grid(alpha=0.3)
        plot.spines[["top", "right"]].set_visible(False)
        plot.set_prop_cycle(color=pyplot.get_cmap("tab20").colors)
    return canvas, plots


def save(canvas: Any, path: Path) -> None:
    """Write the figure, and let go of it."""
    canvas.savefig(path, metadata={"Date": None})
    pyplot.close(canvas)
