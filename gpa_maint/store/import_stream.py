"""Put objects from a stream, as `git cat-file --batch` prints it, into pages: for import-objects.

Memory is constant: small objects are added in groups, a large one while it is read. Each object must have the id that
the stream says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from ..base.progress import ReportProgress
from ..base.tuples import NamedTuple
from ..errors import GpaError
from ..model.copies import ImportedObjects
from ..repo.objdir import ObjectDir
from .page_store import PageStore
from .writer import GROUP_BYTES, GROUP_OBJECTS, Writer

IMPORTING = "Importing objects"
HEADER_BYTES = 65536
STREAM_BYTES = 8 << 20
"""Bytes; a larger object is never in memory as a whole."""
SIZE_MOST = 1 << 62
"""Bytes; a writer accepts no larger object."""


class BadStream(GpaError):
    """The input is not what `git cat-file --batch` prints."""


class Head(NamedTuple):
    """The line before an object; `oid` in hex."""

    oid: str
    kind: str
    size: int


class Content:
    """The rest of an object in the stream."""

    def __init__(self, stream: IO[bytes], head: Head) -> None:
        self._stream = stream
        self._head = head
        self._left = head.size

    def read(self, size: int, /) -> bytes:
        piece = self._stream.read(min(size, self._left))
        if not piece and self._left:
            raise BadStream(f"the input ends within object {self._head.oid}, {self._left} bytes early")
        self._left -= len(piece)
        return piece

    def read_all(self) -> bytes:
        return b"".join(iter(lambda: self.read(STREAM_BYTES), b""))

    def end(self) -> None:
        """Read the newline behind the content."""
        if self._stream.read(1) != b"\n":
            raise BadStream(f"object {self._head.oid} is not {self._head.size} bytes long")


def import_stream(
    objdir: ObjectDir, stream: IO[bytes], *, durability: str | None = None, report: ReportProgress | None = None
) -> ImportedObjects:
    """Add every object of the stream. If the stream turns out to be bad, the objects before the error stay.

    `missing` has git's lines about missing objects and ambiguous names. Raises BadStream for any other line, and for an
    object with another id than the stream says.
    """
    with PageStore.open(objdir.objects, object_format=objdir.object_format) as store:
        writer = store.writer(durability=durability)
        importer = _Importer(writer, report)
        with writer.batch():
            for head, content in _objects(stream, importer.missing):
                importer.take(head, content)
            importer.flush()
        stats = writer.stats()
        return ImportedObjects(
            object_count=importer.done,
            added_count=stats.object_count,
            page_count=stats.page_count,
            missing=tuple(importer.missing),
        )


class _Importer:
    def __init__(self, writer: Writer, report: ReportProgress | None) -> None:
        self.done = 0
        self.missing: list[str] = []
        self._writer = writer
        self._report = report
        self._heads: list[Head] = []
        self._contents: list[tuple[str, bytes]] = []
        self._bytes = 0

    def take(self, head: Head, content: Content) -> None:
        if head.size > STREAM_BYTES:
            _check_ids([head], [self._writer.add_stream(head.kind, head.size, content, check=False)])
            self._count(1)
        else:
            self._heads.append(head)
            self._contents.append((head.kind, content.read_all()))
            self._bytes += head.size
        content.end()
        if self._bytes >= GROUP_BYTES or len(self._heads) == GROUP_OBJECTS:
            self.flush()

    def flush(self) -> None:
        heads, contents = self._heads, self._contents
        self._heads, self._contents, self._bytes = [], [], 0
        _check_ids(heads, self._writer.add_many(contents, check=False))
        self._count(len(heads))

    def _count(self, more: int) -> None:
        self.done += more
        if self._report and more:
            self._report(IMPORTING, self.done, self.done)


def _check_ids(heads: list[Head], oids: list[bytes]) -> None:
    for head, oid in zip(heads, oids, strict=True):
        if head.oid != oid.hex():
            raise BadStream(f"object {head.oid} of the input has the id {oid.hex()}")


def _objects(stream: IO[bytes], missing: list[str]) -> Iterator[tuple[Head, Content]]:
    while line := stream.readline(HEADER_BYTES):
        head = _parse(line)
        if isinstance(head, str):
            missing.append(head)
        else:
            yield head, Content(stream, head)


def _parse(line: bytes) -> Head | str:
    """Return the parsed line of an object, or git's message about a name without an object."""
    text = line.decode("utf-8", "surrogateescape")
    words = text.split()
    if text.endswith("\n") and len(words) >= 2 and words[-1] in ("missing", "ambiguous"):
        return text.strip()
    if not (text.endswith("\n") and len(words) == 3 and words[2].isascii() and words[2].isdigit()):
        raise BadStream(f"the input has '{text.strip()[:100]}' where git cat-file --batch prints an object")
    if words[1] not in ("commit", "tree", "blob", "tag") or len(words[2]) > 19 or int(words[2]) > SIZE_MOST:
        raise BadStream(f"the input has an object of type '{words[1]}' and size {words[2]}")
    return Head(words[0], words[1], int(words[2]))
