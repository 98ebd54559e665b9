"""Print the version, and the libraries of this build of the C core, for `git gpa --version`."""

from gpa_maint import __version__
from gpa_maint._core.base import build_info


def version_text() -> str:
    return f"git-gpa version {__version__}\nbuilt with {build_info()}"
