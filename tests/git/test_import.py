"""import-objects takes what `git cat-file --batch` prints, add-loose what lies loose; git finds the same objects."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from histories import HistorySpec, init_server, pushed_history
from loose import loose_oids, loose_repo, write_loose
from oracle import ObjectFormat, all_objects, fsck, git, git_line, objects_dir, pack_dir, packs
from packwriter import oid_hex
from running import gpa, gpa_json
from writing import left_behind, loose_count

MIB = 1 << 20


def batch_of(repo: Path) -> bytes:
    command = ["git", "-C", str(repo), "cat-file", "--batch", "--batch-all-objects"]
    return subprocess.run(command, check=True, capture_output=True).stdout


def import_into(repo: Path, stream: bytes, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["git", "-C", str(repo), "gpa", "import-objects", *options]
    done = subprocess.run(command, input=stream, capture_output=True, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return init_server(tmp_path / "server")


# -- import-objects


def test_a_whole_repository_is_imported(tmp_path: Path, object_format: ObjectFormat) -> None:
    source = pushed_history(tmp_path, HistorySpec(kind="tree", pushes=8, object_format=object_format)).server
    repo = init_server(tmp_path / "target", object_format=object_format)
    done = import_into(repo, batch_of(source))
    assert (0, "") == (done.returncode, done.stderr)
    count = len(all_objects(source))
    assert f"imported {count} objects -> 1 page\n" == done.stdout
    assert all_objects(source) == all_objects(repo)
    assert 1 == len(packs(repo))
    assert 0 == loose_count(repo)
    assert {} == left_behind(repo)
    fsck(repo)
    again = import_into(repo, batch_of(source))
    assert f"imported {count} objects -> 0 pages ({count} there already)\n" == again.stdout
    assert 1 == len(packs(repo))


def test_contents_of_all_kinds_and_sizes(repo: Path, tmp_path: Path) -> None:
    source = init_server(tmp_path / "source")
    contents = [b"", b"\n", b"0123 blob 4\n", b"\0" * 3, os.urandom(MIB), os.urandom(9 * MIB), bytes(17 * MIB)]
    for content in contents:
        git(source, "hash-object", "-w", "--stdin", input=content)
    git(source, "hash-object", "-w", "-t", "tree", "--stdin", input=b"")
    assert 0 == import_into(repo, batch_of(source)).returncode
    assert all_objects(source) == all_objects(repo)
    fsck(repo)


def test_pages_are_of_the_configured_size(repo: Path, tmp_path: Path) -> None:
    source = init_server(tmp_path / "source")
    for number in range(25):
        write_loose(objects_dir(source), "blob", b"%d" % number)
    git(repo, "config", "gpa.pageObjects", "10")
    answer = import_into(repo, batch_of(source), "--json", "--durability=none").stdout
    assert '"page_count": 3' in answer
    assert [5, 10, 10] == sorted(packs(repo).values())


def test_what_git_says_is_missing_is_repeated(repo: Path) -> None:
    oid = oid_hex("blob", b"here")
    stream = b"%b blob 4\nhere\n%b missing\nHEAD:some file missing\nabcd ambiguous\n" % (oid.encode(), b"0" * 40)
    done = import_into(repo, stream)
    assert 1 == done.returncode
    assert [
        f"error: the input has no object: {'0' * 40} missing",
        "error: the input has no object: HEAD:some file missing",
        "error: the input has no object: abcd ambiguous",
    ] == done.stderr.splitlines()
    assert [oid] == list(all_objects(repo))


GOOD = oid_hex("blob", b"good").encode() + b" blob 4\ngood\n"


@pytest.mark.parametrize(
    ("stream", "said"),
    [
        (b"%b blob 4\nliar\n" % (b"0" * 40), f"object {'0' * 40} of the input has the id"),
        (b"%b blob 9\nshort\n" % (b"0" * 40), f"the input ends within object {'0' * 40}, 3 bytes early"),
        (b"%b blob 90000000\nshort\n" % (b"0" * 40), f"the input ends within object {'0' * 40}, 89999994 bytes early"),
        (b"%b blob 3\nlonger\n" % (b"0" * 40), f"object {'0' * 40} is not 3 bytes long"),
        (b"something else\n", "the input has 'something else' where git cat-file --batch prints an object"),
        (b"%b blub 3\nabc\n" % (b"0" * 40), "the input has an object of type 'blub' and size 3"),
        (b"%b blob -3\nabc\n" % (b"0" * 40), "where git cat-file --batch prints an object"),
        (b"%b blob %b\nabc\n" % (b"0" * 40, b"9" * 30), "and size 999999"),
        (b"%b blob %b\nabc\n" % (b"0" * 40, b"9" * 19), "and size 999999"),
        (b"%b blob %d\nabc\n" % (b"0" * 40, 1 << 62), f"the input ends within object {'0' * 40}"),
        (b"%b blob 3" % (b"0" * 40), "where git cat-file --batch prints an object"),
        (b"x" * 100_000, "where git cat-file --batch prints an object"),
        (b"\xff\xfe\x1b[31m\n", "where git cat-file --batch prints an object"),
    ],
)
def test_a_bad_stream_ends_the_import_and_what_came_before_stays(repo: Path, stream: bytes, said: str) -> None:
    done = import_into(repo, GOOD * 3 + stream)
    assert 128 == done.returncode
    assert done.stderr.startswith("fatal: ")
    assert said in done.stderr
    assert "\x1b" not in done.stderr
    assert {oid_hex("blob", b"good"), oid_hex("blob", b"liar")} >= all_objects(repo).keys()
    assert {} == left_behind(repo)
    fsck(repo)


def test_an_empty_input_is_nothing_to_do(repo: Path) -> None:
    assert "nothing to do: the input has no object\n" == import_into(repo, b"").stdout
    assert [] == list(pack_dir(repo).iterdir())


def test_the_import_goes_on_beside_a_run(repo: Path) -> None:
    """It needs no lock."""
    script = (
        "from gpa_maint import fs\nfrom gpa_maint.repo.discover import find_object_dir\n"
        "with fs.maintenance_lock(find_object_dir()): print(flush=True); input()"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=repo, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        assert 0 == import_into(repo, GOOD).returncode
        holder.communicate(b"\n")
    assert 1 == len(all_objects(repo))


MEASURED = """
import sys
from gpa_maint.cli.main import main
assert 0 == main(["import-objects"])
print(*(line for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.mark.memory
def test_an_import_takes_constant_memory(repo: Path, tmp_path: Path) -> None:
    source = init_server(tmp_path / "source")
    for seed in range(12):
        git(source, "hash-object", "-w", "--stdin", input=bytes([seed]) * (40 * MIB))
    stream = subprocess.Popen(
        ["git", "-C", source, "cat-file", "--batch", "--batch-all-objects"], stdout=subprocess.PIPE
    )
    done = subprocess.run(
        [sys.executable, "-c", MEASURED], cwd=repo, stdin=stream.stdout, capture_output=True, text=True, check=True
    )
    assert 0 == stream.wait()
    assert int(done.stdout.split()[-2]) < 100 * 1024
    assert all_objects(source) == all_objects(repo)


# -- add-loose


def test_all_loose_objects_go_into_pages(tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = loose_repo(tmp_path / "work", object_format=object_format)
    expected, count = all_objects(repo), len(loose_oids(repo))
    assert f"pack {count} loose objects\n" == gpa(repo, "add-loose", "-n").stdout
    assert count == len(loose_oids(repo))
    assert gpa(repo, "add-loose").stdout.startswith(f"packed {count} loose objects, ")
    assert set() == loose_oids(repo)
    assert expected == all_objects(repo)
    assert "nothing to do: there is no loose object that can be packed\n" == gpa(repo, "add-loose").stdout
    fsck(repo)


def test_add_loose_names_what_is_damaged(repo: Path) -> None:
    write_loose(objects_dir(repo), "blob", b"good")
    oid = write_loose(objects_dir(repo), "blob", b"damaged")
    path = objects_dir(repo) / oid[:2] / oid[2:]
    path.chmod(0o644)
    path.write_bytes(b"nonsense")
    done = git(repo, "gpa", "add-loose", check=False)
    assert 1 == done.returncode
    assert done.stderr.startswith(f"error: left out object {oid}: ")
    assert {oid} == loose_oids(repo)


def test_add_loose_answers_in_json_and_tells_dumb_http(repo: Path) -> None:
    write_loose(objects_dir(repo), "blob", b"good")
    git(repo, "update-server-info")
    assert 1 == gpa_json(repo, "add-loose", "-n")["page_objects"] / 2000
    (page,) = gpa_json(repo, "add-loose")["pages"]
    assert page["name"] in (objects_dir(repo) / "info" / "packs").read_text()
    assert "blob" == git_line(repo, "cat-file", "-t", oid_hex("blob", b"good"))
