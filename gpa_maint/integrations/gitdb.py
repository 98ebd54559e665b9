"""gitdb, and so GitPython, reading through PageStore: `git.Repo(path, odbt=PagedDB)`.

Every read goes to the store: from any thread, whatever maintenance does meanwhile, and with what anybody has written
since, without update_cache(). What is written becomes loose objects, as gitdb makes them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from io import BytesIO
from typing import IO, Any

from .. import fs
from ..errors import AmbiguousPrefix, GpaError, ObjectMissing, Unsupported
from ..store import ObjectStream, PageStore

try:
    from gitdb.base import IStream, OInfo, OStream
    from gitdb.db.base import CachingDB, FileDBBase, ObjectDBR, ObjectDBW
    from gitdb.db.loose import LooseObjectDB
    from gitdb.exc import AmbiguousObjectName, BadObject, InvalidDBRoot
    from gitdb.stream import FDCompressedSha1Writer, FlexibleSha1Writer, Sha1Writer
except ImportError as error:
    raise ImportError(f"gpa_maint.integrations.gitdb needs gitdb, as gpa-maint[gitdb] installs it: {error}") from error

WHOLE_MOST = 1 << 20
"""bytes; what is larger is streamed, which takes a small object twice as long"""


class PagedDB(FileDBBase, ObjectDBR, ObjectDBW, CachingDB):  # type: ignore[misc]
    """The objects of one object directory and of its alternates, as gitdb and GitPython ask for them.

    Ids are 20 raw bytes. A miss is BadObject; a damaged object without another copy is gpa_maint's Corrupt, which
    names the file.
    """

    def __init__(self, root_path: str | os.PathLike[str], store: PageStore | None = None) -> None:
        """`store`: what to read from, else one is opened when it is first needed. Only whoever opened it closes it."""
        super().__init__(os.fspath(root_path))
        self._loose = LooseObjectDB(os.fspath(root_path))
        self._given = store
        self._own: PageStore | None = None
        if store is not None:
            self._check(store)

    @property
    def pages(self) -> PageStore:
        """What is read from. InvalidDBRoot when the object directory is not there."""
        if self._given is not None:
            return self._given
        if self._own is None:
            try:
                opened = PageStore.open(self.root_path())
            except GpaError as error:
                raise InvalidDBRoot(self.root_path()) from error
            self._own = self._check(opened)
        return self._own

    def close(self) -> None:
        """Let go of what is open; the database may be used again afterwards."""
        own, self._own = self._own, None
        if own is not None:
            own.close()

    # -- Reading

    def __contains__(self, sha: bytes) -> bool:
        return sha in self.pages

    def has_object(self, sha: bytes) -> bool:
        """Whether it is here."""
        return sha in self.pages

    def info(self, sha: bytes) -> OInfo:
        """Type and size, from headers alone."""
        try:
            kind, size = self.pages.info(sha)
        except ObjectMissing:
            raise BadObject(sha) from None
        return OInfo(sha, kind.encode(), size)

    def stream(self, sha: bytes) -> OStream:
        """Type, size, and the content as a file. A large blob that is not stored as a delta takes constant memory."""
        pages = self.pages
        try:
            kind, size = pages.info(sha)
            content: IO[bytes] | ObjectStream
            content = BytesIO(pages.read(sha)[1]) if size <= WHOLE_MOST else pages.stream(sha)
        except ObjectMissing:
            raise BadObject(sha) from None
        return OStream(sha, kind.encode(), size, content)

    def size(self) -> int:
        """How many objects there are."""
        return len(self.pages)

    def sha_iter(self) -> Iterator[bytes]:
        """All ids, those of alternates too, each once, ascending."""
        return iter(self.pages)

    def partial_to_complete_sha_hex(self, partial_hexsha: str | bytes) -> bytes:
        """The one id that begins with these hex digits, at least four. BadObject, or AmbiguousObjectName."""
        digits = partial_hexsha if isinstance(partial_hexsha, str) else os.fsdecode(partial_hexsha)
        try:
            return self.pages.expand_prefix(digits)
        except AmbiguousPrefix:
            raise AmbiguousObjectName(partial_hexsha) from None
        except (ObjectMissing, ValueError):
            raise BadObject(os.fsencode(digits)) from None

    def update_cache(self, force: bool = False) -> bool:
        """Look at the directories now. Only a change of the list of alternates needs it."""
        self.pages.refresh()
        return True

    # -- Writing

    def store(self, istream: IStream) -> IStream:
        """Write a loose object; or to the stream that set_ostream() was given. The same IStream, with its id set."""
        if self.ostream() is not None:
            return self._loose.store(istream)
        with fs.new_loose(self.root_path()) as temp:
            if istream.binsha is None:
                with closing(FDCompressedSha1Writer(os.dup(temp.fd))) as writer:
                    self._write(istream, writer)
            else:  # it brings the file as it is to be
                with open(temp.fd, "wb", closefd=False) as file:
                    self._write(istream, FlexibleSha1Writer(file.write))
            fs.publish_loose(temp, self.root_path(), istream.binsha.hex())
        return istream

    def ostream(self) -> Any:
        return self._loose.ostream()

    def set_ostream(self, stream: Any) -> Any:
        """Where to write to instead of loose objects, or None; gives what it was before."""
        return self._loose.set_ostream(stream)

    def stream_copy(self, sha_iter: Iterable[bytes], odb: ObjectDBW) -> int:
        """Store these objects in `odb`, but for those that it has; how many that were."""
        count = 0
        for sha in sha_iter:
            if not odb.has_object(sha):
                found = self.stream(sha)
                odb.store(IStream(found.type, found.size, found.stream))
                count += 1
        return count

    # -- Inside

    def _write(self, istream: IStream, writer: Sha1Writer) -> None:
        database = LooseObjectDB(self.root_path())
        database.set_ostream(writer)
        database.store(istream)

    def _check(self, store: PageStore) -> PageStore:
        if store.path != os.path.realpath(self.root_path()):
            raise ValueError(f"{store!r} is not the store of '{self.root_path()}'")
        if store.object_format != "sha1":
            raise Unsupported(f"gitdb reads no {store.object_format} objects, as '{store.path}' holds")
        return store
