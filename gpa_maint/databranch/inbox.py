"""What clients have pushed to refs/data-inbox/<client>/<branch>: merged into the branches, then removed.

For the hook post-receive of a server. A client's own ref never conflicts with a push of another client.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ..errors import GitFailed, GpaError
from ..repo.git import run_git
from .branch import DataBranch
from .heads import INBOX


def merge_inboxes(path: str | os.PathLike[str]) -> dict[str, str]:
    """Merge each inbox of a repository into its branch; return branch -> head (hex).

    A ref of an inbox is removed when the branch has what it names, unless the client has pushed again meanwhile. One
    that cannot be merged stays; the others are merged before its error is raised. Only data branches are merged, and
    only with data branches: a client that may push to an inbox alone must not change any other branch.
    """
    found: dict[str, dict[str, str]] = {}
    lines = run_git(["for-each-ref", "--format=%(objectname) %(refname)", INBOX], cwd=os.fspath(path)).splitlines()
    for oid, _, ref in (line.partition(" ") for line in lines):
        _, _, name = ref.removeprefix(INBOX).partition("/")
        if name:
            found.setdefault(name, {})[ref] = oid
    heads: dict[str, str] = {}
    errors: list[GpaError] = []
    for name, refs in found.items():
        # refs/data/... is a branch of its own kind, and has its whole name in the inbox
        try:
            with DataBranch(path, f"refs/{name}" if name.startswith("data/") else name, merge="never") as db:
                for ref, oid in refs.items():
                    errors += _merge_one(db, ref, oid, heads)
        except GpaError as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return heads


def _merge_one(db: DataBranch, ref: str, oid: str, heads: dict[str, str]) -> list[GpaError]:
    """Merge one ref of an inbox, note the new head in `heads`, and remove the ref. Return the error, if any."""
    try:
        db.expect_data_branch(oid)
        heads[db.ref] = db.merge_commits([oid]).commit
    except GpaError as error:
        return [error]
    with suppress(GitFailed):  # pushed again: the next call merges it
        run_git(["update-ref", "-d", ref, oid], cwd=db.path)
    return []
