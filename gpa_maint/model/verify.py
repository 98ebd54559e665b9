"""What `verify` finds."""

from __future__ import annotations

from ..base.tuples import NamedTuple


class VerifyResult(NamedTuple):
    """Every finding, in the order they were made; none means that all is well."""

    findings: tuple[str, ...]
    pack_count: int
    object_count: int
    ref_count: int = 0
