"""An object directory to work on: a value with its paths and its settings."""

from __future__ import annotations

import os

from ..base import safe_open
from .config import Settings


class ObjectDir:
    """An object directory to work on. All paths are absolute.

    `common_dir` is where gc.pid and our own gpa/ directory live: the repository's, or for the object directory of
    another repository (--object-dir), which `is_own` denies, the directory above it.
    """

    def __init__(
        self, *, objects: str, common_dir: str, object_format: str, settings: Settings, is_own: bool = True
    ) -> None:
        self.objects = objects
        # As git does, work on the folder that a link in its place leads to; on that one until the end.
        pack_dir = os.path.join(objects, "pack")
        self.pack_dir = os.path.realpath(pack_dir) if os.path.islink(pack_dir) else pack_dir
        self.index_path = os.path.join(self.pack_dir, "multi-pack-index")
        self.common_dir = common_dir
        self.gpa_dir = os.path.join(common_dir, "gpa")
        self.object_format = object_format
        self.settings = settings
        self.is_own = is_own
        for folder in (self.gpa_dir, objects, self.pack_dir):
            safe_open.guard(folder)

    @property
    def title(self) -> str:
        """What people call it: the name of the repository's directory, without the path; of a work tree, its own."""
        parent, name = os.path.split(self.common_dir)
        return os.path.basename(parent if name == ".git" else self.common_dir) or self.common_dir

    def pack_path(self, name: str, suffix: str = ".pack") -> str:
        """Return the path of a pack, or of a file beside it."""
        return f"{self.pack_dir}/{name}{suffix}"
