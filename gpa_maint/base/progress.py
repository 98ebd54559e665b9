"""How a run is asked to end before it is done, from another thread or a timer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from .._core.progress import Progress
from ..errors import Stopped

__all__ = ["Progress", "Stop", "until_stopped"]

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import TypeVar

    Item = TypeVar("Item")


class Stop:
    """A request to stop: the C core looks at `progress` between two windows of copies, Python between two steps.

    `why` is empty until somebody has asked.
    """

    def __init__(self) -> None:
        self.progress = Progress()
        self.why = ""
        self._parts: list[Stop] = []

    def request(self, why: str) -> None:
        """Ask the run to end soon; the first reason stays. Any thread may call it, a signal handler too."""
        self.why = self.why or why
        self.progress.stop()
        for part in tuple(self._parts):
            part.request(why)

    @contextmanager
    def part(self) -> Iterator[Stop]:
        """A request of its own for one of several runs, which ends when this one does."""
        stop = Stop()
        self._parts.append(stop)
        if self.why:  # it was asked for just now
            stop.request(self.why)
        try:
            yield stop
        finally:
            self._parts.remove(stop)


def until_stopped(items: Iterable[Item], stop: Progress | None) -> Iterator[Item]:
    """The items, for a loop in Python that may be long. Stopped, before the next one, when that was asked for."""
    for item in items:
        if stop is not None and stop.is_stopped:
            raise Stopped
        yield item
