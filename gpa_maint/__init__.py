"""git-gpa: keeps git repositories that take many small pushes as pages under one combined index.

The public names; each is loaded when it is first asked for, so that importing the package costs next to nothing.

Public too are the modules errors, integrations.libgit2, integrations.dulwich, integrations.gitdb,
integrations.gitpython, databranch, archive_v1 and paged_archive. All others are internal, and may change.
docs/python-api.md lists every signature.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # the typing module itself would cost more than all the rest of `git gpa --version`

if TYPE_CHECKING:
    from .errors import GpaError as GpaError
    from .setup.install import install as install
    from .setup.uninstall import uninstall as uninstall
    from .store.page_store import PageStore as PageStore
    from .verbs.backup import backup as backup
    from .verbs.expire import expire as expire
    from .verbs.repack import repack as repack
    from .verbs.repair import repair as repair
    from .verbs.run import maintain as maintain
    from .verbs.status import status as status
    from .verbs.survey import survey as survey
    from .verbs.verify import verify as verify
    from .verbs.write import write as write

_HOMES = {
    "backup": "verbs.backup",
    "expire": "verbs.expire",
    "install": "setup.install",
    "maintain": "verbs.run",
    "repack": "verbs.repack",
    "repair": "verbs.repair",
    "status": "verbs.status",
    "survey": "verbs.survey",
    "uninstall": "setup.uninstall",
    "verify": "verbs.verify",
    "write": "verbs.write",
    "GpaError": "errors",
    "PageStore": "store.page_store",
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
