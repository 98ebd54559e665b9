"""Ctrl-C ends the program as it ends git: at once, without a traceback, by the signal.

Importing this module is what does it for the time until a verb begins, when there is nothing to tidy up: so it is
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
"""Not a program that imports this one, whose signals are its own."""

if IS_PROGRAM and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def tidy_up_from_now_on() -> None:
    """Let Ctrl-C raise KeyboardInterrupt, unless the caller of the program has it ignored."""
    if IS_PROGRAM and signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_by(number: int) -> NoReturn:
    """End the process by a signal, as git does; the shell has 128 and its number as the exit status."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)
