"""A branch as a key-value store that many clones change and merge by themselves; docs/data-branch.md."""

from __future__ import annotations

from .branch import DataBranch, LayoutWarning, MergeWarning, Transaction
from .drivers import counter_add, counter_value
from .merging import MergeReport
from .snapshot import Snapshot

__all__ = [
    "DataBranch",
    "LayoutWarning",
    "MergeReport",
    "MergeWarning",
    "Snapshot",
    "Transaction",
    "counter_add",
    "counter_value",
]
