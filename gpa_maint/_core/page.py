"""Objects into a page, loose ones and such as are at hand, and what loose headers say. One thread at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType

from ..errors import GpaError
from ._gpa import ffi, lib
from .files import ALGORITHMS, c_strings, hash_size
from .progress import Progress, pointer_of
from .status import check, new_error

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any, Self

TYPES = {lib.GPA_COMMIT: "commit", lib.GPA_TREE: "tree", lib.GPA_BLOB: "blob", lib.GPA_TAG: "tag"}
CODES = {kind: code for code, kind in TYPES.items()}
Buffer = bytes | bytearray | memoryview


def loose_name(oid: str) -> str:
    """Where the loose object `oid` (hex) lies below the object directory."""
    return f"{oid[:2]}/{oid[2:]}"


def loose_heads(
    objects: str, objects_fd: int, oids: Sequence[str], progress: Progress | None = None
) -> list[tuple[str, int]]:
    """Type and size of each loose object (hex id) by its header; the type is "" where that cannot be read."""
    heads = ffi.new("gpa_loose_head[]", max(1, len(oids)))
    err = new_error()
    paths = c_strings([loose_name(oid) for oid in oids])
    status = lib.gpa_loose_heads(heads, len(oids), objects_fd, paths, pointer_of(progress), err)
    check(status, err, objects)
    return [(TYPES.get(heads[place].type, ""), heads[place].size) for place in range(len(oids))]


class BadLoose(GpaError):
    """A loose object is damaged, gone or cannot be read; `cause` says what is wrong with which file."""

    def __init__(self, cause: GpaError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class PageWriter:
    """A pack of whole objects, written once from its start to `pack_fd`, which is the file `target`."""

    def __init__(self, pack_fd: int, target: str, object_format: str, *, object_count: int, level: int) -> None:
        """For exactly `object_count` objects, deflated with zlib's `level`."""
        self._target = target
        self._object_format = object_format
        out = ffi.new("gpa_page **")
        err = new_error()
        status = lib.gpa_page_new(out, pack_fd, ALGORITHMS[object_format], level, object_count, err)
        check(status, err, target)
        self._pointer: Any = out[0]

    def add(self, oid: bytes, kind: str, content: Buffer, progress: Progress | None = None) -> None:
        """Add an object that is at hand. Corrupt, with the page as it was, when the content has another id.

        After SystemFailed about `target`, or Stopped, the page is half-written: begin it again.
        """
        err = new_error()
        held = ffi.from_buffer("unsigned char[]", content)
        borrowed = ffi.new("gpa_bytes *", (held, len(held)))
        status = lib.gpa_page_add(self._pointer, oid, CODES[kind], borrowed[0], pointer_of(progress), err)
        check(status, err, self._target if err.source < 0 else oid.hex())

    def finish(self, idx_fd: int) -> str:
        """End the pack, write its idx, and give the pack's trailer (hex)."""
        trailer = ffi.new("unsigned char[]", lib.GPA_OID_MAX)
        err = new_error()
        check(lib.gpa_page_finish(self._pointer, idx_fd, trailer, err), err, self._target)
        return bytes(ffi.buffer(trailer, hash_size(self._object_format))).hex()

    def close(self) -> None:
        lib.gpa_page_free(self._pointer)
        self._pointer = ffi.NULL

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


class LoosePageWriter(PageWriter):
    """A page of loose objects."""

    def __init__(
        self,
        pack_fd: int,
        target: str,
        objects: str,
        objects_fd: int,
        object_format: str,
        *,
        object_count: int,
        level: int,
    ) -> None:
        """As PageWriter; the loose objects are below `objects`, of which `objects_fd` is a descriptor."""
        super().__init__(pack_fd, target, object_format, object_count=object_count, level=level)
        self._objects = objects
        self._objects_fd = objects_fd

    def add_loose(self, oid: str, progress: Progress | None = None) -> None:
        """Add a loose object (hex id). Whatever is raised, the page is then half-written: begin it again.

        BadLoose about the loose file, SystemFailed about `target`, Stopped.
        """
        self._take(lib.gpa_page_add_loose, oid, progress)

    def check_loose(self, oid: str, progress: Progress | None = None) -> None:
        """Raise what add_loose() would about the loose file, and write nothing; also where the page is half-written."""
        self._take(lib.gpa_page_check_loose, oid, progress)

    def _take(self, call: Callable[..., int], oid: str, progress: Progress | None) -> None:
        err = new_error()
        name, raw = loose_name(oid), bytes.fromhex(oid)
        if len(raw) != hash_size(self._object_format):
            raise ValueError(oid)
        status = call(self._pointer, raw, self._objects_fd, name.encode(), pointer_of(progress), err)
        if status == lib.GPA_OK or err.source < 0:
            check(status, err, self._target)
            return
        try:
            check(status, err, f"{self._objects}/{name}")
        except GpaError as cause:
            raise BadLoose(cause) from cause
