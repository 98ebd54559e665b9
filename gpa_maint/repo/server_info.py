"""Update info/packs, through which clients over dumb HTTP find new packs."""

from __future__ import annotations

import os

from .git import run_git
from .objdir import ObjectDir


def update_server_info(objdir: ObjectDir, path: str | None) -> None:
    """Let git update info/packs in the repository at `path`, if the file exists; nothing is written through a link."""
    folders = (os.path.join(objdir.objects, "info"), os.path.join(objdir.common_dir, "info"))
    if os.path.exists(os.path.join(folders[0], "packs")) and not any(map(os.path.islink, folders)):
        run_git(["update-server-info"], cwd=path)
