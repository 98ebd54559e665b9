"""git-gpa: keeps git repositories that take many small pushes as pages under one combined index.

The public names; each is loaded when it is first asked for, so that importing the package costs next to nothing.

Public too are the modules errors, integrations.libgit2, integrations.dulwich, integrations.gitdb,
integrations.gitpython, archive_v1 and paged_archive. All others are internal, and may change. docs/python-api.md lists
every signature.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # the typing module itself would cost more than all the rest of `git gpa --version`

if TYPE_CHECKING:
    from .commands import backup as backup
    from .commands import expire as expire
    from .commands import maintain as maintain
    from .commands import repack as repack
    from .commands import repair as repair
    from .commands import status as status
    from .commands import survey as survey
    from .commands import verify as verify
    from .commands import write as write
    from .errors import GpaError as GpaError
    from .hooks import install as install
    from .hooks import uninstall as uninstall
    from .store import PageStore as PageStore

_HOMES = {
    "backup": "commands",
    "expire": "commands",
    "install": "hooks",
    "maintain": "commands",
    "repack": "commands",
    "repair": "commands",
    "status": "commands",
    "survey": "commands",
    "uninstall": "hooks",
    "verify": "commands",
    "write": "commands",
    "GpaError": "errors",
    "PageStore": "store",
}

__all__ = [
    "GpaError",
    "PageStore",
    "__version__",
    "backup",
    "expire",
    "install",
    "maintain",
    "repack",
    "repair",
    "status",
    "survey",
    "uninstall",
    "verify",
    "write",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return found


def __dir__() -> list[str]:
    return __all__
