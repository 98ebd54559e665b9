"""Result of `verify`."""

from __future__ import annotations

from ..base.tuples import NamedTuple


class VerifyResult(NamedTuple):
    """All findings in their order; none if the repository is sound."""

    findings: tuple[str, ...]
    pack_count: int
    object_count: int
    ref_count: int = 0
