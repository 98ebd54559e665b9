"""Status codes of the C core as exceptions: the only place that knows both."""

from __future__ import annotations

import errno

from ..errors import Corrupt, FileGone, GpaError, ObjectMissing, Stopped, SystemFailed, Unsupported
from ._gpa import ffi, lib

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any


def new_error() -> Any:
    """A gpa_error for one call."""
    return ffi.new("gpa_error *")


def check(status: int, err: Any, path: str) -> None:
    """Return when `status` is GPA_OK; otherwise raise the error it stands for, about the file `path`."""
    if status == lib.GPA_OK:
        return
    text = ffi.string(err.text).decode("utf-8", "replace")
    if status == lib.GPA_ECORRUPT:
        offset = None if err.offset == lib.GPA_NO_OFFSET else err.offset
        raise Corrupt(path, text, offset=offset, git_dies=bool(err.git_dies))
    if status == lib.GPA_ENOTFOUND:
        raise ObjectMissing(f"'{path}': {text}")
    if status == lib.GPA_EUNSUPPORTED:
        raise Unsupported(f"unsupported '{path}': {text}")
    if status == lib.GPA_ESYS:
        what, _, why = text.partition(": ")
        kind = FileGone if err.sys_errno == errno.ENOENT else SystemFailed
        raise kind(f"{what} '{path}': {why}", path=path, errno=err.sys_errno)
    if status == lib.GPA_ESTOPPED:
        raise Stopped
    if status == lib.GPA_ENOMEM:
        raise MemoryError(f"'{path}': {text}")
    raise GpaError(f"'{path}': unknown status {status}: {text}")
