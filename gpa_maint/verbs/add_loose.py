"""Put loose objects into pages."""

from __future__ import annotations

from ..apply.add_loose import pack_loose
from ..base.arguments import checked, path_text
from ..base.progress import Progress, until_stopped
from ..look.inventory import loose_objects
from ..model.plans import LoosePlan
from ..model.results import LooseResult
from ..repo.discover import find_object_dir
from ..repo.objdir import ObjectDir
from ..repo.server_info import update_server_info
from .at_work import at_work
from .session import Session, now

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath
    from ..base.progress import ReportProgress, StopRequest


@checked
def add_loose(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    stop: StopRequest | None = None,
    report: ReportProgress | None = None,
) -> LooseResult:
    """Put all loose objects into pages and remove their files, as a run does when there are many.

    Raises Locked while another run, `git gc` or `git maintenance` is running.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    with at_work(objdir, now, stop=stop, report=report) as session:
        result = add_loose_in(session)
        if result.pages:
            update_server_info(objdir, path_text(path))
        return result


def plan_add_loose_of(objdir: ObjectDir, *, progress: Progress | None = None) -> LoosePlan:
    """Return the plan of an add_loose() that would start now: all loose objects.

    Raises Stopped soon after another thread has called `progress.stop()`.
    """
    closed: list[str] = []
    return LoosePlan(
        objects=tuple(found.oid for found in until_stopped(loose_objects(objdir, closed), progress)),
        page_objects=objdir.settings.page_objects,
        page_bytes=objdir.settings.page_bytes,
        complaints=tuple(closed),
    )


def add_loose_in(session: Session) -> LooseResult:
    """Look and do, once. Objects that vanish meanwhile are skipped, so no plan is ever stale."""
    plan = plan_add_loose_of(session.objdir, progress=session.progress)
    return pack_loose(session.objdir, session.space, plan, session.report, session.progress, now=session.now())
