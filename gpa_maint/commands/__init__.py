"""The verbs under the name by which programs import them; each is made in a file of its own in verbs/.

Each takes the path of a repository (default: the current directory) or, as `object_dir`, an object directory it uses,
and returns a frozen value of model/. A long call ends soon, with Stopped and nothing lost, once another thread has
called `stop.request()`. Several threads may call at once; of two runs in one repository the second gets Locked.
`report(title, done, total)` is called now and then while a long step goes on.
"""

from __future__ import annotations

from ..base.progress import StopRequest as Stop
from ..base.progress import time_limit
from ..setup.timers import schedule
from ..verbs.add_loose import add_loose, plan_add_loose_of
from ..verbs.backup import backup, plan_backup_of
from ..verbs.expire import expire, plan_expire_of
from ..verbs.explain import explain
from ..verbs.import_objects import import_objects
from ..verbs.index import EmptyPreferredPack
from ..verbs.repack import plan_repack_of, repack
from ..verbs.repair import plan_repair_of, repair
from ..verbs.run import maintain, maintain_in, plan_maintenance_of
from ..verbs.status import status
from ..verbs.survey import survey
from ..verbs.verify import verify
from ..verbs.write import write

__all__ = [
    "EmptyPreferredPack",
    "Stop",
    "add_loose",
    "backup",
    "expire",
    "explain",
    "import_objects",
    "maintain",
    "maintain_in",
    "plan_add_loose_of",
    "plan_backup_of",
    "plan_expire_of",
    "plan_maintenance_of",
    "plan_repack_of",
    "plan_repair_of",
    "repack",
    "repair",
    "schedule",
    "status",
    "survey",
    "time_limit",
    "verify",
    "write",
]
