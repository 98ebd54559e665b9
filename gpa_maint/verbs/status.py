"""A repository as a whole: what is there, what a run would do, what is amiss. Changes nothing and takes no lock."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import Corrupt, GpaError, SystemFailed, Unsupported
from ..look.environment import look_at_surroundings
from ..look.inventory import look_around, take_inventory
from ..look.verify import chain_faults
from ..model.inventory import Inventory
from ..model.status import Cost, Explanation, Status, StatusWarning
from ..plan.explain import plan_explain
from ..plan.status import make_status
from ..repo.objdir import ObjectDir
from ..state.runs import Totals, read_last_run, read_totals
from . import rounds
from .run import look, rules_from


def take_status(objdir: ObjectDir, path: str | None) -> Status:
    """What there is to say now; a combined index that does not parse is a warning."""
    now = rounds.now()
    inventory, unreadable = _inventory(objdir, now)
    totals = read_totals(objdir)
    since = totals.since if totals else None
    around = look_at_surroundings(objdir, inventory, path=path, counting_since=since, now=now)
    return make_status(
        inventory,
        around._replace(chain_fault=_chain_fault(objdir)),
        repository=objdir.common_dir,
        objects_dir=objdir.objects,
        rules=rules_from(objdir.settings),
        cost=_cost(totals) if totals else None,
        last_run=read_last_run(objdir),
        now=now,
        unreadable_index=unreadable,
    )


def _inventory(objdir: ObjectDir, now: int) -> tuple[Inventory, StatusWarning | None]:
    try:
        return look(objdir), None
    except (Corrupt, SystemFailed, Unsupported) as error:
        hint = error.hint or "git gpa verify"
        found = take_inventory(objdir, with_index=False)
        return look_around(objdir, found, now=now), StatusWarning("unreadable-index", str(error), hint)


def _chain_fault(objdir: ObjectDir) -> str:
    """The first thing that is wrong with an incremental chain of indexes."""
    try:
        return next(iter(chain_faults(objdir)), "")
    except OSError as error:
        return str(error)


def _cost(totals: Totals) -> Cost:
    return Cost(**{field: getattr(totals, field) for field in Cost._fields})


def explain_packs(objdir: ObjectDir, names: Collection[str]) -> Explanation:
    """What happens to the packs of these names, or to all. GpaError names the first that is not there."""
    steps = plan_explain(look(objdir), rules=rules_from(objdir.settings), now=rounds.now())
    wanted = {_stem(name): name for name in names}
    there = {step.pack for step in steps}
    for stem, name in wanted.items():
        if stem not in there:
            raise GpaError(f"no such pack: '{name}'", hint="'git gpa explain' without a name lists all packs")
    return Explanation(tuple(step for step in steps if not wanted or step.pack in wanted))


def _stem(name: str) -> str:
    """A pack's name, given as that or as the path of one of its files."""
    return name.rpartition("/")[2].removesuffix(".pack").removesuffix(".idx")
