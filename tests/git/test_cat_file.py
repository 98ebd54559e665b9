"""`git gpa cat-file` answers as `git cat-file` does, byte for byte, on the same input."""

from __future__ import annotations

import os
import random
import select
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from histories import HistorySpec, init_server, pushed_history, send_push, worktree_repo
from oracle import ObjectFormat, all_objects, git, git_line, objects_dir, pack_dir
from packwriter import Whole, add_pack, oid_hex
from running import gpa
from test_store import SHAPES, Shape, add_loose, half_indexed, loose_only, one_pack

from gpa_maint import PageStore
from gpa_maint.errors import GpaError
from gpa_maint.store.cat_file import parse_format

MISSING = "00112233445566778899aabbccddeeff00112233"
ALL = "%(objectname) %(objecttype) %(objectsize) %(objectsize:disk) %(deltabase)"


def run(
    repo: Path, program: Sequence[str], *options: str, input: bytes = b"", **env: str
) -> subprocess.CompletedProcess[bytes]:
    words = [*program, "cat-file", *options]
    return subprocess.run(words, cwd=repo, input=input, capture_output=True, check=False, env={**os.environ, **env})


def assert_same(repo: Path, *options: str, input: bytes = b"", **env: str) -> bytes:
    """The same answers, exit status and words on stderr; gives the answers."""
    theirs = run(repo, ["git"], *options, input=input, **env)
    ours = run(repo, ["git", "gpa"], *options, input=input, **env)
    assert (theirs.returncode, theirs.stderr) == (ours.returncode, ours.stderr)
    assert theirs.stdout == ours.stdout
    return ours.stdout


def lines(names: Sequence[str], end: str = "\n") -> bytes:
    return "".join(f"{name}{end}" for name in names).encode()


def shuffled(repo: Path) -> list[str]:
    """All ids, and some that are not there."""
    oids = [
        *all_objects(repo),
        *(f"{number:x}" * len(git_line(repo, "hash-object", "-t", "tree", "/dev/null")) for number in range(10)),
    ]
    random.Random(1).shuffle(oids)
    return oids


# -- Ids


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_ids_are_answered_as_by_git(shape: Shape, tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = shape(tmp_path, object_format)
    names = lines(shuffled(repo))
    for options in (["--batch"], ["--batch", "--buffer"], ["--batch-check", "--buffer"]):
        assert_same(repo, *options, input=names)
    for option in ("--batch", "--batch-check=%(objectname)"):
        assert_same(repo, option, "--batch-all-objects")


def test_an_order_of_all_objects_is_accepted(tmp_path: Path) -> None:
    repo = half_indexed(tmp_path, "sha1")
    ours = run(repo, ["git", "gpa"], "--batch-check", "--batch-all-objects", "--unordered")
    theirs = run(repo, ["git"], "--batch-check", "--batch-all-objects", "--unordered")
    assert sorted(theirs.stdout.splitlines()) == sorted(ours.stdout.splitlines())


def test_all_objects_come_as_they_are_stored_when_no_order_is_asked_for(tmp_path: Path) -> None:
    repo = half_indexed(tmp_path, "sha1")
    done = run(repo, ["git", "gpa"], "--batch-check=%(objectname)", "--batch-all-objects", "--unordered")
    oids = done.stdout.decode().split()
    assert len(oids) == len(set(oids))
    with PageStore.for_repository(repo) as store:
        places = [place for oid in oids if (place := store.locate(oid))]
    packs = [place.pack for place in places]
    assert 1 < len(set(packs))
    assert sum(one != other for one, other in pairwise(packs)) == len(set(packs)) - 1
    for pack in set(packs):
        offsets = [place.offset for place in places if place.pack == pack]
        assert sorted(offsets) == offsets


@pytest.mark.parametrize("shape", [one_pack, loose_only, SHAPES["ref deltas"], SHAPES["long chain"]])
def test_where_an_object_lies_is_told_as_by_git(shape: Shape, tmp_path: Path, object_format: ObjectFormat) -> None:
    repo = shape(tmp_path, object_format)
    names = lines(shuffled(repo))
    assert_same(repo, f"--batch-check={ALL}", input=names)
    assert_same(repo, f"--batch={ALL}", "--buffer", input=names)
    assert_same(repo, f"--batch-check={ALL}", "--batch-all-objects")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "%",
        "%%",
        "%%(objectname)",
        "%x %(objecttype)%",
        "(%(objectsize))",
        "%(rest)",
        "a%(rest)b%(objectname)",
        "%n\\n",
    ],
)
def test_formats_are_those_of_git(text: str, tmp_path: Path) -> None:
    repo = half_indexed(tmp_path, "sha1")
    oids = shuffled(repo)[:30]
    names = lines([oid + rest for oid in oids for rest in ("", " more", "\t \tmore and more ", " ", "x")])
    assert_same(repo, f"--batch-check={text}", input=names)
    assert_same(repo, f"--batch={text}", "--buffer", input=names)


