"""The original's exceptions. Each is a GpaError too, with a message; `fault` is a word of docs/formats/archive-v1.md.

ArchiveLibFileReadError                  an OSError: a page is cut, or a value reaches beyond it
ArchiveLibUnknownArchiveVersionError     an OSError: a page of another version, or one that was never saved
ArchiveLibInvalidArchiveHeaderError      an OSError: header and file do not agree
ArchiveLibItemNotFoundError              a KeyError: no page has the key
ArchiveLibIndexMaxSizeOverflowException  an OverflowError: no page has room for so large a value
ArchiveLibIndexOutOfBoundsException      an IndexError; not raised any more

What the original gave as an OSError of the system is SystemFailed, which is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DamagedArchive, GpaError, ObjectMissing, Unsupported


class _Damaged(GpaError, OSError):
    """A page, the file `filename`, that cannot be read, or one value of it."""

    def __init__(self, message: str, *, path: str, fault: str) -> None:
        GpaError.__init__(self, message)
        self.filename = path
        self.fault = fault

    __str__ = Exception.__str__


class ArchiveLibFileReadError(_Damaged):
    """A page is too short for its header, or a value reaches beyond its page."""


class ArchiveLibUnknownArchiveVersionError(_Damaged):
    """A page is of another version, or was never saved."""


class ArchiveLibInvalidArchiveHeaderError(_Damaged):
    """A page's header says what cannot be, or what its file does not hold."""


class ArchiveLibItemNotFoundError(ObjectMissing):
    """No page has the key."""


class ArchiveLibIndexMaxSizeOverflowException(GpaError, OverflowError):
    """A value is larger than a page can be."""


class ArchiveLibIndexOutOfBoundsException(GpaError, IndexError):
    """The original's for a place in an index that there is not; kept for programs that name it."""


READ_FAULTS = ("short", "beyond-data", "beyond-file")
VERSION_FAULTS = ("version", "unsaved")


@contextmanager
def original_errors() -> Iterator[None]:
    """Raise what the original raises for the same."""
    try:
        yield
    except DamagedArchive as error:
        kind: type[_Damaged] = ArchiveLibInvalidArchiveHeaderError
        if error.fault in READ_FAULTS:
            kind = ArchiveLibFileReadError
        elif error.fault in VERSION_FAULTS:
            kind = ArchiveLibUnknownArchiveVersionError
        raise kind(str(error), path=error.path, fault=error.fault) from None
    except ObjectMissing as error:
        raise ArchiveLibItemNotFoundError(str(error)) from None
    except Unsupported as error:
        raise ArchiveLibIndexMaxSizeOverflowException(str(error)) from None
