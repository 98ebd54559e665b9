"""Delete files without waiting for the disk to free their blocks.

A descriptor is kept open and closed by another thread, because with the mount option `discard` each unlink would block.
"""

from __future__ import annotations

import os
from contextlib import suppress

from .. import fs
from .._core.base import close_all

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from threading import Thread

TOGETHER = 32
"""Number of files that one thread frees."""
THREADS = 4


class Freeing:
    """Removes names one after the other, in the caller's order, and closes the deleted files in threads.

    At the end all blocks are free. If the process is killed, the kernel closes the files.
    """

    def __init__(self) -> None:
        self._held: list[int] = []
        self._folders: dict[str, int | None] = {}
        self._threads: list[Thread] = []

    def __enter__(self) -> Freeing:
        return self

    def unlink(self, path: str) -> bool:
        """Remove a name as fs.unlink() does. A file that cannot be opened is freed at once."""
        if len(self._held) >= TOGETHER:
            self._free()
        folder, _, name = path.rpartition("/")
        try:
            fd = self._folder(folder)
        except FileNotFoundError:
            return False
        name = path if fd is None else name
        with suppress(OSError):
            self._held.append(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd))
        return fs.unlink_in(fd, name, path)

    def _folder(self, path: str) -> int | None:
        """Return a descriptor of a file's folder, which stays open for further files; few are open at a time."""
        if path not in self._folders:
            if len(self._folders) == THREADS:
                oldest = self._folders.pop(next(iter(self._folders)))
                close_all([oldest] if oldest is not None else [])
            self._folders[path] = fs.open_to_remove(path)
        return self._folders[path]

    def _free(self) -> None:
        from threading import Thread  # start-up cost: few delete so many

        if len(self._threads) == THREADS:
            self._threads.pop(0).join()
        held, self._held = self._held, []
        thread = Thread(target=close_all, args=(held,))
        try:
            thread.start()
        except RuntimeError:  # the limit of threads is reached
            close_all(held)
        else:
            self._threads.append(thread)

    def __exit__(self, *_: object) -> None:
        close_all([*self._held, *(fd for fd in self._folders.values() if fd is not None)])
        for thread in self._threads:
            thread.join()
