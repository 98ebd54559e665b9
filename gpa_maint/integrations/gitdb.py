"""gitdb, and so GitPython, over PageStore: `git.Repo(path, odbt=PagedDB)`, or better gitpython.PagedRepo(path).

Every read goes to the store: from any thread, also during maintenance, and with all objects written by other programs
since, without update_cache(). New objects go into pages, through the store's writer; no loose object is written.

GitPython stores objects one by one, and starts git processes that must see them, without telling its database. So each
object is sealed, into its own page, before store() returns; batch() and PagedRepo make fewer and larger pages.
"""

from __future__ import annotations

import os
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from hashlib import sha1
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

from ..errors import AmbiguousPrefix, Corrupt, GpaError, ObjectMissing, Unsupported
from ..store.page_store import ObjectStream, PageStore, expect_store

try:
    from gitdb.base import IStream, OInfo, OStream
    from gitdb.db.base import CachingDB, FileDBBase, ObjectDBR, ObjectDBW
    from gitdb.db.loose import LooseObjectDB
    from gitdb.exc import AmbiguousObjectName, BadObject, InvalidDBRoot
except ImportError as error:
    raise ImportError(f"gpa_maint.integrations.gitdb needs gitdb, as gpa-maint[gitdb] installs it: {error}") from error

if TYPE_CHECKING:
    from ..store.writer import Writer

HEADER_MOST = 32
SIZE_DIGITS = 18
PIECE_BYTES = 1 << 16
KINDS = (b"commit", b"tree", b"blob", b"tag")

WHOLE_MOST = 1 << 20
"""bytes; what is larger is streamed, which takes a small object twice as long"""


class PagedDB(FileDBBase, ObjectDBR, ObjectDBW, CachingDB):  # type: ignore[misc]
    """The objects of one object directory and of its alternates, as gitdb and GitPython ask for them.

    Ids are 20 raw bytes. A missing object raises BadObject. A damaged object without another copy raises gpa_maint's
    Corrupt, which names the file. If nothing can be written, storing raises SystemFailed, an OSError.
    """

    def __init__(self, root_path: str | os.PathLike[str], store: PageStore | None = None, *, seal: bool = True) -> None:
        """`store`: what to read from and write to, else one is opened when it is first needed.

        The caller that opened it closes it. Without `seal` other processes see blobs and trees when seal() is called,
        the page is full, or a commit or a tag is stored.
        """
        super().__init__(os.fspath(root_path))
        self._loose = LooseObjectDB(os.fspath(root_path))
        self._given = store
        self._own: PageStore | None = None
        self._opening = threading.Lock()
        self._seals = seal
        self._has_stored = False
        if store is not None:
            self._check(store)

    @property
    def pages(self) -> PageStore:
        """What is read from and written to. InvalidDBRoot when the object directory is not there."""
        store = self._own if self._given is None else self._given
        if store is not None:
            return store
        with self._opening:
            if self._own is None:
                try:
                    opened = PageStore.open(self.root_path())
                except GpaError as error:
                    raise InvalidDBRoot(self.root_path()) from error
                self._own = self._check(opened)
            return self._own

    def close(self) -> None:
        """Close what is open; the database may be used again afterwards.

        What was stored is seen by every process then: a store that was opened here is closed, and one that was given is
        sealed if anything was stored through this database.
        """
        has_stored, self._has_stored = self._has_stored, False
        if has_stored and self._given is not None:
            self._given.seal()
        own, self._own = self._own, None
        if own is not None:
            own.close()

    # -- Reading

    def __contains__(self, sha: bytes) -> bool:
        return sha in self.pages

    def has_object(self, sha: bytes) -> bool:
        """Return whether the object exists."""
        return sha in self.pages

    def info(self, sha: bytes) -> OInfo:
        """Return type and size, from headers alone."""
        try:
            kind, size = self.pages.info(sha)
        except ObjectMissing:
            raise BadObject(sha) from None
        return OInfo(sha, kind.encode(), size)

    def stream(self, sha: bytes) -> OStream:
        """Return type, size, and the content as a file. Memory is constant for a large blob that is no delta."""
        pages = self.pages
        try:
            kind, size = pages.info(sha)
            content: IO[bytes] | ObjectStream
            content = BytesIO(pages.read(sha)[1]) if size <= WHOLE_MOST else pages.stream(sha)
        except ObjectMissing:
            raise BadObject(sha) from None
        return OStream(sha, kind.encode(), size, content)

    def size(self) -> int:
        """Return the number of objects."""
        return len(self.pages)

    def sha_iter(self) -> Iterator[bytes]:
        """Yield all ids, those of alternates too, each once, ascending."""
        return iter(self.pages)

    def partial_to_complete_sha_hex(self, partial_hexsha: str | bytes) -> bytes:
        """Return the only id with these first hex digits, at least four. Raise BadObject or AmbiguousObjectName."""
        digits = partial_hexsha if isinstance(partial_hexsha, str) else os.fsdecode(partial_hexsha)
        try:
            return self.pages.expand_prefix(digits)
        except AmbiguousPrefix:
            raise AmbiguousObjectName(partial_hexsha) from None
        except (ObjectMissing, ValueError):
            raise BadObject(os.fsencode(digits)) from None

    def update_cache(self, force: bool = False) -> bool:
        """Scan the directories now. Only a change of the list of alternates needs it."""
        self.pages.refresh()
        return True

    # -- Writing

    def store(self, istream: IStream) -> IStream:
        """Add an object to a page, or write it to the stream of set_ostream(). Return the IStream with its id set.

        If the id is set already, the stream is a loose file, compressed and with its header. If it is another object,
        this raises Corrupt, and nothing is stored. Raises GpaError if a stream ends too early.
        """
        if self.ostream() is not None:
            return self._loose.store(istream)
        with self._adding() as writer:
            if istream.binsha is None:
                istream.binsha = writer.add_stream(os.fsdecode(istream.type), istream.size, istream, check=False)
            else:
                content = _Inflated(istream)
                writer.add_stream(content.kind, content.size, content, check=False)
        return istream

    @contextmanager
    def batch(self) -> Iterator[PagedDB]:
        """Seal what this thread stores only when a page is full and at the end, commits too."""
        self._has_stored = True
        with self.pages.batch():
            yield self

    def seal(self) -> None:
        """Let every process see what was stored so far."""
        store = self._own if self._given is None else self._given
        if store is not None:
            store.seal()

    def ostream(self) -> Any:
        return self._loose.ostream()

    def set_ostream(self, stream: Any) -> Any:
        """Set the stream to write to instead of loose objects, or None; return the previous one."""
        return self._loose.set_ostream(stream)

    def stream_copy(self, sha_iter: Iterable[bytes], odb: ObjectDBW) -> int:
        """Store the objects that `odb` lacks in it, and return their number."""
        count = 0
        with odb.batch() if isinstance(odb, PagedDB) else nullcontext():
            for sha in sha_iter:
                if not odb.has_object(sha):
                    found = self.stream(sha)
                    odb.store(IStream(found.type, found.size, found.stream))
                    count += 1
        return count

    # -- Inside

    def _adding(self) -> AbstractContextManager[Writer]:
        self._has_stored = True
        return self.pages.batch() if self._seals else nullcontext(self.pages.writer())

    def _check(self, store: PageStore) -> PageStore:
        expect_store(store)
        if store.path != os.path.realpath(self.root_path()):
            raise ValueError(f"{store!r} is not the store of '{self.root_path()}'")
        if store.object_format != "sha1":
            raise Unsupported(f"gitdb reads no {store.object_format} objects, as '{store.path}' holds")
        return store


