"""Union merges of any branches, as git-annex's git-union-merge makes them: the lines of all versions of each file."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..errors import GpaError
from ..repo.discover import find_object_dir
from ..repo.git import run_git
from ..repo.ref_updates import RefUpdates
from ..repo.refs import commit_named
from ..store.page_store import PageStore
from .commits import Commit, merge_text, read_commit
from .layout import PathLayout
from .merging import TreeMerge
from .settings import Rules
from .trees import Objects, Trees


def union_merge(path: str | os.PathLike[str], into: str, sources: Sequence[str]) -> str:
    """Set the ref `into` to a merge of `sources`, without a checkout, and return its commit (hex).

    A file of one source is in the result; of a file of several, the lines of all, each once. The ref's own commit is
    a source only if it is named. A source that does not exist is skipped, but one has to exist.
    """
    path = os.path.abspath(os.fspath(path))
    ref = into if into.startswith("refs/") else f"refs/heads/{into}"
    run_git(["check-ref-format", ref])
    found = [oid for name in sources if (oid := commit_named(path, name))]
    if not found:
        raise GpaError(f"none of '{' '.join(sources)}' is a commit")
    objdir = find_object_dir(path)
    with PageStore(objdir.objects, object_format=objdir.object_format) as store:
        trees = Trees(Objects(store))
        commits: list[Commit] = sorted(
            {read_commit(trees.objects, oid) for oid in found}, key=lambda one: (one.time, one.oid)
        )
        root: bytes | None = None
        with store.batch() as writer:
            for one in commits:
                merge = TreeMerge(trees, PathLayout(), Rules((), "union"))
                root = merge.merge((), root, bytes.fromhex(one.tree))
            assert root is not None
            text = merge_text(root.hex(), commits, max(one.time for one in commits))
            made = commits[0].oid if len(commits) == 1 else writer.add("commit", text).hex()
        updates = RefUpdates(path, "0" * (2 * trees.objects.hash_size))
        try:
            updates.swap(ref, made, commit_named(path, ref), message="for the union merge")
        finally:
            updates.close()
    return made
