"""Report the state of a repository, due steps, and problems. It changes nothing and takes no lock."""

from __future__ import annotations

from ..base.arguments import checked, path_text
from ..errors import Corrupt, SystemFailed, Unsupported
from ..look.environment import look_at_surroundings
from ..look.inventory import look_around, look_at_everything, take_inventory
from ..look.verify import chain_faults
from ..model.inventory import Inventory
from ..model.status import Cost, Status, StatusWarning
from ..plan.status import StatusFacts, make_status
from ..repo.discover import find_object_dir
from ..repo.objdir import ObjectDir
from ..state.runs import Totals, read_last_run, read_totals
from .session import now, rules_from

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath


@checked
def status(path: StrPath | None = None, *, object_dir: StrPath | None = None) -> Status:
    """Return the state of a repository: packs, due steps, the last run, totals, and problems.

    Needs no lock and no write permission, and changes nothing. Raises git's errors if git refuses the repository.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    return take_status(objdir, path_text(path), now=now())


def take_status(objdir: ObjectDir, path: str | None, *, now: int) -> Status:
    """Return the status at the second `now`; a combined index that does not parse is a warning."""
    inventory, unreadable = _look(objdir, now)
    totals = read_totals(objdir)
    since = totals.since if totals else None
    around = look_at_surroundings(objdir, inventory, path=path, counting_since=since, now=now)
    facts = StatusFacts(
        repository=objdir.common_dir,
        objects_dir=objdir.objects,
        around=around._replace(chain_fault=_chain_fault(objdir)),
        cost=_cost(totals) if totals else None,
        last_run=read_last_run(objdir),
        unreadable_index=unreadable,
    )
    return make_status(inventory, facts, rules=rules_from(objdir.settings), now=now)


def _look(objdir: ObjectDir, now: int) -> tuple[Inventory, StatusWarning | None]:
    try:
        return look_at_everything(objdir, now=now), None
    except (Corrupt, SystemFailed, Unsupported) as error:
        hint = error.hint or "git gpa verify"
        found = take_inventory(objdir, with_index=False)
        return look_around(objdir, found, now=now), StatusWarning("unreadable-index", str(error), hint)


def _chain_fault(objdir: ObjectDir) -> str:
    """Return a message about the first fault of an incremental chain of indexes."""
    try:
        return next(iter(chain_faults(objdir)), "")
    except OSError as error:
        return str(error)


def _cost(totals: Totals) -> Cost:
    return Cost(**{field: getattr(totals, field) for field in Cost._fields})
