"""What `repair` finds, plans and does."""

from __future__ import annotations

from ..base.tuples import NamedTuple


class PackHealth(NamedTuple):
    """A pack or what is left of one: which files are there, its age, what is wrong with it ("" when nothing is).

    `unread`: the fault is an error of the operating system, which proves nothing about the content.
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
    """What is damaged in an object directory, and the packs that are sound.

    `index_unread`: why the operating system did not let the combined index be read. The same of an incremental chain.
    """

    packs: tuple[PackHealth, ...]
    loose: tuple[LooseFault, ...] = ()
    index_fault: str = ""
    index_unread: str = ""
    chain_fault: str = ""
    chain_unread: str = ""


class RepairStep(NamedTuple):
    """`action` about a pack, a loose object (hex id) or the combined index is mend, set aside, index or leave."""

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
    """What a repair did, a line for each step; `left` are the faults it did not touch, and why.

    `saved_count` objects were only in damaged files and are elsewhere now; `aside` is the folder with the files that
    were set aside, "" when there are none. `unknown`: damaged packs whose contents nothing tells any more.
    """

    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    saved_count: int = 0
    lost: tuple[LostObject, ...] = ()
    unknown: tuple[str, ...] = ()
    aside: str = ""
    reason: str = ""
