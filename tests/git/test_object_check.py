"""New trees, commits and tags: what `git hash-object` refuses, a writer refuses too, and nothing else.

Git is the judge: since 2.40 hash-object asks fsck, and has to agree in all cases. Before, it looks less closely: what
it refuses is refused here, and what is refused here is an error for `git fsck --strict`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import ObjectFormat, git, objects_dir

from gpa_maint import PageStore
from gpa_maint.errors import GpaError, Malformed

HASH_SIZES = {"sha1": 20, "sha256": 32}
DIGITS = 40
"""How long the ids in the table are; for SHA-256 they grow."""

OID = b"i" * 20
WHO = b"A U Thor <a@example.com> 1700000000 +0100"
TREE_LINE = b"tree %b\n" % (b"1" * DIGITS)
PARENT_LINE = b"parent %b\n" % (b"2" * DIGITS)
PEOPLE = b"author %b\ncommitter %b\n" % (WHO, WHO)
OBJECT_LINE = b"object %b\n" % (b"3" * DIGITS)


class Case(NamedTuple):
    """An object and the rule that it breaks; "" for none."""

    kind: str
    content: bytes
    rule: str


def entry(name: bytes, mode: bytes = b"100644", oid: bytes = OID) -> bytes:
    return mode + b" " + name + b"\0" + oid


def tree(*names: bytes) -> bytes:
    return b"".join(map(entry, names))


def sorted_tree(*names: bytes) -> bytes:
    return tree(*sorted(names))


def tag(name: bytes = b"v1", kind: bytes = b"commit", tagger: bytes = WHO) -> bytes:
    return OBJECT_LINE + b"type %b\ntag %b\ntagger %b\n\nwhy\n" % (kind, name, tagger)


def commit(author: bytes = WHO, committer: bytes = WHO, rest: bytes = b"\nwhy\n") -> bytes:
    return TREE_LINE + PARENT_LINE + b"author %b\ncommitter %b\n" % (author, committer) + rest


GOOD_TREES = [
    b"",
    tree(b"a"),
    tree(b"a", b"a.b", b"ab", b"b"),
    entry(b"a", b"100755") + entry(b"b", b"120000") + entry(b"c", b"40000") + entry(b"d", b"160000"),
    entry(b"a.b") + entry(b"a", b"40000") + entry(b"a0"),
    entry(b"a") + entry(b"a.b") + entry(b"a-", b"40000").replace(b"a-", b"a.c"),
    tree(b"\xff\xfe", b"\xff\xff"),
    tree(b"\x01", b" ", b"  "),
    entry(b"1", b"40000") + entry(b"1a"),
    entry(b"a", b"1100644"),  # git keeps 16 bits of the mode
    tree(b"n" * 4096),
    sorted_tree(
        b".gi", b".gitmodule", b".gitx", b".igt", b"gi", b"gi7eba", b"git", b"git~2", b"gitmod~5", b"gitmodules"
    ),
    tree(b".gitattributes", b".gitignore", b".mailmap"),
    tree(b".gitfoo"),
    entry(b"gitmod~1x", b"120000"),
    entry(b"gi7eba~0", b"120000"),
    entry(b"gi7eba~", b"120000"),
    entry(b"gi7~123", b"120000"),
    entry(b"gi7ebb~1", b"120000"),
    entry(b".gitmodulesx", b"120000"),
    entry(b".gitmodules", b"120000").replace(b".git", b".gjt"),
    entry(b"a\\.gitattributes", b"120000"),
    sorted_tree(b".\xe2\x80\x8bgit", b"\xe2\x80\x8c", b"\xe2\x80\x90.git", b"\xef\xbb\xbe.git"),
    tree(b".git\xc3\xa4", b".git\xe2\x82\xac", b".git\xf0\x9f\x98\x80"),
    tree(b"a\\.gi", b"a\\.gitx"),
]

TREE_FAULTS: dict[str, list[bytes]] = {
    "badTree": [
        b"garbage",
        b"x",
        tree(b"a")[:-1],
        tree(b"a") + b"\0",
        tree(b"a") + b"1",
        tree(b"a") + tree(b"b")[:-1],
        entry(b""),
        entry(b"a", b""),
        entry(b"a", b" "),
        entry(b"a", b"100648"),
        entry(b"a", b"-100644"),
        entry(b"a", b"0x1a4"),
        tree(b"a") + entry(b"b", b"9"),
        b"100644a" + b"\0" + OID,
        b"100644 a" + OID + b"x",
        tree(b"a") * 2 + b"100644 b",
    ],
    "nullSha1": [entry(b"a", oid=b"\0" * 20), tree(b"a") + entry(b"b", b"160000", oid=b"\0" * 20)],
    "fullPathname": [tree(b"a/b"), tree(b"/"), tree(b"a/")],
    "hasDot": [tree(b"."), entry(b".", b"40000")],
    "hasDotdot": [tree(b".."), entry(b"..", b"40000")],
    "hasDotgit": [
        tree(name)
        for name in (
            *(b".git", b".GIT", b".gIt", b".git ", b".git.", b".git. .", b".git:x", b".git::$INDEX_ALLOCATION"),
            *(b"git~1", b"GIT~1", b"git~1.", b"git~1:", b".git\\x", b"git~1\\x", b"a\\.git", b"a\\git~1", b"\\.git"),
            *(b"a\\b\\.Git", b".g\xe2\x80\x8cit", b"\xe2\x80\x8d.git", b".git\xe2\x81\xaf", b"\xef\xbb\xbf.git"),
            *(
                b".gi\xe2\x80\xaat",
                b".git\xff",
                b".git\xc0\x80",
                b".git\xed\xa0\x80",
                b".git\xef\xbf\xbf",
                b".git\xe2\x82",
            ),
            *(b".git\xf4\x90\x80\x80", b".git\xe0\x80\x80", b".git\xf0\x80\x80\x80", b".\xe2\x80\xaegit"),
        )
    ],
    "zeroPaddedFilemode": [entry(b"a", b"0100644"), entry(b"a", b"040000"), tree(b"a") + entry(b"b", b"0120000")],
    "badFilemode": [
        entry(b"a", mode)
        for mode in (b"100664", b"100600", b"100000", b"1", b"644", b"777", b"170000", b"40755", b"140000")
    ],
    "duplicateEntries": [
        tree(b"a", b"a"),
        entry(b"a") + entry(b"a", b"40000"),
        entry(b"a", b"40000") * 2,
        entry(b"foo") + entry(b"foo.bar") + entry(b"foo", b"40000"),
        entry(b"foo") + tree(b"foo.bar", b"foo.bar.baz") + entry(b"foo.bar", b"40000") + entry(b"foo", b"40000"),
        entry(b"a") + entry(b"a-", b"40000") + entry(b"a", b"40000"),
    ],
    "treeNotSorted": [
        tree(b"b", b"a"),
        tree(b"ab", b"a"),
        entry(b"a", b"40000") + entry(b"a.b"),
        entry(b"a0") + entry(b"a", b"40000"),
        tree(b"\xff", b"a"),
    ],
    "largePathname": [tree(b"n" * 4097)],
    "gitmodulesSymlink": [
        entry(name, b"120000")
        for name in (
            *(
                b".gitmodules",
                b".GITmodules",
                b".gitmodules .",
                b".gitmodules:x",
                b"gitmod~1",
                b"GITMOD~4. ",
                b"gi7eba~1",
            ),
            *(b"gi7eb~12", b"gi7e~123:", b"~1234567", b"~9999999 ", b".git\xe2\x80\x8cmodules", b"a\\.gitmodules"),
            *(b"a\\b\\gitmod~2", b"a\\gi7eba~9", b".gitmodules\xff", b"gi~12345"),
        )
    ],
    "gitattributesSymlink": [entry(name, b"120000") for name in (b".gitattributes", b"gitatt~1", b"GI7D29~3")],
    "gitignoreSymlink": [entry(name, b"120000") for name in (b".gitignore", b"gitign~4", b"gi250a~1", b".gitIGNORE.")],
    "mailmapSymlink": [
        entry(name, b"120000") for name in (b".mailmap", b"mailma~1", b"maba30~1", b".mail\xe2\x80\x8dmap")
    ],
}

IDENT_FAULTS: dict[str, list[bytes]] = {
    "missingNameBeforeEmail": [b"<a@e> 1 +0000"],
    "missingEmail": [b"A U Thor 1 +0000", b"", b"A"],
    "badName": [b"A> <a@e> 1 +0000", b">", b"A U> 1 +0000"],
    "missingSpaceBeforeEmail": [b"A<a@e> 1 +0000", b"A\t<a@e> 1 +0000"],
    "badEmail": [b"A <a@e", b"A <a<e> 1 +0000", b"A <"],
    "missingSpaceBeforeDate": [b"A <a@e>1 +0000", b"A <a@e>", b"A <a@e>\t1 +0000", b"A <a@e>> 1 +0000"],
    "badDate": [b"A <a@e> ", b"A <a@e> x", b"A <a@e> -1 +0000", b"A <a@e> 1", b"A <a@e> 1\t+0000", b"A <a@e> 1x +0000"],
    "zeroPaddedDate": [b"A <a@e> 01 +0000", b"A <a@e> 00 +0000", b"A <a@e> 0", b"A <a@e> 0\t+0000"],
    "badDateOverflow": [
        b"A <a@e> %d +0000" % date for date in (2**63, 2**64 - 1, 2**64, 2**64 + 1, 10**22, 10**23, 10**24, 10**40)
    ],
    "badTimezone": [
        b"A <a@e> 1 " + zone
        for zone in (b"", b"0000", b"+000", b"+00000", b"+00a0", b"UTC", b"*0000", b"+0000 ", b"+0000x")
    ],
}

GOOD_IDENTS = [
    *(
        WHO,
        b" <> 0 +0000",
        b"A <> 1 -0000",
        b"A <a@e> 9223372036854775807 +9999",
        b"A <a@e>  \t1 +0000",
        b"\xff <\xfe> 1 +0000",
    ),
    *(b'A <a b \\ "> 1 +0100', b"  <a> 1 +0000"),
]

COMMIT_FAULTS: dict[str, list[bytes]] = {
    "unterminatedHeader": [b"garbage", b"", b"tree", TREE_LINE + PEOPLE[:-1]],
    "nulInHeader": [TREE_LINE.replace(b"1" * 9, b"\0"), b"\0", TREE_LINE + PEOPLE[:-1] + b"\0\n\nwhy"],
    "nulInCommit": [commit(rest=b"\nwhy\0"), commit(rest=b"\n\0")],
    "missingTree": [
        b"\n",
        b"\n\n",
        b"tree\n",
        PEOPLE,
        b" " + commit(),
        b"Tree " + commit()[5:],
        PARENT_LINE + commit(),
    ],
    "badTreeSha1": [
        commit().replace(b"tree 1", b"tree g"),
        commit().replace(b"tree 1", b"tree "),
        commit().replace(b"tree 1", b"tree 11"),
        commit().replace(b"tree 1", b"tree  "),
        b"tree \n" + PEOPLE,
        TREE_LINE[:-1] + b" \n" + PEOPLE,
    ],
    "badParentSha1": [commit().replace(b"parent 2", b"parent " + digit) for digit in (b"", b"22", b"x", b" ")],
    "missingAuthor": [
        TREE_LINE,
        TREE_LINE + b"\nwhy\n",
        TREE_LINE + b"\n" + PEOPLE,
        TREE_LINE + b"parent\n" + PEOPLE,
        TREE_LINE + TREE_LINE + PEOPLE,
        TREE_LINE + b"committer %b\n" % WHO,
        TREE_LINE + b"Author %b\ncommitter %b\n" % (WHO, WHO),
    ],
    "multipleAuthors": [TREE_LINE + b"author %b\n" % WHO + PEOPLE],
    "missingCommitter": [TREE_LINE + b"author %b\n" % WHO, commit().replace(b"committer", b"committed")],
    "badParent": [TREE_LINE + PARENT_LINE.replace(b"2", b"1") + PEOPLE],
}

TAG_FAULTS: dict[str, list[bytes]] = {
    "unterminatedHeader": [b"garbage", b"", tag()[: tag().index(b"\n\n")]],
    "nulInHeader": [tag(name=b"a\0b")],
    "missingObject": [b"\n", tag()[1:], b"Object" + tag()[6:]],
    "badObjectSha1": [tag().replace(b"object 3", b"object " + digits) for digits in (b"", b"33", b"z")],
    "missingTypeEntry": [OBJECT_LINE, OBJECT_LINE + b"\n", OBJECT_LINE + OBJECT_LINE, OBJECT_LINE + b"tag v\n"],
    "badType": [tag(kind=kind) for kind in (b"", b"commits", b"Commit", b"com", b"any", b"commit ")],
    "missingTagEntry": [OBJECT_LINE + b"type commit\n", OBJECT_LINE + b"type commit\ntagger %b\n" % WHO],
    "badTagName": [
        tag(name=name)
        for name in (
            *(
                b"",
                b".a",
                b"a..b",
                b"a b",
                b"a~",
                b"a^",
                b"a:b",
                b"a?",
                b"a*",
                b"a[",
                b"a\\b",
                b"a\x7f",
                b"a\tb",
                b"a@{b",
            ),
            *(b"a.lock", b"a/", b"/a", b"a//b", b"a/.b", b"a.lock/b", b"a.", b"a/b.", b"\x01", b".lock", b"a/.lock"),
        )
    ],
    "missingTaggerEntry": [
        OBJECT_LINE + b"type commit\ntag v1\n",
        OBJECT_LINE + b"type commit\ntag v1\n\nwhy\n",
        OBJECT_LINE + b"type commit\ntag v1\nTagger %b\n" % WHO,
    ],
}

GOOD_TAGS = [
    tag(),
    *(tag(kind=kind) for kind in (b"tree", b"blob", b"tag")),
    *(
        tag(name=name)
        for name in (b"@", b"a@", b"{a", b"a/b", b"a.b", b"\xff", b"a.lockx", b"lock", b"-", b"a}", b"a|b", b"HEAD")
    ),
    tag()[: tag().index(b"\n\n") + 1],
    tag() + b"\0",
    tag().replace(b"\n\n", b"\ngpgsig a\n b\n\n"),
    tag().replace(b"\n\n", b"\nextra header\n\n"),
    tag().replace(b"333", b"ABC", 1),
]

GOOD_COMMITS = [
    commit(),
    commit(rest=b""),
    commit(rest=b"\n"),
    commit(rest=b"encoding latin-1\n\n\xe4"),
    commit(rest=b"gpgsig -\n x\n\nwhy"),
    commit(rest=b"author again\nparent x\n\n"),
    TREE_LINE + PEOPLE,
    TREE_LINE + PARENT_LINE * 3 + PEOPLE,
    TREE_LINE.replace(b"111", b"aFb", 1) + PEOPLE,
    *(commit(author=who, committer=who) for who in GOOD_IDENTS),
]

CASES = [
    *(Case("tree", content, "") for content in GOOD_TREES),
    *(Case("tree", content, rule) for rule, contents in TREE_FAULTS.items() for content in contents),
    *(Case("commit", content, "") for content in GOOD_COMMITS),
    *(Case("commit", content, rule) for rule, contents in COMMIT_FAULTS.items() for content in contents),
    *(Case("commit", commit(author=who), rule) for rule, idents in IDENT_FAULTS.items() for who in idents),
    *(Case("commit", commit(committer=who), rule) for rule, idents in IDENT_FAULTS.items() for who in idents),
    *(Case("tag", content, "") for content in GOOD_TAGS),
    *(Case("tag", content, rule) for rule, contents in TAG_FAULTS.items() for content in contents),
    *(Case("tag", tag(tagger=who), rule) for rule, idents in IDENT_FAULTS.items() for who in idents),
]


def for_format(content: bytes, object_format: ObjectFormat) -> bytes:
    """The same with ids of the other size."""
    if object_format == "sha1":
        return content
    for digit in b"123":
        content = content.replace(bytes([digit]) * 37, bytes([digit]) * 61)
    return content.replace(OID, b"i" * 32).replace(b"\0" * 20, b"\0" * 32)


@pytest.fixture
def repo(tmp_path: Path, object_format: ObjectFormat) -> Path:
    git(tmp_path, "init", "--quiet", "--bare", f"--object-format={object_format}", "repo")
    return tmp_path / "repo"


@pytest.fixture
def store(repo: Path) -> Iterator[PageStore]:
    with PageStore.for_repository(repo) as opened:
        yield opened


def our_complaint(store: PageStore, kind: str, content: bytes) -> str:
    try:
        store.writer().add(kind, content)
    except Malformed as error:
        assert kind == error.kind
        assert f"refusing to write malformed {kind}: {error.reason}" == str(error)
        return error.reason
    return ""


class Verdict(NamedTuple):
    """Was it refused, and with which words?"""

    refused: bool
    words: str


def hash_object(repo: Path, program: str, kind: str, content: bytes) -> Verdict:
    command = [program, "-C", repo, "hash-object", "-t", kind, "--stdin"]
    done = subprocess.run(command, input=content, capture_output=True)
    return Verdict(done.returncode != 0, done.stderr.decode("utf-8", "replace"))


def asks_fsck(program: str) -> bool:
    words = subprocess.run([program, "version"], capture_output=True, text=True, check=True).stdout.split()
    return [2, 40] <= [int(number) for number in words[2].split(".")[:2]]


def fsck_complains(repo: Path, program: str, kind: str, content: bytes) -> bool:
    """Does `git fsck --strict` say something of this object itself, and not only of what it names?"""
    command = [program, "-C", repo, "hash-object", "-t", kind, "--literally", "-w", "--stdin"]
    oid = subprocess.run(command, input=content, capture_output=True, text=False, check=True).stdout.decode().strip()
    lines = git(repo, "fsck", "--strict", "--no-progress", check=False, program=program).stderr.splitlines()
    (objects_dir(repo) / oid[:2] / oid[2:]).unlink()
    return any(oid in line and line.startswith(("error", "warning")) for line in lines)


LENIENT = tag(tagger=b"A <a@e> x").replace(b"\n\n", b"\nextra header\n\n")
"""Git says that its tagger is wrong, and then forgets it."""


@pytest.mark.parametrize("kind", ["tree", "commit", "tag"])
def test_each_rule_of_git_s_is_kept(
    store: PageStore, repo: Path, kind: str, object_format: ObjectFormat, git_program: str
) -> None:
    exact = asks_fsck(git_program)
    for case in (case for case in CASES if case.kind == kind):
        content = for_format(case.content, object_format)
        reason, verdict = our_complaint(store, kind, content), hash_object(repo, git_program, kind, content)
        assert case.rule == reason.partition(":")[0], (content, reason, verdict)
        if not exact:
            assert bool(reason) >= verdict.refused, (content, reason, verdict)
        elif case.rule != "badParent":
            assert bool(reason) == verdict.refused, (content, reason, verdict)
            assert reason in verdict.words


def test_what_is_refused_is_an_error_for_fsck(store: PageStore, repo: Path, object_format: ObjectFormat) -> None:
    chosen = {case.kind + case.rule: case for case in CASES if case.rule not in ("", "badParent", "largePathname")}
    for case in (*chosen.values(), Case("tag", LENIENT, "badDate")):
        content = for_format(case.content, object_format)
        assert case.rule == our_complaint(store, case.kind, content).partition(":")[0]
        assert fsck_complains(repo, "git", case.kind, content), case


def test_a_tag_that_git_complains_of_and_takes_is_refused(store: PageStore, repo: Path, git_program: str) -> None:
    if asks_fsck(git_program) and store.object_format == "sha1":
        verdict = hash_object(repo, git_program, "tag", LENIENT)
        assert not verdict.refused
        assert "badDate: " in verdict.words
    content = for_format(LENIENT, "sha256" if store.object_format == "sha256" else "sha1")
    assert "badDate" == our_complaint(store, "tag", content).partition(":")[0]


# -- Random changes of what is right


def changed(draw: st.DrawFn, content: bytes) -> bytes:
    """With some bytes replaced, removed, inserted, or copied from elsewhere in it."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        until = min(len(content), at + draw(st.sampled_from([0, 0, 1, 1, 2, 20, 40])))
        source = draw(st.integers(0, len(content)))
        new = draw(
            st.one_of(
                st.binary(max_size=2),
                st.sampled_from(
                    [b" ", b"\n", b"\0", b"<", b">", b"0", b".", b"/", b"\\", b"~1", b".git", b"40000 ", b"+0000"]
                ),
                st.just(content[source : source + 24]),
            )
        )
        content = content[:at] + new + content[until:]
    return content