@pytest.mark.parametrize(
    ("text", "words", "before"),
    [
        ("a %(nonsense) b", "%(nonsense)", "unknown format element: nonsense"),
        ("%()", "%()", "unknown format element: "),
        ("%(objectname", "element '(objectname' does not end in ')'", None),
        ("x%(", "element '(' does not end in ')'", None),
    ],
)
def test_an_unknown_format_is_refused_in_the_words_of_git(
    text: str, words: str, before: str | None, tmp_path: Path
) -> None:
    """Those of the newest git; it said `before` in earlier versions."""
    repo = init_server(tmp_path / "server")
    new = f"fatal: bad cat-file format: {words}\n".encode()
    old = f"fatal: {before or f'format {words}'}\n".encode()
    ours = run(repo, ["git", "gpa"], f"--batch-check={text}")
    assert (128, b"", new) == (ours.returncode, ours.stdout, ours.stderr)
    theirs = run(repo, ["git"], f"--batch-check={text}")
    assert (128, b"") == (theirs.returncode, theirs.stdout)
    assert theirs.stderr in (old, new)


def test_a_format_is_cut_into_fields() -> None:
    assert [("", b"a "), ("objectname", b""), ("", b"%"), ("", b"%"), ("", b"b")] == parse_format("a %(objectname)%%%b")
    with pytest.raises(GpaError, match=r"bad cat-file format: %\(objectsize:lost\)"):
        parse_format("%(objectsize:lost)")


def test_lines_end_as_git_ends_them(tmp_path: Path) -> None:
    """A carriage return, a NUL byte, capital letters, and an end without a newline."""
    repo = half_indexed(tmp_path, "sha1")
    one, two, three = shuffled(repo)[:3]
    names = f"{one}\r\n{two}\0rest\n{three.upper()}\n\n{one}\r\r\n \n{MISSING} \n{two}".encode()
    for options in (
        ["--batch"],
        ["--batch", "--buffer"],
        ["--batch-check=%(objectname) [%(rest)]"],
        ["--batch-check", "-z"],
    ):
        assert_same(repo, *options, input=names)
        assert_same(repo, *options, input=names + b"\n")


def test_large_and_empty_objects_come_whole(tmp_path: Path) -> None:
    """Larger than what is read with others, than what is read whole, and than the buffers between."""
    repo = init_server(tmp_path / "server")
    sizes = [0, 1, 65536, 65537, 131072, 131073, 1 << 20, (1 << 20) + 1, 5 << 20]
    contents = [random.Random(size).randbytes(size) for size in sizes]
    add_pack(repo, [Whole(kind="blob", content=content) for content in contents])
    for content in contents[:-1]:
        (tmp_path / "file").write_bytes(content + b"loose")
        git(repo, "hash-object", "-w", tmp_path / "file")
    names = lines(shuffled(repo) * 2)
    assert_same(repo, "--batch", input=names)
    assert_same(repo, "--batch", "--buffer", input=names)
    assert_same(repo, "--batch", "--batch-all-objects")


