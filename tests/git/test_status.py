"""git gpa status and explain on real repositories: every kind of pack, every warning, and nothing is ever changed."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from histories import HistorySpec, alternates_repo, init_server, pushed_history, set_pack_mtimes
from metrics import parse_metrics
from oracle import git, objects_dir, pack_dir, read_midx
from packwriter import Whole, add_many_packs, add_pack
from running import all_files, gpa, gpa_any, gpa_json, index_path

import gpa_maint
from gpa_maint import commands, fs
from gpa_maint.model.status import Status
from gpa_maint.plan.repack import KINDS
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.setup.install import install
from gpa_maint.state.runs import read_last_run

DAY = 86400
HOST = os.uname().nodename

# What install sets, beside what init_server has set already.
AS_INSTALLED = {"fetch.unpackLimit": "1", "maintenance.geometric-repack.auto": "0"}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = init_server(tmp_path_factory.mktemp("template") / "server")
    set_pack_mtimes(repo, [add_blobs(repo, number, 3) for number in range(3)])
    for key, value in AS_INSTALLED.items():
        git(repo, "config", key, value)
    install(str(repo), way="file")
    return repo


@pytest.fixture
def server(template: Path, tmp_path: Path) -> Path:
    """An installed repository with three small packs, about which there is nothing to say."""
    return Path(shutil.copytree(template, tmp_path / "server"))


def add_blobs(repo: Path, seed: int, count: int) -> str:
    """A pack of so many blobs of its own."""
    return add_pack(repo, [Whole(kind="blob", content=b"%d of %d\n" % (number, seed)) for number in range(count)])


def status(repo: Path) -> Status:
    return commands.status(str(repo))


def codes(repo: Path) -> list[str]:
    return [warning.code for warning in status(repo).warnings]


def kinds(found: Status) -> dict[str, tuple[int, int]]:
    """kind -> packs and objects, of those there are."""
    return {kind.name: (kind.packs, kind.objects) for kind in found.kinds if kind.packs}


def make_older(path: Path, seconds: int) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def dead_process() -> int:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    return process.pid


# -- what is there


def test_the_status_of_a_new_repository_is_read_without_a_trace(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "new")
    before = all_files(tmp_path / "new")
    answer = gpa(tmp_path / "new", "status").stdout
    assert "nothing is due" in answer
    assert "not installed: no hook starts maintenance" in answer
    assert before == all_files(tmp_path / "new")


def test_looking_changes_nothing(server: Path) -> None:
    before = all_files(server)
    for words in (["status"], ["status", "--json"], ["status", "--format=prometheus"], ["explain"]):
        gpa(server, *words)
    assert before == all_files(server)


def test_each_pack_is_counted_under_one_kind(server: Path) -> None:
    git(server, "config", "gpa.pageObjects", "5")
    small = [path.stem for path in pack_dir(server).glob("*.pack")]
    gpa(server, "write")
    (pack_dir(server) / f"{small[0]}.keep").touch()
    (pack_dir(server) / f"{small[1]}.promisor").touch()
    for seed, count in ((10, 5), (11, 6), (12, 2), (13, 1), (14, 4), (15, 0)):
        name = add_blobs(server, seed, count)
        if seed == 12:
            (pack_dir(server) / f"{name}.mtimes").touch()
        if seed == 13:
            (pack_dir(server) / f"{name}.idx").chmod(0o644)
            (pack_dir(server) / f"{name}.idx").write_bytes(b"no idx")
    expected = {
        "small": (2, 7),
        "full": (1, 5),
        "large": (1, 6),
        "kept": (1, 3),
        "promisor": (1, 3),
        "cruft": (1, 2),
        "empty": (1, 0),
        "unreadable": (1, 0),
    }
    assert expected == kinds(status(server))
    assert list(KINDS) == [kind.name for kind in status(server).kinds]


def test_sizes_are_those_of_the_pack_files(server: Path) -> None:
    sizes = [path.stat().st_size for path in pack_dir(server).glob("*.pack")]
    assert sum(sizes) == sum(kind.size for kind in status(server).kinds)


def test_after_a_merge_the_status_says_what_is_superseded_and_until_when(server: Path) -> None:
    gpa(server, "repack")
    found = status(server)
    merged_at = found.now
    assert {"small": (1, 9), "superseded": (3, 9)} == kinds(found)
    assert (18, 9, 9) == (found.stored_objects, found.index_objects, found.duplicates)
    assert len(read_midx(server).winners) == found.index_objects
    assert (4, index_path(server).stat().st_size, 0) == (found.index_packs, found.index_bytes, found.unindexed_packs)
    assert found.first_due == found.last_due
    assert merged_at + 3590 < (found.first_due or 0) <= merged_at + 3600
    assert found.reclaimable_bytes == sum(kind.size for kind in found.kinds if kind.name == "superseded")


def test_packs_outside_the_index_are_counted(server: Path) -> None:
    assert (0, 3) == (status(server).index_packs, status(server).unindexed_packs)
    gpa(server, "write")
    add_blobs(server, 10, 2)
    assert (3, 1) == (status(server).index_packs, status(server).unindexed_packs)


def test_copies_merged_outside_the_index_are_duplicates_too(server: Path) -> None:
    git(server, "config", "gpa.pageObjects", "5")
    add_blobs(server, 10, 900)  # so that an index is dear
    gpa(server, "write")
    for seed in range(20, 23):
        add_blobs(server, seed, 2)
    gpa(server, "run")
    found = status(server)
    assert (6, 0) == (found.duplicates, kinds(found)["superseded"][1] - 6)
    assert (4, 2) == (found.index_packs, found.unindexed_packs)


def test_loose_objects_are_counted(server: Path) -> None:
    git(server, "hash-object", "-w", "--stdin", input="loose")
    assert 1 == status(server).loose_objects


def test_thousands_of_packs_are_no_obstacle(tmp_path: Path) -> None:
    repo = init_server(tmp_path / "many")
    add_many_packs(repo, 3000)
    answer = gpa(repo, "status").stdout
    assert "  small       3000  3000 objects" in answer
    assert "due: repack" in answer
    assert "many-packs" in codes(repo)
    assert 3000 == len(gpa(repo, "explain", "--all").stdout.splitlines())
    assert 3000 == len(gpa_json(repo, "explain")["steps"])
    summary = gpa(repo, "explain").stdout.splitlines()
    assert "3000 packs; --all tells of each, the oldest first" == summary[-1]
    assert 3000 == sum(int(line.split()[1]) for line in summary[:-1])
    assert len(summary) < 4


def test_an_alternate_has_a_status_of_its_own(tmp_path: Path) -> None:
    borrower, lender = alternates_repo(tmp_path)
    own, other = (
        commands.status(str(borrower)),
        commands.status(str(borrower), object_dir=str(objects_dir(lender))),
    )
    assert (str(borrower.resolve()), str(lender.resolve())) == (own.repository, other.repository)
    assert (3, 6) == (own.kinds[0].packs, other.kinds[0].packs)
    # The settings that hold here say nothing about it.
    assert ["not-installed"] == [warning.code for warning in own.warnings]
    assert () == other.warnings


def test_outside_a_repository_git_says_so(tmp_path: Path) -> None:
    for verb in ("status", "explain"):
        assert 128 == gpa_any(tmp_path, verb).returncode


def test_the_package_offers_it_more_than_once(server: Path) -> None:
    for _ in range(2):
        assert str(server.resolve()) == gpa_maint.status(str(server)).repository


# -- what was done, and what is due


def test_the_last_run_and_what_all_have_cost_are_told(server: Path) -> None:
    git(server, "config", "gpa.autoPages", "2")
    gpa(server, "run")
    found = status(server)
    assert found.last_run == read_last_run(find_object_dir(str(server)))
    assert found.last_run is not None
    assert ["repack", "index"] == [step.verb for step in found.last_run.steps]
    assert found.cost is not None
    assert (1, 3) == (found.cost.runs, found.cost.pushed_packs)
    pages = sum(kind.size for kind in found.kinds if kind.name == "small")
    assert (pages, found.index_bytes) == (found.cost.pack_bytes, found.cost.index_bytes)
    assert found.cost.amplification == (pages + found.index_bytes) / found.cost.pushed_bytes
    answer = gpa(server, "status").stdout
    assert "last run      20" in answer
    assert "\n  repack      merged 3 packs, " in answer
    assert "\n  index       wrote the index: " in answer
    assert f"written       {found.cost.amplification:.2f} times what was pushed: " in answer


def test_a_run_that_did_nothing_says_why(server: Path) -> None:
    gpa(server, "write")
    gpa(server, "run")
    assert " s: nothing to do: 0 loose objects, fewer than gpa.autoLoose (500); " in gpa(server, "status").stdout


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "7", '{"started": 1}', '{"started": "x", "seconds": []}'])
@pytest.mark.parametrize("name", ["last-run.json", "totals.json", "state.json", "install.json"])
def test_a_damaged_file_of_ours_is_as_good_as_none(server: Path, name: str, content: str) -> None:
    (server / "gpa" / name).write_text(content)
    found = status(server)
    assert (None, None, True) == (found.last_run, found.cost, found.is_installed)


def test_times_that_no_calendar_has_are_printed_all_the_same(server: Path) -> None:
    gpa(server, "run")
    path = server / "gpa" / "last-run.json"
    path.write_text(path.read_text().replace('"started": ', '"started": 10000000000'))
    assert "last run      second 1000000000" in gpa(server, "status").stdout


def test_what_is_due_is_one_line_a_step(server: Path) -> None:
    git(server, "config", "gpa.autoPages", "2")
    lines = [line for line in gpa(server, "status").stdout.splitlines() if line.startswith("due: ")]
    assert 1 == len(lines)
    assert lines[0].startswith("due: repack  3 small packs, ")
    assert lines[0].endswith("more than gpa.autoPages (2): 3 packs")
    assert ["repack"] == [step["verb"] for step in gpa_json(server, "status")["steps"] if step["due"]]


def test_a_run_at_work_is_named_and_not_disturbed(server: Path) -> None:
    objdir = find_object_dir(str(server))
    with fs.maintenance_lock(objdir):
        assert f"process {os.getpid()} on {HOST}" == status(server).at_work
        assert "at work       process " in gpa(server, "status").stdout
    # The file stays, with the name of who came last.
    assert "" == status(server).at_work
    with (server / "gpa" / "lock").open() as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_git_gc_at_work_is_named(server: Path) -> None:
    (server / "gc.pid").write_text(f"{os.getpid()} {HOST}")
    found = status(server)
    assert (f"git gc, process {os.getpid()} on {HOST}", ()) == (found.at_work, found.warnings)


# -- warnings


def test_about_an_installed_repository_in_order_there_is_nothing_to_say(server: Path) -> None:
    assert () == status(server).warnings
    answer = gpa(server, "status", "--exit-code").stdout
    assert "warning" not in answer
    assert answer.startswith(f"repository    {server.resolve()}, sha1, installed\n")


def test_after_an_install_there_is_nothing_to_say_either(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "new")
    assert ["not-installed"] == codes(tmp_path / "new")
    gpa(tmp_path / "new", "install", "-q")
    assert () == status(tmp_path / "new").warnings
    gpa(tmp_path / "new", "uninstall", "-q")
    assert ["not-installed"] == codes(tmp_path / "new")


def setting(key: str, value: str | None) -> Callable[[Path], object]:
    if value is None:
        return lambda repo: git(repo, "config", "--unset", key)
    return lambda repo: git(repo, "config", key, value)


def stale_file(name: str, content: str, hours: int) -> Callable[[Path], object]:
    def make(repo: Path) -> None:
        (repo / name).write_text(content)
        make_older(repo / name, hours * 3600)

    return make


def lock_of_a_killed_run(repo: Path) -> None:
    (repo / "gpa" / "tmp").mkdir()
    (repo / "gpa" / "tmp" / "1-1.midx").touch()
    (pack_dir(repo) / "multi-pack-index.lock").hardlink_to(repo / "gpa" / "tmp" / "1-1.midx")
    make_older(pack_dir(repo) / "multi-pack-index.lock", 3 * 3600)


def leftover_of_a_killed_run(repo: Path) -> None:
    (repo / "gpa/tmp").mkdir(exist_ok=True)
    (repo / f"gpa/tmp/{dead_process()}-1.pack").write_bytes(bytes(5 << 10))


def keep_of_a_killed_push(repo: Path) -> None:
    path = next(pack_dir(repo).glob("*.pack")).with_suffix(".keep")
    path.write_text(f"receive-pack {dead_process()} on {HOST}\n")


def unreadable_idx(repo: Path) -> None:
    path = next(pack_dir(repo).glob("*.idx"))
    path.chmod(0o644)
    path.write_bytes(b"no idx")


def orphan(repo: Path) -> None:
    path = pack_dir(repo) / f"pack-{7:040d}.rev"
    path.touch()
    make_older(path, 3 * 86400)


def hidden_chain(repo: Path) -> None:
    gpa(repo, "write")
    index = (pack_dir(repo) / "multi-pack-index").read_bytes()
    folder = pack_dir(repo) / "multi-pack-index.d"
    folder.mkdir()
    name = index[-20:].hex()
    (folder / f"multi-pack-index-{name}.midx").write_bytes(index)
    (folder / "multi-pack-index-chain").write_text(f"{name}\n")


def broken_chain(repo: Path) -> None:
    folder = pack_dir(repo) / "multi-pack-index.d"
    folder.mkdir()
    (folder / "multi-pack-index-chain").write_text("garbage\n")


def idx_without_pack(repo: Path) -> None:
    path = next(pack_dir(repo).glob("*.pack"))
    path.unlink()
    make_older(path.with_suffix(".idx"), 4000)


def vanished_pack(repo: Path) -> None:
    gpa(repo, "write")
    for path in list(pack_dir(repo).glob("*.pack"))[:2]:
        path.unlink()
        path.with_suffix(".idx").unlink()
        path.with_suffix(".rev").unlink(missing_ok=True)  # newer gits make one at each push


def broken_index(repo: Path) -> None:
    gpa(repo, "write")
    index_path(repo).write_bytes(b"no index at all")


def failed_run(repo: Path) -> None:
    gpa(repo, "run")
    path = repo / "gpa" / "last-run.json"
    path.write_text(path.read_text().replace('"error": ""', '"error": "cannot write: No space left on device"'))


def run_that_left_objects_out(repo: Path) -> None:
    gpa(repo, "run")
    left = '"left_out": [{"pack": "pack-x", "oid": "12", "reason": "damaged"}]'
    path = repo / "gpa" / "last-run.json"
    path.write_text(path.read_text().replace('"left_out": []', left))


def old_reflog(repo: Path) -> None:
    stash = f"{'0' * 40} {'1' * 40} A <a@example.com> 1000000000 +0000\tstashed\n"
    (repo / "logs" / "refs" / "heads").mkdir(parents=True)
    (repo / "logs" / "refs" / "stash").write_text(stash)
    assert [] == codes(repo)
    entry = f"{'0' * 40} {'1' * 40} A > B <a@example.com> {int(time.time()) - 91 * DAY} +0000\tpush> 1\n"
    (repo / "logs" / "refs" / "heads" / "main").write_text(entry + stash)


def long_unpruned(repo: Path) -> None:
    (repo / "gpa" / "last-run.json").touch()  # there was a run just now
    make_older(repo / "gpa" / "install.json", 91 * DAY)
    assert [] == codes(repo)  # git gc was here since: no pack is older
    make_older(next(pack_dir(repo).glob("*.pack")), 91 * DAY)


def many_objects(repo: Path) -> None:
    add_blobs(repo, 10, 10_001)


def scheduled(repo: Path) -> None:
    git(repo, "config", "--global", "--add", "maintenance.repo", str(repo))
    git(repo, "config", "--global", "--add", "maintenance.repo", "/no/such/repository")


PROVOKED: list[tuple[str, Callable[[Path], object], str]] = [
    ("git-maintenance", setting("gc.auto", "6700"), "gc.auto is '6700': git gc merges all packs into one, pages too"),
    ("git-maintenance", setting("gc.auto", None), "gc.auto is not set: git gc merges all packs"),
    ("git-maintenance", setting("receive.autogc", "yes"), "receive.autogc is 'yes': each push"),
    ("git-maintenance", setting("maintenance.auto", None), "maintenance.auto is not set: commits"),
    ("unpack-limit", setting("receive.unpackLimit", "100"), "receive.unpackLimit is '100': a small push"),
    ("unpack-limit", setting("fetch.unpackLimit", "0"), "fetch.unpackLimit is '0': a small fetch"),
    ("git-schedule", scheduled, "git maintenance works here by schedule"),
    ("stale-lock", stale_file("objects/pack/multi-pack-index.lock", "", 2), "has been there for 2 hours"),
    ("stale-lock", stale_file("objects/maintenance.lock", "", 25), "has been there for 1 day"),
    ("stale-lock", stale_file("gc.pid.lock", "", 2), "gc.pid.lock' has been there for 2 hours"),
    ("stale-lock", stale_file("gc.pid", "1 elsewhere", 13), "is of a git gc that is not there any more, 13 hours old"),
    ("stale-lock", lock_of_a_killed_run, "is of a run that was killed, "),
    ("dead-keep", keep_of_a_killed_push, "a .keep that a killed push or fetch left: 'pack-"),
    ("unreadable-pack", unreadable_idx, "idx is 6 bytes, too short for a header"),
    ("orphan", orphan, "left over from packs that are gone: 'pack/pack-"),
    ("hidden-chain", hidden_chain, "the single file beside it hides it"),
    ("broken-chain", broken_chain, "is not a hash"),
    ("stray-idx", idx_without_pack, "an idx without its pack, for more than an hour: 'pack-"),
    ("vanished-pack", vanished_pack, "the index names 2 packs ('pack-"),
    ("unreadable-index", broken_index, "multi-pack-index"),
    ("leftovers", leftover_of_a_killed_run, "temporary files of killed runs, 5.00 KiB: '"),
    ("last-run-failed", failed_run, "the last run failed: cannot write: No space left on device"),
    ("damaged-objects", run_that_left_objects_out, "the last run left out 1 damaged object"),
    ("old-reflog", old_reflog, "as in that of 'refs/heads/main'"),
    ("prune", long_unpruned, "unreachable objects have not been pruned for 91 days"),
    ("no-commit-graph", many_objects, "no commit-graph, with 10010 objects"),
]


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of the user that are not those of other tests."""
    shared = os.environ["GIT_CONFIG_GLOBAL"]
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(shutil.copy(shared, tmp_path / "gitconfig")))