@st.composite
def changed_objects(draw: st.DrawFn) -> tuple[str, bytes]:
    case = draw(st.sampled_from([case for case in CASES if not case.rule]))
    return case.kind, changed(draw, case.content)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(changed_objects())
def test_random_changes_are_judged_as_by_git(
    store: PageStore, repo: Path, object_format: ObjectFormat, git_program: str, found: tuple[str, bytes]
) -> None:
    kind, content = found[0], for_format(found[1], object_format)
    reason, verdict = our_complaint(store, kind, content), hash_object(repo, git_program, kind, content)
    if not asks_fsck(git_program):
        assert bool(reason) >= verdict.refused, (reason, verdict)
    elif not reason.startswith("badParent:"):
        forgotten = "object fails fsck" in verdict.words and "Missing: unable to read .git" not in verdict.words
        assert bool(reason) == (verdict.refused or forgotten), (reason, verdict)


# -- Where it is checked


def test_nothing_of_a_malformed_object_is_written(store: PageStore) -> None:
    writer = store.writer()
    with pytest.raises(ValueError, match=r"^refusing to write malformed tree: badTree: cannot be parsed as a tree$"):
        writer.add("tree", b"garbage")
    with pytest.raises(GpaError, match="malformed tag, number 3 of 3: unterminatedHeader"):
        writer.add_many([("blob", b"one"), ("tree", b""), ("tag", b"garbage")])
    with pytest.raises(Malformed, match="malformed commit: unterminatedHeader"):
        writer.add_stream("commit", 7, (Path(store.path).parent / "HEAD").open("rb"))
    assert 0 == writer.stats().object_count


def test_what_exists_already_can_be_taken_as_it_is(store: PageStore, repo: Path) -> None:
    writer = store.writer()
    with (repo / "HEAD").open("rb") as file:
        added = [
            writer.add("tree", b"one", check=False),
            *writer.add_many([("commit", b"two"), ("tag", b"three")], check=False),
            writer.add_stream("tree", 5, file, check=False),
        ]
    assert [("tree", b"one"), ("commit", b"two"), ("tag", b"three"), ("tree", b"ref: ")] == [*map(store.read, added)]


def test_a_blob_may_hold_anything(store: PageStore) -> None:
    oids = [store.writer().add("blob", case.content) for case in CASES]
    assert [("blob", case.content) for case in CASES] == [*map(store.read, oids)]
