"""Check a repository, without repairs: look/verify.py finds faults, model/verify.py has the answer."""

from __future__ import annotations

from ..base.arguments import checked, path_text
from ..errors import GpaError
from ..look.verify import verify_objects, verify_refs
from ..model.verify import VerifyResult
from ..repo.discover import find_object_dir
from ..repo.git import is_partial

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from ..base.arguments import StrPath
    from ..base.progress import ReportProgress


@checked
def verify(
    path: StrPath | None = None,
    *,
    object_dir: StrPath | None = None,
    deep: bool = False,
    refs: bool = False,
    threads: int = 0,
    report: ReportProgress | None = None,
) -> VerifyResult:
    """Check what `git multi-pack-index verify` checks, and more on request.

    With `deep`, check every byte of every pack, with `threads` threads (0: one for each core). With `refs`, check that
    all objects reachable from refs exist. `object_dir` may be any folder that has packs.
    """
    objdir = find_object_dir(path, object_dir=object_dir, any_folder=True)
    if refs and object_dir is not None:
        raise GpaError("refs are checked in a repository, not in an object directory")
    result = verify_objects(objdir, deep=deep, threads=threads, report=report)
    if not refs:
        return result
    where = path_text(path)
    findings, count = verify_refs(where, partial=is_partial(where))
    return result._replace(findings=(*result.findings, *findings), ref_count=count)