class _Inflated:
    """What a loose file holds, as a file that is read once; `kind` and `size` are what it says of itself.

    Corrupt when it is not the object of that id: at the latest in place of the last bytes.
    """

    def __init__(self, istream: IStream) -> None:
        self._file, self._oid = istream, istream.binsha
        self._stream = zlib.decompressobj()
        header, self._ahead = self._split_header()
        kind, _, digits = header.partition(b" ")
        if kind not in KINDS or not digits.isdigit() or len(digits) > SIZE_DIGITS:
            raise self._corrupt("it has no header")
        self.kind, self.size = kind.decode(), int(digits)
        self._left = self.size
        self._hash = sha1(b"%b %d\0" % (kind, self.size))
        if not self.size:
            self._check_end()

    def read(self, size: int, /) -> bytes:
        piece = self._ahead[:size] or self._inflate(size)
        self._ahead = self._ahead[size:]
        self._hash.update(piece)
        self._left -= len(piece)
        if not piece or not self._left:
            self._check_end()
        return piece

    def _split_header(self) -> tuple[bytes, bytes]:
        """Return the header, or b"", and the content that was read with it."""
        start = b""
        while b"\0" not in start and (piece := self._inflate(HEADER_MOST - len(start))):
            start += piece
        header, end, content = start.partition(b"\0")
        return (header, content) if end else (b"", b"")

    def _inflate(self, most: int) -> bytes:
        """Return at most `size` bytes; none at the end."""
        piece = b""
        while most > 0 and not piece and not self._stream.eof:
            packed = self._stream.unconsumed_tail or self._file.read(PIECE_BYTES)
            try:
                piece = self._stream.decompress(packed, most)
            except zlib.error as error:
                raise self._corrupt(str(error)) from None
            if not packed:
                break
        return piece

    def _check_end(self) -> None:
        if self._left or self._ahead or self._inflate(1) or not self._stream.eof:
            raise self._corrupt(f"it does not have the {self.size} bytes it announces")
        if self._hash.digest() != self._oid:
            raise self._corrupt(f"its hash is {self._hash.hexdigest()}")

    def _corrupt(self, reason: str) -> Corrupt:
        return Corrupt(self._oid.hex(), reason)
