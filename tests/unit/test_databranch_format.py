"""The worked example of docs/formats/data-branch.md is made again, byte for byte."""

from __future__ import annotations

from pathlib import Path

from oracle import git
from test_formats_docs import _example

from gpa_maint.databranch import DataBranch
from gpa_maint.databranch.layout import table_of

PAGE = "data-branch.md"


def branch_of_the_example(path: Path) -> DataBranch:
    git(path.parent, "init", "--quiet", "--bare", "--object-format=sha1", path.name)
    db = DataBranch(path, layout="hash/1", rules=[("log/*", "union")])
    with db.transaction() as change:
        change.set("a", b"1\n")
        change.set("x/y", b"2")
    return db


def test_the_branch_of_the_example_is_the_one_that_is_written(tmp_path: Path) -> None:
    with branch_of_the_example(tmp_path / "repo") as db:
        snapshot = db.snapshot()
        trees = snapshot._trees
        assert _example(PAGE, "settings") == trees.objects.read(trees.blob_at(snapshot.root, [b".gpa-data"]) or b"")
        for key, name in (("a", "folder-of-a"), ("x/y", "folder-of-x-y")):
            found = trees.find(snapshot.root, snapshot.layout.path(key)[0])
            assert found and _example(PAGE, name) == trees.get(found[0]).raw
        assert b"c" == snapshot.layout.path("a")[0]


def test_the_table_of_the_example_is_the_one_that_is_written() -> None:
    assert _example(PAGE, "table") == table_of({"a": b"1\n", "b": b"2"})


def test_the_merge_commit_of_the_example_is_the_one_that_is_made(tmp_path: Path) -> None:
    with branch_of_the_example(tmp_path / "repo") as db:
        root = db.snapshot().root
        assert root
        heads = [
            git(
                tmp_path / "repo",
                "-c",
                "user.name=n",
                "-c",
                "user.email=n@e",
                "hash-object",
                "-t",
                "commit",
                "-w",
                "--stdin",
                input=f"tree {root.hex()}\nauthor n <n@e> {when} +0000\ncommitter n <n@e> {when} +0000\n\nx\n",
            ).stdout.strip()
            for when in (1_700_000_000, 1_700_000_100)
        ]
        git(tmp_path / "repo", "update-ref", "refs/heads/meta", heads[0])
        report = db.merge_commits([heads[1]])
        assert _example(PAGE, "merge") == db._objects.read(bytes.fromhex(report.commit))


def test_the_intents_of_the_example_are_those_that_are_written(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha1", "repo")
    with DataBranch(tmp_path / "repo") as db:
        db.set("a", b"1\n")
        db.delete("x/y")
        (file,) = (tmp_path / "repo" / "gpa" / "data" / "refs%2Fheads%2Fmeta").iterdir()
        assert _example(PAGE, "intents") == file.read_bytes()
