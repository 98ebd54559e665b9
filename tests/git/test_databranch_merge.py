"""Merging data branches: several repositories, deterministic commits, forgetting, and the exchange with remotes."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

import pytest
from oracle import fsck, git, git_line

from gpa_maint.databranch import DataBranch, MergeWarning
from gpa_maint.databranch.inbox import merge_inboxes
from gpa_maint.errors import Unsupported


class Replica:
    """A bare repository with its data branch; others are fetched into refs/remotes."""

    def __init__(self, folder: Path, name: str, layout: str = "hash/2") -> None:
        self.name = name
        self.path = folder / name
        self.layout = layout
        git(folder, "init", "--quiet", "--bare", "--object-format=sha1", name)

    def change(self, changes: dict[str, bytes | None]) -> str:
        with DataBranch(self.path, layout=self.layout if not self.has_branch() else None, merge="never") as db:
            with db.transaction() as made:
                for key, value in changes.items():
                    made.delete(key) if value is None else made.set(key, value)
            return db.head

    def has_branch(self) -> bool:
        return git(self.path, "rev-parse", "--verify", "--quiet", "meta", check=False).returncode == 0

    def fetch(self, *others: Replica) -> None:
        for other in others:
            if other is not self:
                git(self.path, "fetch", "--quiet", str(other.path), f"+meta:refs/remotes/{other.name}/meta")

    def merged(self) -> str:
        with DataBranch(self.path) as db:
            return db.head

    def items(self) -> dict[str, bytes]:
        with DataBranch(self.path, merge="never") as db:
            return dict(db.items())


def replicas(folder: Path, count: int, layout: str = "hash/2") -> list[Replica]:
    """Replicas that share a first commit."""
    first = Replica(folder, "r0", layout)
    first.change({"gone": b"1", "kept": b"1", "both": b"1"})
    made = [first]
    for number in range(1, count):
        other = Replica(folder, f"r{number}", layout)
        git(other.path, "fetch", "--quiet", str(first.path), "meta:meta")
        made.append(other)
    return made


@pytest.mark.parametrize("layout", ["hash/2", "path", "table/1"])
def test_replicas_that_sync_at_the_same_time_agree_after_one_round(tmp_path: Path, layout: str) -> None:
    all_of_them = replicas(tmp_path, 5, layout)
    for number, one in enumerate(all_of_them):
        one.change({f"own{number}": b"%d" % number, "both": b"from %d" % number})
    for one in all_of_them:
        one.fetch(*all_of_them)
    heads = {one.merged() for one in all_of_them}
    assert 1 == len(heads)
    found = all_of_them[3].items()
    assert {"gone", "kept", "both", *(f"own{number}" for number in range(5))} == found.keys()
    fsck(all_of_them[0].path)
    assert "5" == str(len(git_line(all_of_them[0].path, "log", "-1", "--format=%P", "meta").split()))


@pytest.mark.parametrize("layout", ["hash/2", "path", "table/1"])
def test_a_deleted_key_comes_back_only_where_the_other_side_changed_it(tmp_path: Path, layout: str) -> None:
    one, two = replicas(tmp_path, 2, layout)
    one.change({"gone": None, "both": None, "mine": b"1"})
    two.change({"both": b"changed", "theirs": b"1"})
    two.fetch(one)
    two.merged()
    assert {"kept": b"1", "both": b"changed", "mine": b"1", "theirs": b"1"} == two.items()


def test_what_is_below_a_folder_that_one_side_emptied_goes_unless_it_was_changed(tmp_path: Path) -> None:
    one = Replica(tmp_path, "one", "path")
    one.change({"d/e/a": b"1", "d/e/b": b"1", "x": b"1"})
    two = Replica(tmp_path, "two", "path")
    git(two.path, "fetch", "--quiet", str(one.path), "meta:meta")
    one.change({"d/e/a": None, "d/e/b": None})
    two.change({"d/e/b": b"2"})
    for here, there in ((one, two), (two, one)):
        here.fetch(there)
    assert one.merged() == two.merged()
    assert {"d/e/b": b"2", "x": b"1"} == one.items()


def test_a_key_beside_a_folder_of_its_name_is_kept_under_another_name(tmp_path: Path) -> None:
    one, two = replicas(tmp_path, 2, "path")
    one.change({"a": b"blob"})
    two.change({"a/b": b"below"})
    one.fetch(two)
    two.fetch(one)
    assert one.merged() == two.merged()
    found = one.items()
    assert b"below" == found["a/b"]
    assert [b"blob"] == [value for key, value in found.items() if key.startswith("a~")]


def test_unrelated_branches_are_merged_and_nothing_is_deleted(tmp_path: Path) -> None:
    one, two = Replica(tmp_path, "one"), Replica(tmp_path, "two")
    one.change({"a": b"1", "b": b"1"})
    two.change({"b": b"2", "c": b"2"})
    one.fetch(two)
    two.fetch(one)
    assert one.merged() == two.merged()
    assert {"a", "b", "c"} == one.items().keys()


def test_only_subtrees_that_differ_are_read(tmp_path: Path) -> None:
    one = Replica(tmp_path, "one", "hash/2")
    one.change({f"k{number}": b"1" for number in range(3000)})
    two = Replica(tmp_path, "two")
    git(two.path, "fetch", "--quiet", str(one.path), "meta:meta")
    one.change({"k1": b"2"})
    two.change({"k2": b"2"})
    one.fetch(two)
    with DataBranch(one.path, merge="never") as db:
        report = db.merge()
    base = git_line(one.path, "merge-base", f"{report.commit}^1", f"{report.commit}^2")
    differ = {
        line.split()[-1]
        for side in ("^1", "^2")
        for line in git(one.path, "diff-tree", "-r", "-t", base, f"{report.commit}{side}").stdout.splitlines()
        if line.split()[1] == "040000"
    }
    # of each folder that differs, at most the version of the base and of both sides; and the three roots
    assert report.trees_read <= 3 * (len(differ) + 1)
    assert (True, 0) == (report.made, report.changed)


@pytest.mark.parametrize(
    ("rule", "base", "one", "two", "expected"),
    [
        ("union", b"a\n", b"a\nb\n", b"a\nc\n", b"a\nb\nc\n"),
        ("set", b"a\nb\n", b"a\nb\nc\n", b"b\nd\n", b"b\nc\nd\n"),
        ("presence", b"1s 1 x\n", b"1s 1 x\n2s 1 y\n", b"3s 0 x\n", b"3s 0 x\n2s 1 y\n"),
        ("newest", b"", b"1s x old\n", b"2s x new\n", b"2s x new\n"),
        ("counter", b"w 1 0\n", b"w 5 0\n", b"v 2 1\nw 1 0\n", b"v 2 1\nw 5 0\n"),
        ("json", b'{"a":1,"b":1}', b'{"a":2,"b":1}', b'{"a":1,"c":3}', b'{"a": 2, "c": 3}\n'),
    ],
)
@pytest.mark.parametrize("layout", ["hash/2", "table/1"])
def test_rules_in_the_branch_choose_the_driver(
    tmp_path: Path, layout: str, rule: str, base: bytes, one: bytes, two: bytes, expected: bytes
) -> None:
    first, second = Replica(tmp_path, "one"), Replica(tmp_path, "two")
    with DataBranch(first.path, layout=layout, rules=[("x/*", rule), ("*", "latest")]) as db:
        db.set("x/key", base)
    git(second.path, "fetch", "--quiet", str(first.path), "meta:meta")
    first.change({"x/key": one})
    second.change({"x/key": two})
    first.fetch(second)
    second.fetch(first)
    assert first.merged() == second.merged()
    assert expected == first.items()["x/key"]


def test_a_driver_that_is_not_installed_is_refused_and_nothing_is_merged(tmp_path: Path) -> None:
    one, two = replicas(tmp_path, 2)
    with DataBranch(one.path) as db:
        db.set_rules([("*", "their-own")])
        assert ["their-own" in line for line in db.check()] == [True]
    before = two.change({"kept": b"2"})
    two.fetch(one)
    with pytest.warns(MergeWarning, match="their-own"), DataBranch(two.path) as db:
        assert b"2" == db["kept"]
        with pytest.raises(Unsupported, match="their-own"):
            db.merge()
    assert before == git_line(two.path, "rev-parse", "meta")


def test_a_driver_of_an_entry_point_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "shout-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: shout\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[gpa_maint.merge_drivers]\nshout = shout_driver:merge\n")
    (tmp_path / "site" / "shout_driver.py").write_text("def merge(base, older, newer):\n    return max(older, newer)\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    one, two = replicas(tmp_path, 2)
    with DataBranch(one.path) as db:
        db.set_rules([("*", "shout")])
    one.change({"both": b"z"})
    two.change({"both": b"y"})
    one.fetch(two)
    one.merged()
    assert b"z" == one.items()["both"]


def test_forgotten_history_is_gone_and_old_clones_merge_as_values(tmp_path: Path) -> None:
    one, two = replicas(tmp_path, 2)
    one.change({"kept": b"2"})
    two.change({"own": b"1", "gone": None})
    with DataBranch(one.path) as db:
        db.forget()
        assert b"2" == db["kept"]
    assert "1" == git_line(one.path, "rev-list", "--count", "meta")
    one.fetch(two)
    two.fetch(one)
    heads = (one.merged(), two.merged())
    assert heads[0] == heads[1]
    assert {"kept": b"2", "own": b"1", "both": b"1"} == two.items()
    assert "2" == git_line(two.path, "rev-list", "--count", "meta")


def test_forget_keeps_young_commits(tmp_path: Path) -> None:
    (one,) = replicas(tmp_path, 1)
    one.change({"kept": b"2"})
    with DataBranch(one.path) as db:
        before = list(db.history("kept"))
        db.forget(keep=timedelta(days=1))
        assert [value for _, value in before] == [value for _, value in db.history("kept")]
        assert {oid for oid, _ in before}.isdisjoint(oid for oid, _ in db.history("kept"))


def test_two_machines_exchange_through_a_server_and_retry_when_the_push_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "server.git")
    branches = []
    for name in ("laptop", "desk"):
        git(tmp_path, "init", "--quiet", name)
        git(tmp_path / name, "remote", "add", "origin", "../server.git")
        branches.append(DataBranch(tmp_path / name))
    laptop, desk = branches
    laptop.set("ann", b"1")
    laptop.sync()
    desk.set("bob", b"2")
    desk.sync()
    laptop.set("cid", b"3")
    desk.set("dan", b"4")
    laptop.sync()
    desk.sync()
    laptop.sync()
    assert ["ann", "bob", "cid", "dan"] == sorted(laptop) == sorted(desk)
    assert laptop.head == desk.head == git_line(tmp_path / "server.git", "rev-parse", "meta")
    laptop.forget()
    laptop.sync()
    desk.sync()
    assert laptop.head == desk.head == git_line(tmp_path / "server.git", "rev-parse", "meta")
    assert "1" == git_line(tmp_path / "server.git", "rev-list", "--count", "meta")
    for branch in branches:
        branch.close()


def test_what_clients_push_to_the_inbox_is_merged_by_the_server(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "server.git")
    for name in ("a", "b"):
        git(tmp_path, "init", "--quiet", name)
        with DataBranch(tmp_path / name) as db:
            db.set(name, b"1")
            db.sync(str(tmp_path / "server.git"), inbox=name)
    with DataBranch(tmp_path / "server.git") as db:
        assert ["a", "b"] == sorted(db)


def test_the_hook_merges_an_inbox_after_the_push_and_removes_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "server.git")
    server = tmp_path / "server.git"
    git(server, "gpa", "install")
    git(tmp_path, "init", "--quiet", "client")
    with DataBranch(tmp_path / "client") as db:
        for value in (b"1", b"2"):
            db.set("a", value)
            db.sync(str(server), inbox="client")
            until = time.monotonic() + 60
            while git(server, "show", "meta:.gpa-data", check=False).returncode or _inboxes(server):
                assert time.monotonic() < until
                time.sleep(0.05)
            with DataBranch(server) as merged:
                assert value == merged["a"]


def _inboxes(repo: Path) -> str:
    return git(repo, "for-each-ref", "refs/data-inbox/").stdout


def test_an_inbox_of_each_branch_goes_into_its_branch(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "server.git")
    git(tmp_path, "init", "--quiet", "client")
    for ref in ("meta", "refs/data/more", "a/b"):
        with DataBranch(tmp_path / "client", ref) as db:
            db.set("key", ref.encode())
            db.sync(str(tmp_path / "server.git"), inbox="client")
    merge_inboxes(tmp_path / "server.git")
    assert "" == _inboxes(tmp_path / "server.git")
    for ref in ("meta", "refs/data/more", "a/b"):
        with DataBranch(tmp_path / "server.git", ref) as db:
            assert ref.encode() == db["key"]


def test_an_inbox_that_cannot_be_merged_stays_and_the_others_are_merged(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "server.git")
    server = tmp_path / "server.git"
    for name, rules in (("a", [("*", "their-own")]), ("b", [])):
        git(tmp_path, "init", "--quiet", name)
        with DataBranch(tmp_path / name, rules=rules) as db:
            db.set(name, b"1")
            db.sync(str(server), inbox=name)
    with pytest.raises(Unsupported, match="their-own"):
        merge_inboxes(server)
    assert ["refs/data-inbox/a/meta"] == [line.split()[-1] for line in _inboxes(server).splitlines()]
    with pytest.warns(MergeWarning, match="their-own"), DataBranch(server) as db:
        assert ["b"] == list(db)
