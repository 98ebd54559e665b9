"""The reader and the writer for cat-file and for libgit2 (csrc/lend/gpa_lend.h)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..base.tuples import NamedTuple
from ._gpa import ffi, lib
from .base import check, new_error
from .read import Reader

if TYPE_CHECKING:
    from .write import CoreWriter

TEXT = lib.GPA_FIELD_TEXT
FIELDS = {
    "objectname": lib.GPA_FIELD_NAME,
    "objecttype": lib.GPA_FIELD_TYPE,
    "objectsize": lib.GPA_FIELD_SIZE,
    "objectsize:disk": lib.GPA_FIELD_DISK_SIZE,
    "deltabase": lib.GPA_FIELD_DELTA_BASE,
    "rest": lib.GPA_FIELD_REST,
}


def _bytes(data: bytes) -> tuple[Any, int]:
    """Return the two fields of a gpa_bytes."""
    return ffi.from_buffer("unsigned char[]", data), len(data)


class BatchOptions(NamedTuple):
    """How to answer. `fields` are the parts of an object's line: names from FIELDS, or "" with a text.

    `replaced`: see git-replace(1). `are_known`: all objects asked for exist.
    """

    fd: int
    fields: Sequence[tuple[str, bytes]]
    with_content: bool = False
    buffered: bool = False
    threads: int = 1
    delimiter: bytes = b"\n"
    are_known: bool = False
    replaced: Mapping[str, str] = {}


class Batch:
    """Answers of cat-file about the objects of a reader, written to a descriptor. For one thread."""

    def __init__(self, reader: Reader, wanted: BatchOptions) -> None:
        self._reader = reader
        fields, replaced = wanted.fields, wanted.replaced
        texts = [ffi.new("unsigned char[]", text) for _, text in fields]
        made = ffi.new("gpa_field[]", len(fields))
        for place, (name, text) in enumerate(fields):
            made[place].kind = FIELDS[name] if name else TEXT
            made[place].text = (texts[place], len(text))
        rows = ffi.new(
            "unsigned char[]", b"".join(bytes.fromhex(one + other) for one, other in sorted(replaced.items()))
        )
        options = ffi.new("gpa_batch_options *")
        options.fd, options.with_content = wanted.fd, wanted.with_content
        options.buffered, options.threads = wanted.buffered, wanted.threads
        options.delimiter, options.with_rest = wanted.delimiter[0], any(name == "rest" for name, _ in fields)
        options.are_known = wanted.are_known
        options.field_count, options.fields = len(fields), made
        options.replaced_count, options.replaced = len(replaced), rows
        out, err = ffi.new("gpa_batch **"), new_error()
        check(lib.gpa_batch_new(out, reader._pointer, options, err), err, reader.dirs[0])
        self._borrowed = (texts, made, rows)
        self._pointer = ffi.gc(out[0], lib.gpa_batch_free)
        self._used, self._done, self._err = ffi.new("size_t *"), ffi.new("uint32_t *"), err

    def answer_lines(self, lines: bytes) -> tuple[int, bool]:
        """Answer whole lines. Return how many bytes were answered, and whether the next line has no whole id.

        Errors are about the object of the line after `used`.
        """
        status = lib.gpa_batch_lines(self._used, self._pointer, _bytes(lines), self._err)
        if status != lib.GPA_ENOTFOUND:
            self._reader._check(status, self._err)
        return int(self._used[0]), bool(status == lib.GPA_ENOTFOUND)

    @property
    def used(self) -> int:
        """Return the bytes that the last answer_lines() has answered, also if it failed."""
        return int(self._used[0])

    def answer_objects(self, oids: bytes, *, name: bytes = b"", rest: bytes = b"") -> None:
        """Answer for concatenated raw oids. A missing object is called `name`."""
        count = len(oids) // self._reader.hash_size
        text, more = _bytes(name), _bytes(rest)
        status = lib.gpa_batch_objects(self._done, self._pointer, oids, count, text, more, self._err)
        self._reader._check(status, self._err)

    def say(self, text: bytes) -> None:
        """Answer with a text, at once."""
        self._reader._check(lib.gpa_batch_say(self._pointer, _bytes(text), self._err), self._err)

    def flush(self) -> None:
        self._reader._check(lib.gpa_batch_flush(self._pointer, self._err), self._err)


def lend_to_libgit2(
    library: str, repository: int, reader: Reader, writer: CoreWriter | None, *, replace: bool, fsync: bool
) -> None:
    """Let `repository`, the address of a git_repository, read through `reader` (see gpa_libgit2_attach()).

    `reader` and `writer` must live as long as the repository, so that forks are safe and open pages are sealed at the
    end. Unsupported for a version of libgit2 that is not known here.
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
