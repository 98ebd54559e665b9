"""Exchange with a remote: fetch, merge, push; again when somebody else has pushed meanwhile."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Iterable
from typing import Protocol

from ..errors import GitFailed
from ..repo.transfer import fetch, push
from .commits import is_ancestor
from .heads import INBOX, REMOTES, short_name
from .merging import MergeReport

TRIES = 20
FIRST_WAIT, MOST_WAIT = 0.02, 2.0


class Exchanging(Protocol):
    """What is needed of a DataBranch."""

    path: str
    ref: str

    @property
    def head(self) -> str: ...

    def merge_commits(self, heads: Iterable[str]) -> MergeReport: ...


def exchange(branch: Exchanging, remote: str, inbox: str) -> MergeReport:
    """Exchange the branch with a remote, which may be an address.

    A push is forced only where the remote has a history that was forgotten here, and the remote has what was fetched.
    """
    wait = FIRST_WAIT
    name = short_name(branch.ref)
    tracking = f"{REMOTES}{re.sub(r'[^A-Za-z0-9_/-]+|^/', '-', remote).strip('/')}/{name}"
    for tried in range(TRIES):
        theirs = fetch(branch.path, remote, branch.ref, tracking)
        report = branch.merge_commits([theirs]) if theirs else MergeReport(branch.head)
        if not report.commit or report.commit == theirs:
            return report
        target = f"{INBOX}{inbox}/{name}" if inbox else branch.ref
        is_forced = bool(inbox) or (bool(theirs) and not is_ancestor(branch.path, theirs, report.commit))
        lease = "" if inbox or not is_forced else f"{target}:{theirs}"
        try:
            push(branch.path, remote, f"{report.commit}:{target}", lease=lease, force=bool(inbox))
            return report
        except GitFailed as error:
            is_stale = any(word in error.stderr for word in ("[rejected]", "[remote rejected]", "stale info"))
            if not is_stale or tried == TRIES - 1:
                raise
        time.sleep(wait * random.random())
        wait = min(2 * wait, MOST_WAIT)
    raise AssertionError
