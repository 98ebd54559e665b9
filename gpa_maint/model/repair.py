"""Findings, plans and results of `repair`."""

from __future__ import annotations

from ..base.tuples import NamedTuple


class PackHealth(NamedTuple):
    """A pack, or the remains of one: its files, its age, and its fault ("" for none).

    `unread`: the fault is an error of the operating system, which does not prove damage.
    """

    name: str
    has_pack: bool
    has_idx: bool
    fault: str
    seconds: int
    protection: str = ""
    doomed: bool = False
    unread: bool = False


class LooseFault(NamedTuple):
    """A damaged loose object (hex id); `unread` as for a pack. For a folder of loose objects, `oid` is its name."""

    oid: str
    reason: str
    unread: bool = False


class Diagnosis(NamedTuple):
    """Damaged files of an object directory, and its sound packs.

    `index_unread`: the error of the operating system when the combined index, or an incremental chain, was read.
    """

    packs: tuple[PackHealth, ...]
    loose: tuple[LooseFault, ...] = ()
    index_fault: str = ""
    index_unread: str = ""
    chain_fault: str = ""
    chain_unread: str = ""


class RepairStep(NamedTuple):
    """A step for a pack, a loose object (hex id) or the index; `action` is mend, set aside, index or leave."""

    action: str
    name: str
    reason: str


class RepairPlan(NamedTuple):
    steps: tuple[RepairStep, ...]


class LostObject(NamedTuple):
    """An object (hex id) of which no copy can be read, and the pack or loose object it was in."""

    oid: str
    name: str


class RepairResult(NamedTuple):
    """Result of a repair, a line for each step; `left` are the faults that it did not repair, and why.

    `saved_count` objects were only in damaged files, and are now in others. `aside` is the folder with the files that
    were set aside, "" if there are none. `unknown`: damaged packs whose content is unknown.
    """

    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    saved_count: int = 0
    lost: tuple[LostObject, ...] = ()
    unknown: tuple[str, ...] = ()
    aside: str = ""
    reason: str = ""