@pytest.mark.memory
@pytest.mark.parametrize("packed", [False, True])
def test_memory_stays_small_with_a_large_object(tmp_path: Path, packed: bool) -> None:
    repo = init_server(tmp_path / "server")
    with (tmp_path / "file").open("wb") as file:
        file.truncate(128 << 20)
    oid = git_line(repo, "hash-object", "-w", tmp_path / "file")
    if packed:
        git(repo, "pack-objects", "-q", pack_dir(repo) / "pack", input=f"{oid}\n")
        git(repo, "prune-packed")
    program = """
import os, resource, subprocess, sys
with open(os.devnull, "w") as nowhere:
    words = ["git", "gpa", "cat-file", "--batch", "--buffer"]
    subprocess.run(words, input=sys.argv[1].encode(), stdout=nowhere, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
    words = [sys.executable, "-c", program, f"{oid}\n"]
    done = subprocess.run(words, cwd=repo, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 << 10


# -- Names


def named_repo(tmp_path: Path) -> Path:
    """With two objects whose ids begin alike, a branch that looks like an abbreviated id, and an annotated tag."""
    repo = pushed_history(tmp_path / "history", HistorySpec(kind="tree", pushes=6)).server
    add_pack(repo, [Whole(kind="blob", content=b"%d" % number) for number in range(1500)])
    git(repo, "branch", "abcd", "HEAD~1")
    git(repo, "tag", "-a", "-m", "a tag", "tagged", "HEAD")
    return repo


def names_in(repo: Path) -> list[str]:
    oids = list(all_objects(repo))
    begins = [oid[:4] for oid in oids]
    alike = next(begin for begin in begins if begins.count(begin) > 1)
    path = git_line(repo, "ls-tree", "--name-only", "-r", "HEAD").splitlines()[0]
    names = ["HEAD", "main", "refs/heads/main", "HEAD~1", "HEAD^{tree}", f"HEAD:{path}", "HEAD:", "tagged", "tagged^{}"]
    names += ["abcd", alike, f"{alike}^{{tree}}", oids[0][:12], oids[1][:39], oids[1].upper()[:20], oids[2] + "^{tree}"]
    names += [
        "",
        "nothing",
        "HEAD:nothing",
        "HEAD~99999",
        "abc",
        "ffffffff",
        MISSING,
        MISSING + "0",
        "found HEAD",
        ":/push",
    ]
    names += [
        oids[3],
        "HEAD missing",
        "a b c",
        "--batch",
        "größe",
        "\udcff".encode(errors="surrogateescape").decode("latin-1"),
    ]
    return names


def test_names_are_resolved_as_by_git(tmp_path: Path) -> None:
    repo = named_repo(tmp_path)
    names = lines(names_in(repo))
    for options in (["--batch"], ["--batch", "--buffer"], ["--batch-check"], ["--batch-check=%(rest)<%(objectname)"]):
        answers = assert_same(repo, *options, input=names)
        assert b" ambiguous\n" in answers and b" missing\n" in answers


def test_a_name_that_git_dies_of_ends_it_as_git(tmp_path: Path) -> None:
    repo = named_repo(tmp_path)
    assert_same(repo, "--batch", "--buffer", input=b"HEAD\nmain@{yesterday}\nHEAD\n")


def test_names_may_end_with_nul(tmp_path: Path) -> None:
    """Then they may have newlines, which git answers with as they are."""
    repo = named_repo(tmp_path)
    oid = git_line(repo, "rev-parse", "HEAD")
    names = [
        *names_in(repo),
        "HEAD:a\nb",
        f"{oid}\nmore",
        "found \nHEAD",
        f"found {oid}\n{oid}",
        "a\n\nb\n",
        f"{oid}\r",
        "\n",
    ]
    for options in (["--batch"], ["--batch", "--buffer"], ["--batch-check"], ["--batch-check=[%(rest)]%(objectname)"]):
        assert_same(repo, *options, "-z", input=lines(names, "\0"))
        assert_same(repo, *options, "-z", input=lines(names, "\0")[:-1])


def test_names_of_a_worktree_are_its_own(tmp_path: Path) -> None:
    _repo, worktree = worktree_repo(tmp_path)
    assert_same(worktree, "--batch-check", input=b"HEAD\n")


def test_git_is_asked_only_for_names(tmp_path: Path) -> None:
    repo = named_repo(tmp_path)
    trace = tmp_path / "trace"
    oids = shuffled(repo)
    for names, asked in ((oids, 0), ([*oids, "HEAD", "main", "nothing"], 1)):
        trace.unlink(missing_ok=True)
        ours = run(repo, ["git", "gpa"], "--batch-check", input=lines(names), GIT_TRACE=str(trace))
        assert 0 == ours.returncode
        assert asked == trace.read_text().count("built-in: git cat-file")


def test_replaced_objects_are_read_as_git_reads_them(tmp_path: Path) -> None:
    repo = half_indexed(tmp_path, "sha1")
    commits = git(repo, "rev-list", "HEAD").stdout.split()
    git(repo, "replace", commits[0], commits[1])
    git(repo, "replace", commits[1], commits[2])
    names = lines([*commits, "HEAD"])
    for options in (["--batch"], ["--batch", "--buffer"], ["--batch-check"], ["--batch", "--batch-all-objects"]):
        assert_same(repo, *options, input=names)
        assert_same(repo, *options, input=names, GIT_NO_REPLACE_OBJECTS="1")
    git(repo, "config", "core.useReplaceRefs", "false")
    assert_same(repo, "--batch", input=names)


# -- Talking


class Talk:
    """A process that is asked, and answers before it is asked again."""

    def __init__(self, repo: Path, *options: str) -> None:
        words = ["git", "gpa", "cat-file", *options]
        self.process = subprocess.Popen(words, cwd=repo, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, name: str) -> tuple[str, bytes]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{name}\n".encode())
        self.process.stdin.flush()
        header = self.process.stdout.readline().decode()
        fields = header.split()
        return header, self.process.stdout.read(int(fields[2]) + 1) if len(fields) == 3 else b""

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()
        assert 0 == self.process.returncode


def test_each_answer_comes_before_the_next_question(tmp_path: Path) -> None:
    repo = named_repo(tmp_path)
    with Talk(repo, "--batch") as talk:
        for name in shuffled(repo)[:200]:
            expected = (
                run(repo, ["git"], "--batch", input=lines([name])).stdout if name not in all_objects(repo) else None
            )
            header, content = talk.ask(name)
            assert expected is None or expected == header.encode()
            assert header.startswith(name) and (not content or content.endswith(b"\n"))
        for name in ("HEAD", "nothing", "HEAD^{tree}", "abc"):
            assert run(repo, ["git"], "--batch", input=lines([name])).stdout == b"".join(
                part if isinstance(part, bytes) else part.encode() for part in talk.ask(name)
            )


def test_what_moves_is_found_by_a_process_that_runs_for_long(tmp_path: Path) -> None:
    history = pushed_history(tmp_path / "history", HistorySpec(kind="tree", pushes=8, waiting=3))
    with Talk(history.server, "--batch") as talk:
        for push in history.waiting:
            send_push(history.client, history.server, push)
            gpa(history.server, "repack")
            gpa(history.server, "expire", "--grace=now")
            for oid, (kind, size, _digest) in all_objects(history.server).items():
                assert f"{oid} {kind} {size}\n" == talk.ask(oid)[0]
            assert f"{git_line(history.server, 'rev-parse', 'main')} commit" == " ".join(
                talk.ask("main")[0].split()[:2]
            )
        loose = add_loose(history.server, 3)
        assert all(talk.ask(oid)[0].startswith(oid) for oid in loose)


def test_a_reader_that_goes_away_is_no_error_to_speak_of(tmp_path: Path) -> None:
    repo = named_repo(tmp_path)
    with subprocess.Popen(
        ["git", "gpa", "cat-file", "--batch", "--batch-all-objects"],
        cwd=repo,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout and process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert b"" == process.stderr.read()


def test_descriptors_that_do_not_wait_are_waited_for(tmp_path: Path) -> None:
    repo = named_repo(tmp_path)
    expected = run(repo, ["git"], "--batch", "--batch-all-objects").stdout
    (read_end, write_end), (ask_end, answer_end) = os.pipe(), os.pipe()
    for end in (read_end, answer_end):
        os.set_blocking(end, False)
    words = ["git", "gpa", "cat-file", "--batch"]
    with subprocess.Popen(words, cwd=repo, stdin=read_end, stdout=answer_end) as process:
        os.close(read_end)
        asked = lines(sorted(all_objects(repo))[:1200])
        os.write(write_end, asked[:41])
        select.select([ask_end], [], [])  # it has answered, and finds nothing more to read
        os.write(write_end, asked[41:])
        while select.select([], [answer_end], [], 0)[1]:
            os.sched_yield()  # until nobody takes its answers
        os.close(answer_end)
        os.close(write_end)
        with os.fdopen(ask_end, "rb") as answers:
            assert expected.startswith(answers.read())
    assert 0 == process.returncode


# -- What goes wrong


def damaged_repo(tmp_path: Path) -> tuple[Path, str, str]:
    """(repository, an id whose object is damaged from its header on, a sound one)."""
    repo = init_server(tmp_path / "server")
    contents = [b"x" * 1000, b"y" * 1000]
    name = add_pack(repo, [Whole(kind="blob", content=content) for content in contents])
    pack = pack_dir(repo) / f"{name}.pack"
    data = bytearray(pack.read_bytes())
    data[12] = 0x00
    pack.chmod(0o644)
    pack.write_bytes(data)
    return repo, oid_hex("blob", contents[0]), oid_hex("blob", contents[1])


def test_a_damaged_object_is_missing_from_a_check_and_named_on_stderr(tmp_path: Path) -> None:
    repo, bad, good = damaged_repo(tmp_path)
    done = run(repo, ["git", "gpa"], "--batch-check", "--buffer", input=lines([good, bad, good]))
    assert lines([f"{good} blob 1000", f"{bad} missing", f"{good} blob 1000"]) == done.stdout
    assert 0 == done.returncode and b"error: corrupt '" in done.stderr


def test_a_damaged_object_ends_a_batch_after_what_was_answered(tmp_path: Path) -> None:
    repo, bad, good = damaged_repo(tmp_path)
    for options in (["--batch"], ["--batch", "--buffer"]):
        done = run(repo, ["git", "gpa"], *options, input=lines([good, bad, good]))
        assert f"{good} blob 1000\n".encode() + b"y" * 1000 + b"\n" == done.stdout
        assert 128 == done.returncode and b"fatal: corrupt '" in done.stderr


@pytest.mark.parametrize(
    "options", [[], ["--batch-all-objects"], ["--batch", "--batch-check"], ["--batch", "HEAD", "x"]]
)
def test_wrong_usage_ends_with_129(options: list[str], tmp_path: Path) -> None:
    assert 129 == run(init_server(tmp_path / "server"), ["git", "gpa"], *options).returncode


def test_outside_a_repository_git_says_so(tmp_path: Path) -> None:
    done = run(tmp_path, ["git", "gpa"], "--batch")
    assert 128 == done.returncode and b"not a git repository" in done.stderr


def test_an_alternate_is_read_alone(tmp_path: Path) -> None:
    repo = SHAPES["alternates"](tmp_path, "sha1")
    lender = (objects_dir(repo) / "info/alternates").read_text().strip()
    done = run(repo, ["git", "gpa"], "--batch-check=%(objectname)", "--batch-all-objects", f"--object-dir={lender}")
    assert lines(sorted(all_objects(Path(lender).parent))) == done.stdout


def test_names_of_objects_that_a_partial_clone_lacks_are_missing_and_the_next_are_answered(tmp_path: Path) -> None:
    source, clone = tmp_path / "source", tmp_path / "clone.git"
    git(tmp_path, "init", "-q", "-b", "main", source)
    for number in range(3):
        (source / f"f{number}").write_text(f"file {number}\n")
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "files")
    git(source, "config", "uploadpack.allowFilter", "true")
    git(tmp_path, "clone", "-q", "--bare", "--filter=blob:none", f"file://{source}", clone)
    names = ["HEAD:f1", "HEAD", "HEAD:f2", "HEAD:none", "main"]
    told = gpa(clone, "cat-file", "--batch-check", input="\n".join(names) + "\n").stdout.splitlines()
    head = git(clone, "rev-parse", "HEAD").stdout.strip()
    kinds = [f"{head} commit"] * 2
    assert ["HEAD:f1 missing", "HEAD:f2 missing", "HEAD:none missing"] == [told[0], told[2], told[3]]
    assert kinds == [told[1].rpartition(" ")[0], told[4].rpartition(" ")[0]]
