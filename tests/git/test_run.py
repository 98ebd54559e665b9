"""git gpa run: what is due is done in small steps, what is not is said, and nobody is in its way."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from histories import History, HistorySpec, init_server, kept_pack_repo, send_push
from oracle import (
    all_objects,
    content_digest,
    fsck,
    git,
    git_line,
    objects_dir,
    pack_dir,
    packs,
    verify_midx,
)
from packwriter import Whole, add_pack
from running import all_files, assert_sound, gpa, gpa_any, gpa_json, index_path, leftovers

from gpa_maint import commands, fs
from gpa_maint.errors import Locked, StalePlan
from gpa_maint.plan import run as plan_run

HistoryFactory = Callable[[HistorySpec], History]

PUSHES = HistorySpec(pushes=12)
BESIDE_MANY = HistorySpec(pushes=12, base_objects=3000)
SETTINGS = {"pageObjects": "30", "autoPages": "8", "maxPages": "10", "expireGrace": "now"}


def configure(repo: Path, **settings: str) -> None:
    for key, value in settings.items():
        git(repo, "config", f"gpa.{key}", value)


@pytest.fixture
def server(history: HistoryFactory) -> Path:
    """Twelve pushes, the first of them larger than a page, and more small ones than may be left alone."""
    repo = history(PUSHES).server
    configure(repo, **SETTINGS)
    return repo


@pytest.fixture
def beside_many(history: HistoryFactory) -> Path:
    """Twelve pushes outside an index that would be dear to write again."""
    made = history(BESIDE_MANY)
    configure(made.server, **SETTINGS)
    outside = [pack_dir(made.server) / f"{name}.idx" for name in made.packs[1:]]
    for path in outside:
        path.rename(path.with_suffix(".hidden"))
    gpa(made.server, "write")
    for path in outside:
        path.with_suffix(".hidden").rename(path)
    return made.server


def record(repo: Path, name: str) -> Any:
    return json.loads((repo / "gpa" / name).read_text())


# -- What is due is done


def test_a_run_merges_indexes_and_expires(server: Path) -> None:
    digest = content_digest(server)
    said = gpa(server, "run").stdout.splitlines()
    assert [line.split()[0] for line in said] == ["merged", "wrote", "deleted"]
    assert 6 > len(packs(server))
    verify_midx(server)
    assert_sound(server, digest)


def test_a_second_run_says_why_it_does_nothing_and_touches_no_pack(server: Path) -> None:
    """I12"""
    gpa(server, "run")
    before = all_files(pack_dir(server))
    said = gpa(server, "run").stdout
    assert said.startswith("nothing to do: ")
    assert "small pack" in said
    assert before == all_files(pack_dir(server))
    assert "" == gpa(server, "run", "--auto").stdout


def test_a_dry_run_says_for_each_step_what_would_be_done_and_changes_nothing(server: Path) -> None:
    """I12"""
    before = all_files(server)
    lines = gpa(server, "run", "-n").stdout.splitlines()
    assert ["loose", "index", "repack", "fold", "expire", "tidy", "refs"] == [line.split()[0] for line in lines]
    assert ["skip", "skip", "do"] == [line.split()[1] for line in lines[:3]]
    assert before == all_files(server)
    plan = gpa_json(server, "run", "-n")
    assert "RunPlan" == plan["kind"]
    assert set(plan["steps"][2]["packs"]) <= set(packs(server))


def test_many_full_pages_are_folded_into_a_larger_one(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_run, "FOLD", 3)
    digest = content_digest(server)
    configure(server, pageObjects="20")
    assert "repack" in {step.verb for step in commands.maintain(str(server)).steps}
    before = packs(server)
    assert 20 in before.values()
    configure(server, maxPages="2")
    folds = [step for step in commands.maintain(str(server)).steps if step.verb == "fold"]
    assert folds
    assert len(packs(server)) < len(before)
    assert 60 <= max(packs(server).values())
    assert_sound(server, digest)


def test_a_backlog_is_merged_once_into_a_larger_pack(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_run, "FOLD", 3)
    digest = content_digest(server)
    configure(server, pageObjects="20", maxPages="2")
    result = commands.maintain(str(server))
    assert "fold" not in {step.verb for step in result.steps}
    assert 1 == sum(step.pages for step in result.steps if step.verb == "repack")
    assert 60 <= max(packs(server).values())
    assert_sound(server, digest)


def test_kept_packs_are_left_alone(tmp_path: Path) -> None:
    """I8"""
    repo = kept_pack_repo(tmp_path / "kept")
    configure(repo, pageObjects="2", autoPages="0", expireGrace="now")
    kept = {path.stem for path in pack_dir(repo).glob("*.keep")}
    assert kept
    before = {path: path.stat().st_mtime_ns for name in kept for path in pack_dir(repo).glob(f"{name}.*")}
    digest = content_digest(repo)
    gpa(repo, "run")
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert_sound(repo, digest)


def test_refs_are_packed_once_many_are_loose(server: Path) -> None:
    head = git_line(server, "rev-parse", "--all").split()[0]
    for number in range(30):
        git(server, "update-ref", f"refs/tags/t{number}", head)
    configure(server, autoRefs="20")
    assert "loose refs" in gpa(server, "run").stdout
    assert [] == [path for path in (server / "refs" / "tags").rglob("*") if path.is_file()]
    assert 30 == len(git(server, "tag", "-l").stdout.split())


def test_only_old_temporary_files_of_git_go(server: Path) -> None:
    objects = objects_dir(server)
    (objects / "17").mkdir(exist_ok=True)
    (objects / "tmp_objdir-incoming-abc" / "pack").mkdir(parents=True)
    (objects / "tmp_objdir-incoming-abc" / "pack" / "tmp_pack_x").write_bytes(b"x")
    old = [objects / "pack" / "tmp_pack_old", objects / "17" / "tmp_obj_old", objects / "pack" / ".tmp-7-pack-1.pack"]
    young = [objects / "pack" / "tmp_pack_young", objects / "17" / "tmp_obj_young"]
    for path in [*old, *young]:
        path.write_bytes(b"x")
    long_ago = time.time() - 15 * 86400
    for path in [*old, objects / "tmp_objdir-incoming-abc"]:
        os.utime(path, (long_ago, long_ago))
    assert "removed 4 files of killed git processes" in gpa(server, "run").stdout
    assert [] == [path for path in [*old, objects / "tmp_objdir-incoming-abc"] if path.exists()]
    assert young == [path for path in young if path.exists()]


def test_what_a_dumb_http_reader_looks_at_is_brought_up_to_date(server: Path) -> None:
    git(server, "update-server-info")
    gpa(server, "run")
    listed = {line.split()[1].removesuffix(".pack") for line in _lines(objects_dir(server) / "info" / "packs")}
    assert set(packs(server)) == listed


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line]


# -- Outside the index


def test_packs_outside_a_dear_index_are_merged_without_a_new_one(beside_many: Path) -> None:
    digest, index = content_digest(beside_many), index_path(beside_many).read_bytes()
    result = commands.maintain(str(beside_many))
    assert ["repack", "expire"] == [step.verb for step in result.steps]
    assert 0 == sum(step.index_bytes for step in result.steps)
    assert index == index_path(beside_many).read_bytes()
    assert 12 > len(packs(beside_many))
    assert_sound(beside_many, digest)


def test_a_pack_merged_outside_the_index_waits_for_its_grace_and_then_goes(beside_many: Path) -> None:
    """I12"""
    configure(beside_many, expireGrace="1.hour")
    before = set(packs(beside_many))
    gpa(beside_many, "run")
    assert before <= set(packs(beside_many))
    merged = set(record(beside_many, "state.json")["merged"])
    assert merged and merged < before
    waiting = gpa(beside_many, "expire").stdout
    assert waiting.startswith(f"nothing to do: {len(merged)} superseded pages wait")
    gpa(beside_many, "expire", "--grace=now")
    assert merged.isdisjoint(packs(beside_many))
    assert {} == record(beside_many, "state.json")["merged"]
    fsck(beside_many)


def test_a_reader_that_opened_before_reads_everything_after(beside_many: Path) -> None:
    """I2. It holds the old index, and has not looked into any of the packs outside it."""
    expected = all_objects(beside_many)
    probe = next(iter(expected))
    with open_reader(beside_many) as reader:
        assert is_found(reader, probe)
        for _ in range(3):
            gpa(beside_many, "run")
            assert [] == [oid for oid in expected if not is_found(reader, oid)]
    assert expected == all_objects(beside_many)


def test_a_merged_pack_whose_page_is_gone_is_kept_and_merged_again(beside_many: Path) -> None:
    """I7. Somebody removes the page; the sources are then needed again."""
    digest = content_digest(beside_many)
    configure(beside_many, expireGrace="1.hour")
    before = set(packs(beside_many))
    gpa(beside_many, "run")
    for page in set(packs(beside_many)) - before:
        for suffix in (".idx", ".pack"):
            (pack_dir(beside_many) / f"{page}{suffix}").unlink()
    assert digest == content_digest(beside_many)
    done = gpa_any(beside_many, "expire", "--grace=now")
    assert 0 == done.returncode
    assert "is in no pack that stays" in done.stderr
    assert digest == content_digest(beside_many)
    gpa(beside_many, "repack")
    gpa(beside_many, "expire", "--grace=now")
    assert_sound(beside_many, digest)


def test_an_index_written_by_git_in_between_takes_over_what_was_merged_outside(beside_many: Path) -> None:
    digest = content_digest(beside_many)
    configure(beside_many, expireGrace="1.hour")
    gpa(beside_many, "run")
    merged = set(record(beside_many, "state.json")["merged"])
    git(beside_many, "multi-pack-index", "write")
    gpa(beside_many, "expire", "--grace=now")
    assert merged.isdisjoint(packs(beside_many))
    assert_sound(beside_many, digest)


def test_packs_left_out_of_an_index_are_merged_only_under_a_new_one(beside_many: Path) -> None:
    """I2, I6. A reader may hold the index that named them: it looks for their objects in no other pack it names."""
    gpa(beside_many, "write")
    expected = all_objects(beside_many)
    largest = max(packs(beside_many).items(), key=lambda item: item[1])[0]
    with open_reader(beside_many) as reader:
        assert is_found(reader, next(iter(expected)))
        gpa(beside_many, "write", "--stdin-packs", input=f"{largest}.idx\n")
        for _ in range(3):
            gpa(beside_many, "run")
        assert [] == [oid for oid in expected if not is_found(reader, oid)]
    assert expected == all_objects(beside_many)


def open_reader(repo: Path) -> subprocess.Popen[bytes]:
    command = ["git", "cat-file", "--batch-check"]
    return subprocess.Popen(command, cwd=repo, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def is_found(reader: subprocess.Popen[bytes], oid: str) -> bool:
    assert reader.stdin and reader.stdout
    reader.stdin.write(f"{oid}\n".encode())
    reader.stdin.flush()
    return not reader.stdout.readline().endswith(b"missing\n")


# -- One at a time


@pytest.fixture
def held(server: Path) -> Iterator[Path]:
    """Another process holds the lock."""
    script = (
        "import sys; from gpa_maint import fs; from gpa_maint.repo.discover import find_object_dir\n"
        "with fs.maintenance_lock(find_object_dir(sys.argv[1])):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script, str(server)], stdin=pipe, stdout=pipe) as holder:
        assert holder.stdout and b"held\n" == holder.stdout.readline()
        yield server
        assert holder.stdin
        holder.stdin.close()


def test_a_run_beside_another_one_says_so_and_does_nothing(held: Path) -> None:
    before = set(packs(held))
    done = gpa_any(held, "run")
    assert 75 == done.returncode
    assert "held by process" in done.stderr and "running again later is safe" in done.stderr
    assert before == set(packs(held))


def test_an_automatic_run_beside_another_one_says_it_in_the_log(held: Path) -> None:
    done = gpa_any(held, "run", "--auto")
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert "held by process" in (held / "gpa" / "log").read_text()


@pytest.mark.parametrize("lock", ["gc.pid", "objects/maintenance.lock"])
def test_a_run_beside_git_does_nothing(server: Path, lock: str) -> None:
    (server / lock).write_text(f"{os.getpid()} {os.uname().nodename}")
    before = set(packs(server))
    done = gpa_any(server, "run")
    assert 75 == done.returncode
    assert lock.split("/")[-1] in done.stderr
    assert before == set(packs(server))


def test_a_lock_that_a_killed_run_left_is_removed_and_the_log_says_so(server: Path) -> None:
    class Killed(Exception):
        pass

    def kill(operation: str, path: str) -> None:
        if operation == "rename" and path == str(index_path(server)):
            os._exit(9)

    child = os.fork()
    if child == 0:
        fs.door.before_step = kill
        commands.write(str(server))
        os._exit(0)
    assert 9 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert (pack_dir(server) / "multi-pack-index.lock").exists()
    gpa_any(server, "run")
    assert "multi-pack-index.lock' of a killed run" in (server / "gpa" / "log").read_text()
    assert [] == leftovers(server)


def test_a_lock_of_somebody_else_is_named_in_a_hint(server: Path) -> None:
    lock = pack_dir(server) / "multi-pack-index.lock"
    lock.touch()
    done = gpa_any(server, "run")
    assert 75 == done.returncode
    assert f"remove '{lock}'" in done.stderr
    assert lock.exists()


# -- Stopping


@pytest.mark.timeout(60)
def test_a_run_that_gets_sigterm_ends_cleanly_and_the_next_goes_on(server: Path, tmp_path: Path) -> None:
    """I1. The run waits in its first step until the signal has come."""
    digest = content_digest(server)
    script = (
        "import sys, signal, os\n"
        "from gpa_maint import fs; from gpa_maint.cli.main import main\n"
        "def wait(operation, path):\n"
        "    if path.endswith('.pack'):\n"
        "        print('at work', flush=True); fs.door.before_step = None; os.read(heard, 1)\n"
        "fs.door.before_step = wait\n"
        "heard, tell = os.pipe(); os.set_blocking(tell, False); signal.set_wakeup_fd(tell)\n"
        "sys.exit(main(['run']))"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=server, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout and "at work\n" == running.stdout.readline()
        running.send_signal(signal.SIGTERM)
        said = running.stdout.read()
    assert 128 + signal.SIGTERM == running.returncode
    assert "stopped: SIGTERM" in said
    assert [] == leftovers(server)
    assert "0 " == (server / "gpa" / "next").read_text()[:2]
    gpa(server, "run")
    assert_sound(server, digest)


def test_a_run_without_time_stops_at_once_and_says_so(server: Path) -> None:
    before = set(packs(server))
    assert "stopped: time limit" in gpa(server, "run", "--max-runtime=now").stdout
    assert before == set(packs(server))


def test_an_error_is_recorded_and_what_was_done_stays(server: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = content_digest(server)

    def fail(*_: object, **__: object) -> None:
        raise StalePlan("the repository keeps changing")

    monkeypatch.setattr("gpa_maint.verbs.expire.expire_in", fail)
    with pytest.raises(StalePlan):
        commands.maintain(str(server))
    last = record(server, "last-run.json")
    assert "the repository keeps changing" == last["error"]
    assert ["repack", "index"] == [step["verb"] for step in last["steps"]]
    assert digest == content_digest(server)


# -- In the background


@pytest.mark.timeout(60)
def test_a_detached_run_is_not_waited_for_and_leaves_its_answer_in_the_log(server: Path) -> None:
    """I10"""
    done = gpa(server, "run", "--auto", "--detach")
    assert "" == done.stdout
    log = server / "gpa" / "log"
    while not (log.exists() and "\n" in log.read_text()):
        time.sleep(0.02)
    assert "merged 11 packs" in log.read_text()


# -- What the hooks and status read


def test_what_a_run_did_is_recorded(server: Path) -> None:
    small = [name for name, objects in packs(server).items() if objects < 30]
    before = sum((pack_dir(server) / f"{name}.pack").stat().st_size for name in small)
    result = gpa_json(server, "run")
    last = record(server, "last-run.json")
    assert result == last
    totals = record(server, "totals.json")
    assert (len(small), before) == (totals["pushed_packs"], totals["pushed_bytes"])
    assert totals["pack_bytes"] == sum(step["pack_bytes"] for step in last["steps"]) > 0
    assert set(packs(server)) == set(totals["known"])


def test_each_push_is_counted_once(history: HistoryFactory) -> None:
    made = history(HistorySpec(pushes=12, waiting=2))
    configure(made.server, **SETTINGS)
    for push in made.waiting:
        gpa(made.server, "run")
        send_push(made.client, made.server, push)
    first = 11  # what was there before the first run, but for one large pack
    gpa(made.server, "run")
    gpa(made.server, "run")
    assert first + 2 == record(made.server, "totals.json")["pushed_packs"]


def test_the_hooks_learn_when_to_start_the_next_run(server: Path) -> None:
    configure(server, expireGrace="1.hour")
    gpa(server, "run")
    count, loose = map(int, (server / "gpa" / "next").read_text().split())
    assert len(packs(server)) + 16 == count
    assert 8 == loose
    due = (server / "gpa" / "next").stat().st_mtime
    assert 3500 < due - time.time() <= 3601


def test_of_many_automatic_runs_only_the_first_does_anything(server: Path) -> None:
    gpa(server, "run", "--auto")
    for line in (server / "gpa" / "next", server / "gpa" / "log"):
        assert line.exists()
    log = (server / "gpa" / "log").read_text()
    gpa(server, "run", "--auto")
    assert log == (server / "gpa" / "log").read_text()


@pytest.mark.parametrize("what", ["packs", "loose", "time", "nothing to read"])
def test_an_automatic_run_begins_when_the_hook_would_start_it(server: Path, what: str) -> None:
    configure(server, expireGrace="1.hour")
    gpa(server, "run")
    path = server / "gpa" / "next"
    due = path.stat().st_mtime
    log = (server / "gpa" / "log").read_text()
    folder = objects_dir(server) / "3c"
    folder.mkdir(exist_ok=True)
    (folder / ("0" * 38)).write_bytes(b"not read")
    lines = {"packs": f"{len(packs(server))} 9\n", "loose": "9999 1\n", "time": "9999 9999\n", "nothing to read": "\n"}
    path.write_text(lines[what])
    os.utime(path, (due, due if what != "time" else time.time() - 1))
    gpa_any(server, "run", "--auto")
    assert len(log) < len((server / "gpa" / "log").read_text())


# -- Refusals


def test_a_precious_objects_repository_loses_nothing(server: Path) -> None:
    git(server, "config", "core.repositoryFormatVersion", "1")
    git(server, "config", "extensions.preciousObjects", "true")
    before = set(packs(server))
    gpa(server, "run")
    assert before <= set(packs(server))
    fsck(server)


def test_where_nothing_can_be_written_one_error_says_so(server: Path) -> None:
    (server / "gpa").write_text("in the way")
    done = gpa_any(server, "run")
    assert 128 == done.returncode
    assert 1 == len(done.stderr.splitlines())
    assert str(server / "gpa") in done.stderr


def test_outside_a_repository_git_s_own_words_say_so(tmp_path: Path) -> None:
    done = gpa_any(tmp_path, "run")
    assert 128 == done.returncode
    assert "not a git repository" in done.stderr


# -- Many repositories


@pytest.fixture
def tree(history: HistoryFactory, tmp_path: Path) -> Path:
    """Two servers that need maintenance, one of them deeper, an empty one, and what is no repository."""
    root = tmp_path / "srv"
    (root / "deep" / "er").mkdir(parents=True)
    for target in (root / "one.git", root / "deep" / "er" / "two.git"):
        shutil.copytree(history(PUSHES).server, target)
        configure(target, **SETTINGS)
    init_server(root / "empty.git")
    (root / "notes").mkdir()
    return root


def test_all_repositories_below_a_directory_are_maintained(tree: Path) -> None:
    said = gpa(tree, "run", f"--all={tree}", "--jobs=2").stdout.splitlines()
    assert "3 repositories: 2 maintained, 0 failed" == said[-1]
    for repo in (tree / "one.git", tree / "deep/er/two.git"):
        assert 6 > len(packs(repo))
        fsck(repo)


def test_repositories_named_on_standard_input_are_maintained(tree: Path) -> None:
    said = gpa(tree, "run", "--stdin", input=f"{tree}/one.git\n").stdout.splitlines()
    assert "1 repository: 1 maintained, 0 failed" == said[-1]


@pytest.mark.parametrize(("options", "others"), [((), 0), (("--keep-going",), 2)])
def test_after_a_failure_others_are_begun_only_when_asked_for(
    tree: Path, options: tuple[str, ...], others: int
) -> None:
    names = [tree / "notes", tree / "one.git", tree / "deep/er/two.git"]
    done = gpa_any(tree, "run", "--stdin", *options, input="".join(f"{name}\n" for name in names))
    assert 1 == done.returncode
    assert f"{others} maintained, 1 failed" in done.stdout
    assert f"error: {tree}/notes: not a git repository" in done.stderr


def test_app_servers_get_the_same_answer_as_a_value(server: Path) -> None:
    result = commands.maintain(str(server))
    assert ["repack", "index", "expire"] == [step.verb for step in result.steps]
    assert ("", "", "") == (result.reason, result.stopped, result.error)


def test_app_servers_get_locked_beside_another_run(held: Path) -> None:
    with pytest.raises(Locked):
        commands.maintain(str(held))


def test_objects_stay_readable_while_a_copy_of_the_page_is_pushed_again(server: Path) -> None:
    """A pack that comes back with the bytes of one that was merged and deleted is an ordinary pack again."""
    content = [Whole(kind="blob", content=b"again %d" % number) for number in range(3)]
    name = add_pack(server, content)
    digest = content_digest(server)
    gpa(server, "run")
    assert name not in packs(server)
    assert name == add_pack(server, content)
    gpa(server, "run")
    gpa(server, "repack")
    gpa(server, "expire", "--grace=now")
    assert_sound(server, digest)
