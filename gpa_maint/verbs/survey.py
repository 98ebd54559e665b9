"""Look at a repository, and decide nothing."""

from __future__ import annotations

from ..base.arguments import checked
from ..look.inventory import take_inventory
from ..model.inventory import Inventory
from ..repo.discover import find_object_dir

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath


@checked
def survey(path: StrPath | None = None, *, object_dir: StrPath | None = None) -> Inventory:
    """Return the current Inventory. Needs no lock and changes nothing."""
    return take_inventory(find_object_dir(path, object_dir=object_dir))