@pytest.mark.usefixtures("own_home")
@pytest.mark.parametrize(("code", "provoke", "text"), PROVOKED, ids=[f"{row[0]}-{n}" for n, row in enumerate(PROVOKED)])
def test_there_is_a_warning_about(server: Path, code: str, provoke: Callable[[Path], object], text: str) -> None:
    provoke(server)
    before = all_files(server)
    (warning,) = status(server).warnings
    assert code == warning.code
    assert text in warning.text
    assert warning.hint
    answer = gpa_any(server, "status", "--exit-code")
    assert (int(code != "no-commit-graph"), "") == (answer.returncode, answer.stderr)
    assert f"\nwarning: {warning.text}\nhint: {warning.hint}\n" in answer.stdout
    assert before == all_files(server)


def test_what_looks_alike_and_is_in_order_gives_no_warning(server: Path) -> None:
    for key in ("receive.unpackLimit", "fetch.unpackLimit"):
        git(server, "config", "--unset", key)
    git(server, "config", "transfer.unpackLimit", "1")
    git(server, "config", "gc.auto", "-1")
    git(server, "config", "maintenance.auto", "off")
    (pack_dir(server) / "multi-pack-index.lock").touch()
    (objects_dir(server) / "maintenance.lock").touch()
    names = [path.stem for path in pack_dir(server).glob("*.pack")]
    keeps = [f"receive-pack {os.getpid()} on {HOST}", f"receive-pack {dead_process()} on elsewhere", "mine"]
    for name, content in zip(names, keeps, strict=True):
        (pack_dir(server) / f"{name}.keep").write_text(content)
    (pack_dir(server) / "pack-young.idx").touch()
    (server / "logs").mkdir()
    (server / "logs" / "HEAD").write_text("no reflog\n")
    assert () == status(server).warnings


