"""The worked examples of docs/formats are made again with the real code and compared, byte for byte.

An example is a code block `hex <name>`: lines of an offset, bytes in hex or text in quotes, perhaps `x<repetitions>`,
and a comment after a semicolon.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import archives
import pytest
from oracle import git
from packwriter import oid_hex

from gpa_maint import PageStore, commands, fs
from gpa_maint._core.v1 import FAULTS
from gpa_maint.archive_v1 import repack_archive
from gpa_maint.archive_v1.listing import INDEX_NAME
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.state.superseded import State, read_state, write_state

FORMATS = Path(__file__).parents[2] / "docs" / "formats"
FORMAT_SECTIONS = [
    "Why it exists",
    "Layout",
    "What a reader must check",
    "Write order, and what a crash leaves",
    "Example",
    "What other readers accept",
]
TOKEN = re.compile(r'"([^"]*)"|([0-9a-f]{2})|x(\d+)')
FIRST_TIME = 1_700_000_000


def _block(document: str, name: str) -> str:
    return (FORMATS / document).read_text().split(f"\n```{name}\n")[1].split("```")[0]


def _example(document: str, name: str) -> bytes:
    """The bytes of an example, each line's offset checked."""
    data = b""
    for line in _block(document, f"hex {name}").splitlines():
        offset, tokens = line.split(";")[0].split(maxsplit=1)
        assert len(data) == int(offset, 16), line
        data += _line_bytes(tokens)
    return data


def _line_bytes(tokens: str) -> bytes:
    data = b""
    for text, number, times in TOKEN.findall(tokens):
        data = data * int(times) if times else data + (bytes.fromhex(number) or text.replace("\\n", "\n").encode())
    assert not TOKEN.sub("", tokens).strip(), tokens
    return data


@pytest.fixture
def two_packs(tmp_path: Path) -> Path:
    """A repository with the two packs of page.md, indexed by git."""
    git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha1", "repo")
    repo = tmp_path / "repo"
    for number, name in enumerate(("source-1.pack", "source-2.pack")):
        data = _example("page.md", name)
        path = repo / "objects" / "pack" / f"pack-{data[-20:].hex()}.pack"
        path.write_bytes(data)
        git(repo, "index-pack", path)
        os.utime(path, (FIRST_TIME + number, FIRST_TIME + number))
    return repo


def test_the_page_of_the_example_is_the_one_that_repack_makes(two_packs: Path) -> None:
    (page,) = commands.repack(str(two_packs)).pages

    path = two_packs / "objects" / "pack" / page.name
    assert _example("page.md", "page.pack") == path.with_suffix(".pack").read_bytes()
    assert _example("page.md", "page.idx") == path.with_suffix(".idx").read_bytes()


def test_git_makes_the_same_idx_for_the_page_of_the_example(tmp_path: Path) -> None:
    (tmp_path / "page.pack").write_bytes(_example("page.md", "page.pack"))
    git(tmp_path, "index-pack", "--object-format=sha1", tmp_path / "page.pack")

    assert _example("page.md", "page.idx") == (tmp_path / "page.idx").read_bytes()


def test_the_index_of_the_example_is_the_one_that_repack_leaves(two_packs: Path) -> None:
    commands.repack(str(two_packs))

    found = (two_packs / "objects" / "pack" / "multi-pack-index").read_bytes()
    assert _example("combined-index.md", "multi-pack-index") == found


def test_the_archive_of_the_example_becomes_what_repack_makes_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"]
    values = [archives.object_value("blob", text) for text in (b"hello\n", b"a page is an ordinary pack\n")]
    for name, value in zip(names, values, strict=True):
        (tmp_path / name).write_bytes(archives.page_bytes([value]))
    archives.write_list(tmp_path, names)
    assert _example("archive-v1.md", "old-page") == (tmp_path / names[0]).read_bytes()
    monkeypatch.setattr("gpa_maint.verbs.session.wall_clock", lambda: 1763721360)
    (page,) = repack_archive(str(tmp_path)).pages

    assert _example("archive-v1.md", "new-page") == (tmp_path / page.name).read_bytes()
    assert _example("archive-v1.md", "combined-index-v1") == (tmp_path / INDEX_NAME).read_bytes()


def test_the_faults_of_the_document_are_those_there_are() -> None:
    table = (FORMATS / "archive-v1.md").read_text().split("## What a reader must check")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in re.findall(r"`([a-z-]+)`", row)}

    assert named == {*FAULTS.values(), "torn", "missing", "unreadable", "index"} - {"empty"}


def test_the_state_of_the_example_is_written_as_it_is_read(two_packs: Path) -> None:
    objdir = find_object_dir(str(two_packs))
    path = Path(objdir.gpa_dir) / "state.json"
    path.parent.mkdir()
    example = _block("state.md", "json state.json")
    path.write_text(example)

    state = read_state(objdir)
    with fs.maintenance_lock(objdir), fs.workspace(objdir) as space:
        write_state(objdir, space, state)

    assert json.dumps(json.loads(example)) + "\n" == path.read_text()
    assert state != State(superseded={})


def test_the_journal_of_the_example_is_the_one_that_a_writer_makes(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha1", "repo")
    with PageStore.open(tmp_path / "repo" / "objects") as store:
        writer = store.writer(level=0)
        writer.add("blob", b"a journal\n")
        writer.add("tree", b"")
        (journal,) = (tmp_path / "repo" / "gpa" / "journal").iterdir()

        assert _example("journal.md", "journal") == journal.read_bytes()


def test_the_journal_of_the_example_is_recovered(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "--object-format=sha1", "repo")
    folder = tmp_path / "repo" / "gpa" / "journal"
    folder.mkdir(parents=True)
    (folder / "1-00000000-0.journal").write_bytes(_example("journal.md", "journal"))
    with PageStore.open(tmp_path / "repo" / "objects") as store:
        assert [2] == [found.objects for found in store.writer().recovered]
        assert ["4b825dc642cb6eb9a060e54bf8d69288fbee4904", oid_hex("blob", b"a journal\n")] == [
            oid.hex() for oid in store
        ]


@pytest.mark.parametrize("document", sorted(path.name for path in FORMATS.glob("*.md")))
def test_each_format_is_described_in_the_same_order(document: str) -> None:
    assert FORMAT_SECTIONS == re.findall(r"^## (.*)", (FORMATS / document).read_text(), flags=re.M)
