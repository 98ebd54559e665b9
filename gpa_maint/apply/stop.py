"""How a run is asked to end before it is done, from another thread or a timer."""

from __future__ import annotations

from .._core.progress import Progress

__all__ = ["Progress", "Stop"]


class Stop:
    """A request to stop: the C core looks at `progress` between two windows of copies, Python between two steps.

    `why` is empty until somebody has asked.
    """

    def __init__(self) -> None:
        self.progress = Progress()
        self.why = ""

    def request(self, why: str) -> None:
        """Ask the run to end soon; the first reason stays. Any thread may call it, a signal handler too."""
        self.why = self.why or why
        self.progress.stop()
