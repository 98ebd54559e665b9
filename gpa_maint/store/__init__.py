"""The reader and the writer for programs that run for hours, with many threads."""

TYPE_CHECKING = False  # start-up cost: `git gpa cat-file` needs none of these names
if TYPE_CHECKING:
    from .page_store import Location as Location
    from .page_store import ObjectInfo as ObjectInfo
    from .page_store import ObjectStream as ObjectStream
    from .page_store import PageStore as PageStore

__all__ = ["Location", "ObjectInfo", "ObjectStream", "PageStore"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import page_store  # start-up cost, as above

    found: object = getattr(page_store, name)
    return found
