"""Convert values to JSON, and read two of them back."""

from __future__ import annotations

import json

from .inventory import IndexInfo, Inventory, PackInfo
from .results import LeftOut, RunResult, StepResult

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import Any


FORMAT_VERSION = 1


def to_json(value: Any) -> str:
    """Return a value as JSON text with two-space indents; its class is under "kind", the format under "version"."""
    return json.dumps({"kind": type(value).__name__, "version": FORMAT_VERSION, **_plain(value)}, indent=2)


def _plain(value: Any) -> Any:
    """Return named tuples as dicts, and other tuples as lists, recursively."""
    if hasattr(value, "_fields"):
        return {field: _plain(getattr(value, field)) for field in value._fields}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def inventory_from_json(text: str) -> Inventory:
    """Return the Inventory that to_json() saved."""
    body = json.loads(text)
    midx = body["midx"]
    return Inventory(
        object_format=body["object_format"],
        midx=None if midx is None else IndexInfo(**_tuples(midx)),
        packs=tuple(PackInfo(**pack) for pack in body["packs"]),
        vanished=tuple(body["vanished"]),
        idx_without_pack=tuple(body["idx_without_pack"]),
        bitmaps=tuple(body["bitmaps"]),
        has_chain=body["has_chain"],
        temporary_files=body["temporary_files"],
        loose_count=body["loose_count"],
        loose_refs=body["loose_refs"],
        git_leftovers=tuple(body["git_leftovers"]),
        unreadable=tuple(body.get("unreadable", ())),
        orphans=tuple(body.get("orphans", ())),
    )


def run_result_from_json(text: str) -> RunResult:
    """Return the RunResult that to_json() saved. Raise ValueError, KeyError, TypeError or AttributeError for others."""
    body = json.loads(text)
    return RunResult(
        started=int(body["started"]),
        seconds=float(body["seconds"]),
        steps=tuple(
            StepResult(
                str(step["verb"]),
                str(step["text"]),
                float(step["seconds"]),
                **{field: int(step[field]) for field in StepResult._fields[3:] if field in step},
            )
            for step in body["steps"]
        ),
        left_out=tuple(LeftOut(**{field: str(left[field]) for field in LeftOut._fields}) for left in body["left_out"]),
        warnings=tuple(map(str, body["warnings"])),
        complaints=tuple(map(str, body.get("complaints", ()))),
        same_count=int(body.get("same_count", 0)),
        same_since=int(body.get("same_since", 0)),
        **{field: str(body[field]) for field in ("reason", "stopped", "error")},
    )


def _tuples(body: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in body.items()}
