"""Inventories written by hand: no disk, no git."""

from __future__ import annotations

from typing import Any

from gpa_maint.model.inventory import IndexInfo, Inventory, PackInfo


def pack(name: str, **fields: Any) -> PackInfo:
    """An indexed pack of ten objects, 1000 bytes, all of which it wins."""
    values = {"size": 1000, "mtime": 100, "object_count": 10, "referenced": 10} | fields
    return PackInfo(name=name, **values)


def unindexed(name: str, **fields: Any) -> PackInfo:
    return pack(name, **({"referenced": None} | fields))


def inventory(*packs: PackInfo, trailer: str = "aa", gone: dict[str, int] | None = None, **fields: Any) -> Inventory:
    """What `packs` say of themselves, with the index that fits; `gone` packs are named and not there."""
    named = {one.name: one.referenced for one in packs if one.referenced is not None} | (gone or {})
    midx = None
    if named:
        order = sorted(named)
        midx = IndexInfo(
            trailer=trailer,
            size=2000,
            object_count=sum(named.values()),
            pack_names=tuple(order),
            referenced=tuple(named[name] for name in order),
        )
    return Inventory(object_format="sha1", midx=midx, packs=packs, vanished=tuple(gone or {}), **fields)
