"""Fetch and push one ref. No other module lets git use the network."""

from __future__ import annotations

import os
import subprocess

from ..errors import GitFailed
from .git import LOCAL_VARIABLES, run_git


def fetch(path: str, remote: str, ref: str, into: str) -> str:
    """Fetch a ref of a remote into another one here; return its id (hex), "" if the remote has none of that name."""
    try:
        _transfer(path, ["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", remote, f"+{ref}:{into}"])
    except GitFailed as error:
        if "couldn't find remote ref" not in error.stderr:
            raise
        return ""
    return run_git(["rev-parse", "--verify", into], cwd=path).strip()


def push(path: str, remote: str, refspec: str, *, lease: str = "", force: bool = False) -> None:
    """Push one ref. `lease` is what --force-with-lease takes. Raises GitFailed also when the remote refuses."""
    words = ["push", "--quiet", *([f"--force-with-lease={lease}"] if lease else []), *(["--force"] if force else [])]
    _transfer(path, [*words, "--", remote, refspec])


def _transfer(path: str, words: list[str]) -> None:
    """Run git with the user's own settings, hooks and helpers, as the user would."""
    argv = ["git", "-C", path, *words]
    environment = {name: value for name, value in os.environ.items() if name not in LOCAL_VARIABLES}
    done = subprocess.run(
        argv, capture_output=True, env={**environment, "LC_ALL": "C"}, stdin=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise GitFailed(argv, done.returncode, os.fsdecode(done.stderr))
