"""What goes on beside those who read and write through the integrations."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from histories import History, send_push
from oracle import git

from gpa_maint import commands

PAUSE = 0.005
"""Seconds between two turns of a worker: maintenance in the same process cannot catch up with one that never pauses."""


def rewrite_beside(history: History, workers: Sequence[Callable[[], None]]) -> None:
    """Call each worker again and again, in a thread of its own, while the server's packs are rewritten.

    Pushes come, our verbs merge and delete without a grace, and so does stock git. Each worker has at least one turn;
    what one raises is raised here.
    """
    done, errors = threading.Event(), []

    def run(worker: Callable[[], None]) -> None:
        try:
            worker()
            while not done.wait(PAUSE):
                worker()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[worker]) for worker in workers]
    for thread in threads:
        thread.start()
    try:
        for number, push in enumerate(history.waiting):
            send_push(history.client, history.server, push)
            commands.repack(str(history.server))
            commands.expire(str(history.server), grace_seconds=0)
            if number % 3 == 2:
                git(history.server, "repack", "-q", "-a", "-d", "-k")
            if errors:
                break
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if errors:
        raise errors[0]
