"""Writer: put new objects into pages, from any thread. PageStore.writer() opens it.

Objects wait in an open page. A journal in gpa/journal/ has all acknowledged objects of it (docs/formats/journal.md).
I1, I4: Sealing makes the open page an ordinary pack. I9: An existing object is not written again; the mtime of its file
is set to now. Objects of dead writers are put into pages when a writer is opened.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from .. import fs
from .._core.read import Reader
from .._core.write import BLOB, NUMBERS, CoreWriter, WriterOptions, WriterStats
from ..base.arguments import check as check_argument
from ..base.arguments import content_of, raw_oid
from ..errors import Corrupt, GpaError, ObjectMissing
from ..model.copies import SaveReport
from ..repo.discover import refuse_quarantine
from ..repo.objdir import ObjectDir
from ..state.paths import JOURNAL, path_of
from ..state.saved import change_saved
from .recovery import recover

if TYPE_CHECKING:
    from ..base.arguments import Oid

GROUP_BYTES = 1 << 20
GROUP_OBJECTS = 4096
PIECE_BYTES = 1 << 20


class Source(Protocol):
    """A readable file."""

    def read(self, size: int, /) -> bytes: ...


class Writer:
    """Adds objects to a store, which can read them at once. Any number of threads may call it.

    `add` returns the raw id. When it returns, the object is in the journal (except in batch()). A commit or a tag, and
    all objects added before it, are then in a pack that every git process sees. Other objects are put into a pack when
    the page is full, on save() and close(), and when the program ends. `recovered` lists the journals of dead writers.

    A forked process may continue to use the writer; objects that were not sealed before the fork belong to the parent.
    """

    def __init__(
        self,
        reader: Reader,
        objdir: ObjectDir,
        *,
        durability: str,
        level: int,
        page_objects: int,
        page_bytes: int,
        deltas: bool,
    ) -> None:
        """Open a writer; see PageStore.writer() for the options."""
        self.durability = durability
        self._objdir = objdir
        self._oid_size = reader.hash_size
        refuse_quarantine(objdir)
        self._directory = path_of(objdir, JOURNAL)
        for folder in (objdir.gpa_dir, self._directory, *([] if os.path.isdir(objdir.pack_dir) else [objdir.pack_dir])):
            fs.make_dir(folder, objdir.settings.shared)
        if durability == "journal":  # a journal is only as durable as the folders on its path
            fs.fsync_dir(objdir.gpa_dir)
            fs.fsync_dir(objdir.common_dir)
        self._reader = reader
        self._saving = threading.Lock()
        options = WriterOptions(
            level=level,
            durability=durability,
            fsync_method=objdir.settings.fsync_method,
            shared=fs.shared_bits(objdir.settings.shared),
            page_objects=page_objects,
            page_bytes=page_bytes,
            delta_depth=objdir.settings.depth if deltas else 0,
            step=fs.door.before_core_step,
        )
        gc_pid = os.path.join(objdir.common_dir, "gc.pid")
        self._core: CoreWriter | None = CoreWriter(reader, objdir.object_format, self._directory, gc_pid, options)
        self._is_lent = False
        self.recovered = tuple(recover(self._core, objdir, self._directory))

    # -- Adding

    # `check`: refuse what `git hash-object` would refuse as a tree, a commit or a tag, with Malformed. False is for
    # objects that exist elsewhere, and must be taken as they are.

    def add(self, kind: str, data: bytes, *, check: bool = True) -> bytes:
        """Add an object of type "commit", "tree", "blob" or "tag", and return its raw id.

        Raises Malformed if the content is not valid for the type, unless `check` is False.
        """
        core = self._core or self._open()
        number = NUMBERS[kind]
        content = data if type(data) is bytes else content_of(data)
        if check and number != BLOB:
            core.check(number, content)
        return core.add(number, content)

    def add_many(self, objects: Iterable[tuple[str, bytes]], *, check: bool = True) -> list[bytes]:
        """Add (type, content) pairs, and return the ids in the same order. Faster than add(): it journals in groups.

        Each group is checked before any of its objects is added. If it raises Malformed, earlier groups may have been
        added.
        """
        if isinstance(objects, str | bytes) or not isinstance(objects, Iterable):
            raise TypeError(f"objects is an iterable of (type, content) pairs, not {type(objects).__name__}")
        oids: list[bytes] = []
        kinds, contents, size = bytearray(), list[bytes](), 0
        for kind, data in objects:
            kinds.append(NUMBERS[kind])
            contents.append(data if type(data) is bytes else content_of(data))
            size += len(data)
            if size >= GROUP_BYTES or len(contents) == GROUP_OBJECTS:
                oids += self._add_group(bytes(kinds), contents, check)
                kinds, contents, size = bytearray(), [], 0
        return oids + self._add_group(bytes(kinds), contents, check) if contents else oids

    def _add_group(self, kinds: bytes, contents: list[bytes], check: bool) -> list[bytes]:
        core = self._open()
        sizes, data = [len(content) for content in contents], b"".join(contents)
        if check and kinds.count(BLOB) < len(kinds):
            core.check_many(kinds, sizes, data)
        return core.add_many(kinds, sizes, data)

    def add_stream(self, kind: str, size: int, file: Source, *, check: bool = True) -> bytes:
        """Add an object of `size` bytes, read from `file`, and return its raw id. Memory is constant, about 16 MiB.

        A larger object is written to a page of its own at once. Raises GpaError if the file ends too early. A tree,
        commit or tag that is checked is in memory as a whole.
        """
        check_argument("size", size)
        check_argument("file", file)
        number = NUMBERS[kind]
        if check and number != BLOB:
            return self._add_checked(number, size, file)
        new = self._open().new_object(number, size)
        try:
            while size and (piece := file.read(min(size, PIECE_BYTES))):
                new.write(piece)
                size -= len(piece)
            return new.finish()
        finally:
            new.close()

    def _add_checked(self, number: int, size: int, file: Source) -> bytes:
        core, pieces, left = self._open(), list[bytes](), size
        while left and (piece := file.read(min(left, PIECE_BYTES))):
            pieces.append(bytes(piece))
            left -= len(piece)
        if left:
            raise GpaError(f"object has {size - left} bytes of the {size} it was said to have")
        content = b"".join(pieces)
        core.check(number, content)
        return core.add(number, content)

    def freshen(self, oid: Oid) -> bool:
        """Return whether the object exists, and is now as safe as a new one. If not, the caller has to add it."""
        return self._open().freshen(raw_oid(oid, self._oid_size))

    @contextmanager
    def batch(self) -> Iterator[Writer]:
        """Seal what this thread adds only when a page is full and at the end, commits too; for bulk work.

        The last 4 MiB of added objects may not be in the journal yet.
        """
        core = self._open()
        core.begin_batch()
        try:
            yield self
        finally:
            core.end_batch()

    # -- Sealing and saving

    def seal(self) -> None:
        """Make a pack of the waiting objects, if there are any. When this returns, every git process sees them."""
        self._open().seal()

    def save(self, known: Iterable[str | os.PathLike[str]] | None = None) -> SaveReport:
        """Seal, and return the packs that a copy of the object directory lacks and needs.

        `known` names the packs, or their files, that the copy has. Without `known`, the copy has the packs passed to
        confirm(), by this process or another one; a pack is returned each time until its upload is confirmed. Loose
        objects are put into a page first. Objects of alternates are not included.
        """
        from . import saved  # start-up cost

        with self._saving:
            self._pack_loose(saved.loose_ids(self._objdir))
            self.seal()
            return saved.report(self._objdir, None if known is None else saved.Known(known))

    def _pack_loose(self, oids: Iterable[bytes]) -> None:
        core, reader = self._open(), self._reader
        for oid in oids:
            try:
                if reader.locate(oid) is None:
                    kind, data = reader.read(oid)
                    core.pack_loose(NUMBERS[kind], data)
            except (ObjectMissing, Corrupt):
                continue  # it was just packed and removed; or it is damaged, and cannot be copied

    def confirm(self, pages: SaveReport | Iterable[str]) -> None:
        """Record durably that packs are in cold storage: those of a report, or packs by name.

        From then on save() does not return them, in any process. With a report, its superseded packs count as deleted
        there. Call it when the upload is complete and durable; a part of a report may be confirmed by names.
        """
        from . import saved

        if isinstance(pages, SaveReport):
            names, gone = [page.name for page in pages.pages], pages.superseded
        else:
            names, gone = [saved.pack_name(name) for name in pages], ()
        change_saved(self._objdir, saved=names, gone=gone)

    def stats(self) -> WriterStats:
        """Return counters, for tests and for tuning."""
        return self._open().stats()

    def close(self) -> None:
        """Seal, and remove the journals. If that fails, the writer stays open.

        A writer that repositories of other libraries use only seals, because they continue to write; the store's
        close() ends it.
        """
        if self._is_lent and self._core is not None:
            self.seal()
        else:
            self.end()

    def end(self) -> None:
        """Close the writer, even if repositories of other libraries use it; for PageStore."""
        core = self._core
        if core is not None:
            core.close()
            self._core = None

    def lend(self) -> CoreWriter:
        """Return the C writer for a repository of another library, valid until the store is closed; for PageStore."""
        self._is_lent = True
        return self._open()

    @property
    def is_closed(self) -> bool:
        return self._core is None

    def move(self, reader: Reader) -> None:
        """Continue with another reader of the same directory; for PageStore."""
        self._open().move(reader)
        self._reader = reader

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _open(self) -> CoreWriter:
        core = self._core
        if core is None:
            raise ValueError("the writer is closed")
        return core
