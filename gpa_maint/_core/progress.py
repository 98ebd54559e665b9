"""How far a call into the C core has come, and how another thread ends it."""

from __future__ import annotations

from ._gpa import ffi

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any


class Progress:
    """Counts objects while the C core works; another thread may read `done`, or stop the call.

    One value may go through several calls, one after the other: `done` adds up, and once stopped it stays so.
    """

    def __init__(self) -> None:
        self.pointer = ffi.new("gpa_progress *")

    @property
    def done(self) -> int:
        return int(self.pointer.done)

    @property
    def is_stopped(self) -> bool:
        return bool(self.pointer.stop)

    def stop(self) -> None:
        """Ask the call that counts here to end soon; most then raise Stopped."""
        self.pointer.stop = 1


def pointer_of(progress: Progress | None) -> Any:
    """What the C functions take: a gpa_progress *, or NULL."""
    return ffi.NULL if progress is None else progress.pointer
