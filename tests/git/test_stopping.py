"""Another thread ends a long call: soon, with nothing lost and nothing left behind, and the next run goes on."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from histories import HistorySpec, init_server, pushed_history, set_pack_mtimes
from oracle import content_digest, pack_dir
from packwriter import Whole, add_pack
from running import assert_sound, gpa, index_path, leftovers

from gpa_maint import fs
from gpa_maint._core.base import Progress, directory
from gpa_maint._core.format import IdxFiles, Midx, write_midx
from gpa_maint._core.merge import Merge, PageForm
from gpa_maint.apply.repack import write_pages
from gpa_maint.apply.write import publish_index
from gpa_maint.commands import plan_repack_of
from gpa_maint.errors import Stopped
from gpa_maint.look.inventory import take_inventory
from gpa_maint.plan.write import plan_write
from gpa_maint.repo.discover import find_object_dir

MIB = 1 << 20


def stopped() -> Progress:
    progress = Progress()
    progress.stop()
    return progress


def ends_within_a_second(work: Callable[[Progress], object], *, after: Callable[[Progress], bool]) -> None:
    """Run `work` until `after` holds, then stop it from another thread and look at the clock."""
    progress, asked = Progress(), []

    def stop() -> None:
        while not after(progress):
            time.sleep(0.0005)
        asked.append(time.monotonic())
        progress.stop()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(Stopped, match="nothing is lost"):
        work(progress)
    ended = time.monotonic()
    thread.join()
    assert ended - asked[0] < 1


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two packs of 100 MiB: one large object, then many of 4 MiB."""
    repo = init_server(tmp_path_factory.mktemp("large") / "server")
    rng = random.Random("large")
    first = add_pack(repo, [Whole(kind="blob", content=rng.randbytes(100 * MIB), level=0)])
    second = add_pack(repo, [Whole(kind="blob", content=rng.randbytes(4 * MIB), level=0) for _ in range(25)])
    set_pack_mtimes(repo, [first, second])
    return repo


@pytest.mark.parametrize("where", ["within the large object", "between objects"])
def test_a_merge_of_200_mb_ends_within_a_second(large: Path, where: str) -> None:
    digest = content_digest(large)
    objdir = find_object_dir(str(large))
    names = set(pack_dir(large).iterdir())
    written = large / "gpa" / "tmp"
    enough = {"within the large object": 30 * MIB, "between objects": 110 * MIB}[where]

    def after(_progress: Progress) -> bool:
        return any(path.stat().st_size > enough for path in written.glob("*.pack"))

    with fs.maintenance_lock(objdir), fs.workspace(objdir) as space:
        plan = plan_repack_of(objdir)
        ends_within_a_second(lambda progress: write_pages(objdir, space, plan, progress=progress), after=after)
        assert [] == leftovers(large)
    assert names == set(pack_dir(large).iterdir())
    assert digest == content_digest(large)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pushes and an index; not to be changed but for what a run may add."""
    repo = pushed_history(tmp_path_factory.mktemp("pushed"), HistorySpec(pushes=6)).server
    gpa(repo, "write")
    return repo


def test_each_long_call_looks_at_the_word_stop(pushed: Path, tmp_path: Path) -> None:
    objdir = find_object_dir(str(pushed))
    names = [pack.name for pack in take_inventory(objdir).packs]
    with ExitStack() as stack:
        idx = stack.enter_context(IdxFiles(objdir.pack_dir, names, "sha1"))
        fd = stack.enter_context(directory(objdir.pack_dir))
        merge = stack.enter_context(
            Merge(objdir.pack_dir, fd, idx, "sha1", PageForm(page_objects=20, page_bytes=MIB, depth=50, level=-1))
        )
        with pytest.raises(Stopped):
            merge.add(names[0], stopped())
        for name in names:
            merge.add(name, Progress())
        merge.plan(None, set(names))
        with pytest.raises(Stopped):
            merge.check_all(stopped())
        pack = stack.enter_context((tmp_path / "pack").open("wb"))
        with pytest.raises(Stopped):
            merge.write_page(0, pack.fileno(), pack.fileno(), "pack", stopped())
        old = stack.enter_context(Midx(objdir.index_path, "sha1"))
        for base in (old, None):
            sources = [(name, idx[name], -1, 1) for name in sorted(names)]
            with pytest.raises(Stopped):
                write_midx(
                    pack.fileno(), "sha1", old=base, old_rank=0, sources=sources, pack_dir="", progress=stopped()
                )
        assert 0 == merge.check_all(Progress())


def test_an_index_that_is_stopped_leaves_the_old_one(pushed: Path) -> None:
    before = index_path(pushed).read_bytes()
    objdir = find_object_dir(str(pushed))
    with fs.maintenance_lock(objdir), fs.workspace(objdir) as space:
        plan = plan_write(take_inventory(objdir), force=True)
        with pytest.raises(Stopped):
            publish_index(objdir, space, plan, now=int(time.time()), progress=stopped())
    assert before == index_path(pushed).read_bytes()
    assert [] == leftovers(pushed)


def test_a_run_after_a_stopped_one_goes_on(tmp_path: Path) -> None:
    repo = pushed_history(tmp_path, HistorySpec(pushes=6)).server
    digest = content_digest(repo)
    objdir = find_object_dir(str(repo))
    with fs.maintenance_lock(objdir), fs.workspace(objdir) as space:
        plan = plan_repack_of(objdir)
        with pytest.raises(Stopped):
            write_pages(objdir, space, plan, progress=stopped())
        assert write_pages(objdir, space, plan, progress=Progress()).pages
    gpa(repo, "write")
    assert_sound(repo, digest)
