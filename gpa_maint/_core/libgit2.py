"""csrc/lend/odb_backend.c, wrapped: a reader and a writer, lent to a libgit2 repository."""

from __future__ import annotations

import os

from ._gpa import ffi, lib
from .reader import Reader
from .status import check, new_error
from .writer import CoreWriter


def lend_to_libgit2(
    library: str, repository: int, reader: Reader, writer: CoreWriter | None, *, replace: bool, fsync: bool
) -> None:
    """As gpa_libgit2_attach() in csrc/gpa.h: `repository` is the address of a git_repository.

    The C reader and writer are shared; the objects here have to live as long as the repository, so that forks are safe
    and what waits is sealed at the end. Unsupported for a version of libgit2 that is not known here.
    """
    err = new_error()
    status = lib.gpa_libgit2_attach(
        os.fsencode(library),
        ffi.cast("void *", repository),
        reader.pointer,
        ffi.NULL if writer is None else writer.pointer,
        replace,
        fsync,
        err,
    )
    check(status, err, library)
