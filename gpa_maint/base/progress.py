"""Progress of a long call, and a request from another thread or a timer to stop it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from .._core.base import Progress
from ..errors import Stopped

__all__ = ["Progress", "ReportProgress", "StopRequest", "time_limit", "until_stopped"]

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import TypeVar

    Item = TypeVar("Item")

ReportProgress = Callable[[str, int, int], None]
"""A function that is called now and then with a title and two numbers: the finished part, and the total."""


class StopRequest:
    """A request to stop: the C core looks at `progress` between two windows of copies, Python between two steps.

    `why` is empty until a stop is requested.
    """

    def __init__(self) -> None:
        self.progress = Progress()
        self.why = ""
        self._parts: list[StopRequest] = []

    def request(self, why: str) -> None:
        """Ask the run to end soon; the first reason stays. Any thread may call it, a signal handler too."""
        self.why = self.why or why
        self.progress.stop()
        for part in tuple(self._parts):
            part.request(why)

    @contextmanager
    def part(self) -> Iterator[StopRequest]:
        """Yield a separate request for one of several runs; it stops when this one does."""
        stop = StopRequest()
        self._parts.append(stop)
        if self.why:  # it was just requested
            stop.request(self.why)
        try:
            yield stop
        finally:
            self._parts.remove(stop)


@contextmanager
def time_limit(stop: StopRequest, max_seconds: float | None) -> Iterator[None]:
    """Request a stop after `max_seconds`, unless the block ends before; None: never."""
    if max_seconds is None:
        yield
        return
    from threading import Timer  # start-up cost

    timer = Timer(max_seconds, stop.request, ["time limit"])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def until_stopped(items: Iterable[Item], progress: Progress | None) -> Iterator[Item]:
    """Yield the items of a long loop. Raise Stopped before the next one if that was requested."""
    for item in items:
        if progress is not None and progress.is_stopped:
            raise Stopped
        yield item
