"""Explain what a run would do with each pack. It changes nothing and takes no lock."""

from __future__ import annotations

from collections.abc import Collection

from ..base.arguments import checked
from ..errors import GpaError
from ..look.inventory import look_at_everything
from ..model.status import Explanation
from ..plan.explain import plan_explain
from ..repo.discover import find_object_dir
from .session import now, rules_from

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath


@checked
def explain(
    path: StrPath | None = None, *, object_dir: StrPath | None = None, packs: Collection[str] = ()
) -> Explanation:
    """Return what a run would do with each of `packs` (names, with or without suffix; none: all), and by which rule.

    Raises GpaError for an unknown name.
    """
    objdir = find_object_dir(path, object_dir=object_dir)
    inventory = look_at_everything(objdir, now=now())
    steps = plan_explain(inventory, rules=rules_from(objdir.settings), now=now())
    wanted = {_stem(name): name for name in packs}
    there = {step.pack for step in steps}
    for stem, name in wanted.items():
        if stem not in there:
            raise GpaError(f"no such pack: '{name}'", hint="'git gpa explain' without a name lists all packs")
    return Explanation(tuple(step for step in steps if not wanted or step.pack in wanted))


def _stem(name: str) -> str:
    """Return a pack's name, given as that or as the path of one of its files."""
    return name.rpartition("/")[2].removesuffix(".pack").removesuffix(".idx")
