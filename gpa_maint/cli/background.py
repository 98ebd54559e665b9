"""Code that `git gpa run` for one and for many repositories shares: plans in words, and work that signals can stop."""

from __future__ import annotations

import signal
from collections.abc import Callable

from gpa_maint.base.progress import StopRequest
from gpa_maint.base.threads import in_thread
from gpa_maint.cli.ui import count_of
from gpa_maint.errors import Stopped
from gpa_maint.model.plans import RunPlan, RunStep

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import TypeVar

    Answer = TypeVar("Answer")


def describe_plan(plan: RunPlan) -> str:
    """Print one line for each step, in the order in which they would be done."""
    return "\n".join(_line(step) for step in plan.steps)


def _line(step: RunStep) -> str:
    packs = f": {count_of(len(step.packs), 'pack')}" if step.packs else ""
    return f"{step.verb:<7} {'do  ' if step.due else 'skip'}  {step.reason}{packs}"


def stoppable(stop: StopRequest, work: Callable[[], Answer]) -> Answer:
    """Run the work in its own thread, so that signals are handled while the C core works."""

    def ask(number: int, _frame: object) -> None:
        stop.request(signal.Signals(number).name)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # ignored, as under nohup
            signal.signal(number, ask)
    try:
        return in_thread(work)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def until_signal(work: Callable[[StopRequest], Answer]) -> tuple[Answer | None, int]:
    """Run `work`, which a signal asks to stop. Return its answer and an exit status.

    The status is 0 without a signal. If the work stopped early, there is no answer, and the status is 128 plus the
    signal's number, as in git.
    """
    stop = StopRequest()
    answer = None
    try:
        answer = stoppable(stop, lambda: work(stop))
    except Stopped:
        if not stop.why:
            raise
    return answer, 128 + signal.Signals[stop.why] if stop.why else 0
