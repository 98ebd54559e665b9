"""`git gpa data` and `git gpa union-merge`, as people and programs in other languages use them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from oracle import fsck, git, git_line
from running import gpa, gpa_any


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha1", "repo.git")
    return tmp_path / "repo.git"


def test_values_are_set_read_listed_and_deleted(repo: Path) -> None:
    gpa(repo, "data", "set", "users/1", "ann", "--layout", "path", "--message", "first")
    gpa(repo, "data", "set", "users/2", input="bob\n")
    gpa(repo, "data", "append", "users/1", " smith")
    assert "ann smith" == gpa(repo, "data", "get", "users/1").stdout
    assert "ann smith\0bob\n\0" == gpa(repo, "data", "get", "-z", "users/1", "users/2").stdout
    assert {"users/1": "ann smith", "x": None} == json.loads(
        gpa_any(repo, "data", "get", "--json", "users/1", "x").stdout
    )
    assert 1 == gpa_any(repo, "data", "get", "x").returncode
    assert ["users/1", "users/2"] == gpa(repo, "data", "list", "users/").stdout.splitlines()
    assert [{"key": "users/2", "value": "bob\n"}] == [
        json.loads(line) for line in gpa(repo, "data", "list", "--json", "users/2").stdout.splitlines()
    ]
    assert "ann" == gpa(repo, "data", "get", "--at", "meta~2", "users/1").stdout
    gpa(repo, "data", "delete", "users/1")
    assert 1 == gpa_any(repo, "data", "delete", "users/1").returncode
    log = gpa(repo, "data", "log", "users/1").stdout.splitlines()
    assert ["deleted", "9 bytes", "3 bytes"] == [line.partition(" ")[2] for line in log]
    assert "layout path, 1 keys" in gpa(repo, "data", "check").stdout
    gpa(repo, "data", "relayout", "hash/1")
    gpa(repo, "data", "forget")
    assert "1" == git_line(repo, "rev-list", "--count", "meta")
    assert "bob\n" == gpa(repo, "data", "get", "users/2").stdout
    fsck(repo)


def test_a_batch_answers_each_line_in_order(repo: Path) -> None:
    requests = [
        {"do": "set", "key": "a", "value": "1"},
        {"do": "append", "key": "a", "value": "2"},
        {"do": "set", "key": "b", "base64": "/w=="},
        {"do": "get", "key": "a"},
        {"do": "get", "key": "b"},
        {"do": "get", "key": "c"},
        {"do": "nothing"},
        {"do": "get"},
        {"do": "list", "prefix": "a"},
        {"do": "delete", "key": "b"},
        {"do": "commit", "message": "batch"},
    ]
    lines = [*map(json.dumps, requests), "no json"]
    answers = [json.loads(line) for line in gpa(repo, "data", "batch", input="\n".join(lines)).stdout.splitlines()]
    assert len(lines) == len(answers)
    assert [{}, {}, {}, {"value": "12"}, {"value": {"base64": "/w=="}}, {"value": None}] == answers[:6]
    assert all("error" in answer for answer in (answers[6], answers[7], answers[11]))
    assert [{"keys": ["a"]}, {}, {"head": git_line(repo, "rev-parse", "meta")}] == answers[8:11]
    assert "batch" == git_line(repo, "log", "-1", "--format=%s", "meta")


def test_a_batch_answers_before_the_input_ends(repo: Path) -> None:
    words = ["git", "-C", str(repo), "gpa", "data", "batch"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        for number in range(3):
            process.stdin.write(json.dumps({"do": "set", "key": "a", "value": str(number)}) + "\n")
            process.stdin.flush()
            assert "{}\n" == process.stdout.readline()
        process.stdin.close()
        assert 0 == process.wait()
    assert "2" == gpa(repo, "data", "get", "a").stdout


def test_sync_and_merge_exchange_with_remotes(repo: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        git(tmp_path, "init", "--quiet", name)
        git(tmp_path / name, "remote", "add", "origin", str(repo))
        gpa(tmp_path / name, "data", "set", name, "1")
        assert "in sync at" in gpa(tmp_path / name, "data", "sync").stdout
    git(tmp_path / "a", "fetch", "--quiet", "origin")
    gpa(tmp_path / "a", "data", "merge")
    assert {"a", "b"} == set(gpa(tmp_path / "a", "data", "list").stdout.split())
    assert "nothing to do\n" == gpa(tmp_path / "a", "data", "merge").stdout
    done = gpa_any(tmp_path / "a", "data", "sync", "nowhere")
    assert (128, True) == (done.returncode, "nowhere" in done.stderr)


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["data", "set", "a//b", "1", "--layout", "path"], 128, "cannot be a path"),
        (["data", "set", "a", "1", "--layout", "what"], 128, "unknown layout 'what'"),
        (["data", "get", "a", "--branch", "a..b"], 128, ""),
        (["data", "get"], 129, "wrong number of operands"),
        (["data", "inbox", "x"], 129, "wrong number of operands"),
        (["data", "what"], 129, "invalid choice"),
        (["data", "get", "a", "--at", "nothing"], 128, "Needed a single revision"),
        (["union-merge", "x", "y"], 128, "none of 'y' is a commit"),
    ],
)
def test_a_mistake_is_one_clear_error_and_makes_no_branch(repo: Path, words: list[str], status: int, said: str) -> None:
    done = gpa_any(repo, *words)
    assert status == done.returncode
    assert said in done.stderr
    assert "" == git(repo, "for-each-ref").stdout


def test_a_union_merge_has_the_lines_of_all(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "-b", "one", "work")
    work = tmp_path / "work"
    for branch, text in (("one", "a\nb\n"), ("two", "b\nc\n")):
        git(work, "checkout", "--quiet", "--orphan", branch)
        (work / "file").write_text(text)
        (work / f"only-{branch}").write_text(branch)
        git(work, "add", ".")
        git(work, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-q", "-m", branch)
    gpa(work, "union-merge", "refs/heads/all", "one", "two", "missing")
    assert ["a", "b", "c"] == git(work, "show", "all:file").stdout.split()
    assert {"file", "only-one", "only-two"} == set(git(work, "ls-tree", "--name-only", "all").stdout.split())
    assert 2 == len(git_line(work, "log", "-1", "--format=%P", "all").split())
    fsck(work)