def test_with_reflogs_kept_for_ever_none_is_too_old(server: Path) -> None:
    git(server, "config", "gc.reflogExpire", "never")
    old_reflog(server)
    assert () == status(server).warnings


def test_what_is_not_installed_is_told_once_with_the_settings_it_would_make(server: Path) -> None:
    (server / "gpa" / "install.json").unlink()
    assert () == status(server).warnings, "all is set by hand: a timer does the rest"
    git(server, "config", "gc.auto", "6700")
    git(server, "config", "fetch.unpackLimit", "100")
    (warning,) = status(server).warnings
    assert ("not-installed", "git gpa install") == (warning.code, warning.hint)
    assert warning.text.endswith("(gc.auto, fetch.unpackLimit)")


def test_the_index_being_unreadable_no_step_is_decided(server: Path) -> None:
    broken_index(server)
    assert () == status(server).steps
    assert "what is due cannot be told while the index cannot be read" in gpa(server, "status").stdout
    refused = gpa_any(server, "explain")
    assert 128 == refused.returncode
    assert "multi-pack-index" in refused.stderr


def test_a_worktree_registered_with_git_maintenance_is_found(tmp_path: Path, own_home: None) -> None:
    git(tmp_path, "init", "--quiet", "work")
    git(tmp_path / "work", "maintenance", "register")
    assert "git-schedule" in codes(tmp_path / "work")


