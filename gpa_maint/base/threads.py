"""Run a call in its own thread, so that the caller can watch it, and signals are handled while the C core works.

concurrent.futures is not used, because its import costs a command more than the rest of its start.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import TypeVar

    Answer = TypeVar("Answer")

POLL_SECONDS = 0.1
SIGNAL_SECONDS = 0.5
"""A signal that comes just before the wait begins does not interrupt it: its handler runs when the wait ends."""


def in_thread(
    work: Callable[[], Answer], *, watch: Callable[[], None] | None = None, stop: Callable[[], None] | None = None
) -> Answer:
    """Return the result of `work`, or raise its error; meanwhile call `watch` ten times a second.

    If the wait is interrupted (Ctrl-C), `stop` must make `work` end soon; its end is awaited in any case.
    """
    answers: list[Answer] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            answers.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(POLL_SECONDS if watch else SIGNAL_SECONDS)
            if watch:
                watch()
    except BaseException:
        if stop:
            stop()
        thread.join()
        raise
    if errors:
        raise errors[0]
    return answers[0]
