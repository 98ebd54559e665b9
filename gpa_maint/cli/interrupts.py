"""Make Ctrl-C end the program as it ends git: at once, without a traceback, by the signal.

The import of this module does so for the time until a verb begins, when there is nothing to tidy up. Therefore it is
imported first.
"""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import NoReturn

IS_PROGRAM = os.path.basename(sys.argv[0]) in ("git-gpa", "main.py")
"""Whether this process is the command itself, and not a program that imports it."""

if IS_PROGRAM and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Ended(KeyboardInterrupt):
    """The signal `number` has asked the program to end. As after Ctrl-C, it tidies up before it ends."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def tidy_up_from_now_on() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP raise Ended, unless the caller of the program has them ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if IS_PROGRAM and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _frame: object) -> NoReturn:
    raise Ended(number)


def end_by(number: int) -> NoReturn:
    """End the process by a signal, as git does; the shell then reports 128 plus its number."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