def test_packs_of_other_users_in_a_sticky_directory_are_told(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert () == status(server).warnings
    pack_dir(server).chmod(0o1777)
    (warning,) = status(server).warnings
    assert ("foreign-packs", "3 packs of other users, which this user cannot delete") == warning[:2]


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root may write everywhere")
def test_a_repository_that_is_read_only_is_looked_at_all_the_same(server: Path) -> None:
    for folder in (server, *(path for path in server.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    words = ["git", "-C", str(server), "gpa", "status"]
    if os.geteuid() == 0:
        dropped = "-dac_override,-dac_read_search"
        words = ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}", *words]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    finally:
        for folder in (server, *(path for path in server.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
    assert (0, "") == (done.returncode, done.stderr)
    assert f"warning: '{server.resolve()}/gpa' cannot be written to by this user\n" in done.stdout
    assert f"warning: '{server.resolve()}/objects/pack' cannot be written to by this user\n" in done.stdout


# -- how it is told


def test_quiet_says_nothing_and_the_exit_status_tells(server: Path) -> None:
    assert ("", 0) == (gpa(server, "status", "-q", "--exit-code").stdout, 0)
    git(server, "config", "gc.auto", "1")
    assert "" == gpa(server, "status", "-q").stdout
    assert ("", 1) == (gpa_any(server, "status", "-q", "--exit-code").stdout, 1)


def test_json_has_the_status_as_the_api_gives_it(server: Path) -> None:
    body = gpa_json(server, "status")
    assert ("Status", 1) == (body["kind"], body["version"])
    found = status(server)
    assert [kind._asdict() for kind in found.kinds] == body["kinds"]
    assert {"kind", "version", *Status._fields} == body.keys()


@pytest.fixture
def odd_place(tmp_path: Path, server: Path) -> Iterator[Path]:
    """A repository whose path has all that may have to be escaped."""
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b'/a "b" \\ \xff\n{c="d"}'))
    server.rename(odd)
    yield odd
    odd.rename(server)


def test_metrics_parse_and_say_what_the_status_says(server: Path) -> None:
    gpa(server, "repack")
    gpa(server, "run")
    git(server, "config", "gc.auto", "1")
    git(server, "config", "maintenance.auto", "true")
    found = status(server)
    samples = parse_metrics(gpa(server, "status", "--format=prometheus").stdout)
    assert {str(server.resolve())} == {labels["repository"] for _, labels, _ in samples}
    values = {
        (name, *(value for label, value in labels.items() if label != "repository")): value
        for name, labels, value in samples
    }
    assert {("gpa_packs", kind.name): kind.packs for kind in found.kinds}.items() <= values.items()
    assert {("gpa_step_due", step.verb): float(step.due) for step in found.steps}.items() <= values.items()
    assert (2.0, 2.0) == (values["gpa_warnings",], values["gpa_warnings_by_code", "git-maintenance"])
    assert found.last_due == values["gpa_superseded_last_due_timestamp_seconds",]
    assert found.last_run is not None
    assert found.last_run.started == values["gpa_last_run_timestamp_seconds",]
    assert 1.0 == values["gpa_runs_total",]


def test_an_odd_path_is_escaped(odd_place: Path) -> None:
    samples = parse_metrics(gpa(odd_place, "status", "--format=prometheus").stdout)
    assert {str(odd_place.resolve()).replace("\udcff", "\ufffd")} == {labels["repository"] for _, labels, _ in samples}
    assert 'a "b" \\ \\377\\012{c="d"}, sha1' in gpa(odd_place, "status").stdout
    assert str(odd_place.resolve()) == gpa_json(odd_place, "status")["repository"]


# -- explain


def explained(repo: Path, *names: str) -> dict[str, tuple[str, str]]:
    return {step.pack: (step.action, step.reason) for step in commands.explain(str(repo), packs=names).steps}


def test_explain_names_the_rule_for_each_pack_the_oldest_first(server: Path) -> None:
    gpa(server, "write")
    names = sorted((path.stem for path in pack_dir(server).glob("*.pack")), key=lambda name: pack_mtime(server, name))
    found = explained(server)
    assert names == list(found)
    assert {("wait", "small; an index names it: merged when that is written anyway")} == set(found.values())
    git(server, "config", "gpa.autoPages", "2")
    (pack_dir(server) / f"{names[0]}.keep").touch()
    add_blobs(server, 10, 3)
    found = explained(server)
    assert ("leave", "kept (.keep)") == found[names[0]]
    assert "merge" == found[names[1]][0]
    assert found[names[1]][1].startswith("3 of 3 objects; 3 small packs, ")
    assert found[names[1]][1].endswith("more than gpa.autoPages (2)")
    gpa(server, "run")
    assert ("wait", "superseded") == explained(server)[names[1]]


def pack_mtime(repo: Path, name: str) -> int:
    return int((pack_dir(repo) / f"{name}.pack").stat().st_mtime)


def test_what_explain_says_is_what_a_run_does(server: Path) -> None:
    git(server, "config", "gpa.autoPages", "2")
    git(server, "config", "gpa.expireGrace", "now")
    for _ in range(3):
        there = {path.stem for path in pack_dir(server).glob("*.pack")}
        found = explained(server)
        assert there == found.keys()
        gone = {name for name, (action, _) in found.items() if action == "delete"}
        gpa(server, "run")
        left = {path.stem for path in pack_dir(server).glob("*.pack")}
        assert gone <= there - left
        assert {name for name, (action, _) in found.items() if action in ("wait", "leave")} <= left


def test_explain_takes_names_with_or_without_suffix_and_paths(server: Path) -> None:
    path = next(pack_dir(server).glob("*.pack"))
    for name in (path.stem, path.name, f"{path.stem}.idx", str(path)):
        assert [path.stem] == list(explained(server, name))
        assert 1 == len(gpa(server, "explain", name).stdout.splitlines())


def test_explain_refuses_a_pack_that_is_not_there(server: Path) -> None:
    there = next(pack_dir(server).glob("*.pack")).stem
    answer = gpa_any(server, "explain", there, "pack-none.idx")
    assert (128, "") == (answer.returncode, answer.stdout)
    assert answer.stderr.startswith("fatal: no such pack: 'pack-none.idx'\nhint: ")


def test_explain_prints_one_line_a_pack_and_json(server: Path) -> None:
    gpa(server, "repack")
    lines = gpa(server, "explain").stdout.splitlines()
    assert 4 == len(lines)
    assert 3 == sum(line.startswith("wait   pack-") and ": superseded; goes at 20" in line for line in lines)
    body = gpa_json(server, "explain")
    assert ("Explanation", 4) == (body["kind"], len(body["steps"]))
    assert status(server).first_due == body["steps"][0]["due"]


def test_explain_in_an_empty_repository_says_that_there_is_nothing(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "new")
    assert "there are no packs\n" == gpa(tmp_path / "new", "explain").stdout


def test_pushed_packs_are_told_from_an_imported_one(tmp_path: Path) -> None:
    repo = pushed_history(tmp_path, HistorySpec(pushes=2, base_objects=2500)).server
    assert {"small": 2, "large": 1} == {name: count for name, (count, _) in kinds(status(repo)).items()}


# -- the log


def test_the_log_is_turned_over_before_it_grows_large(server: Path) -> None:
    objdir = find_object_dir(str(server))
    gpa(server, "run")
    assert 1 == len((server / "gpa" / "log").read_text().splitlines())
    line = "x" * 1000
    for _ in range(600):
        fs.append_line(objdir, "log", line)
        sizes = [path.stat().st_size for path in (server / "gpa").glob("log*")]
        assert all(size <= fs.LOG_BYTES + 1001 for size in sizes)
    assert {"log", "log.old"} == {path.name for path in (server / "gpa").glob("log*")}
    kept = (server / "gpa" / "log.old").read_text() + (server / "gpa" / "log").read_text()
    assert {line} == set(kept.splitlines())


def test_temporary_files_of_live_processes_are_no_leftovers_and_a_run_removes_the_others(server: Path) -> None:
    (server / "gpa/tmp").mkdir(exist_ok=True)
    (server / f"gpa/tmp/{os.getpid()}-1.pack").touch()
    assert [] == codes(server)
    names = [f"gpa/tmp/{dead_process()}-{number}.pack" for number in range(3)]
    for name in (*names, f"objects/pack/tmp_gpa_{dead_process()}-1.idx"):
        (server / name).write_bytes(b"12345")
    (warning,) = status(server).warnings
    assert "temporary files of killed runs, 20 bytes: 4 files ('" in warning.text
    assert "git gpa run removes them" == warning.hint
    gpa(server, "run")
    assert [] == codes(server)


def test_failures_of_one_kind_are_counted_since_the_first(server: Path) -> None:
    pack = next(pack_dir(server).glob("*.idx"))
    pack.chmod(0o644)
    pack.write_bytes(b"damage")
    for _ in range(3):
        assert 1 == gpa_any(server, "run").returncode
    last = read_last_run(find_object_dir(server))
    assert last is not None and 3 == last.same_count and last.same_since <= last.started
    record = server / "gpa/last-run.json"
    record.write_text(re.sub(r'"same_since": *\d+', '"same_since": 1', record.read_text()))
    (warning,) = [one for one in status(server).warnings if one.code == "left-by-last-run"]
    assert warning.text.startswith("the last 3 runs, for ") and " days, have left 1 thing as it is: " in warning.text


def test_a_hook_of_the_host_is_named_in_the_first_line(tmp_path: Path, own_home: None) -> None:
    """One of a template, one that core.hooksPath leads to, and a link, as gitolite makes them."""
    script = gpa(tmp_path, "schedule", "--print=hook").stdout
    for way in ("template", "link", "folder"):
        repo = init_server(tmp_path / way)
        assert ", not installed\n" in gpa(repo, "status").stdout
        (repo / "hooks").mkdir(exist_ok=True)
        place = (repo / "hooks" if way == "template" else tmp_path / f"hooks of {way}") / "post-receive"
        place.parent.mkdir(exist_ok=True)
        place.write_text(script)
        if way == "link":
            (repo / "hooks/post-receive").symlink_to(place)
        if way == "folder":
            git(repo, "config", "--global", "core.hooksPath", place.parent)
        assert ", not installed\n" in gpa(repo, "status").stdout  # git runs no hook without the right
        place.chmod(0o755)
        found = status(repo)
        assert (False, True) == (found.is_installed, found.has_hook)
        assert ", started by a hook\n" in gpa(repo, "status").stdout
        (warning,) = status(repo).warnings
        text, _, lacking = warning.text.removesuffix(")").partition(" (")
        assert "a hook starts maintenance, but git's settings are not made for it" == text
        # A newer git has a setting more.
        assert ["fetch.unpackLimit"] == [key for key in lacking.split(", ") if "geometric-repack" not in key]
