"""A page of loose objects, or of such as are at hand, is what git makes of the same bytes, down to its idx."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import packwriter
import pytest
from loose import write_loose
from oracle import ObjectFormat, git
from packwriter import Kind

from gpa_maint._core.base import Progress, directory
from gpa_maint._core.format import loose_heads, loose_name
from gpa_maint._core.merge import BadLoose, LoosePageWriter
from gpa_maint.errors import Corrupt, Stopped, SystemFailed, Unsupported

MIB = 1 << 20
RANDOM = random.Random("page").randbytes(3 * MIB)
CONTENTS: list[tuple[Kind, bytes]] = [
    ("commit", b"tree 0\n"),
    ("tag", b"object 0\n"),
    ("tree", b""),
    *(("blob", RANDOM[:size]) for size in (0, 1, 15, 16, 2047, 2048, 300_000, MIB - 1, MIB, MIB + 1, 3 * MIB)),
    ("blob", bytes(5 * MIB)),
]


class Desk:
    """An object directory, and a page to be filled from it."""

    def __init__(self, root: Path, stack: ExitStack, object_format: ObjectFormat = "sha1") -> None:
        self.objects = root
        self.pack = root / "page.pack"
        self.object_format = object_format
        self._stack = stack

    def page(self, count: int, *, level: int = -1) -> LoosePageWriter:
        pack = self._stack.enter_context(self.pack.open("w+b"))
        fd = self._stack.enter_context(directory(str(self.objects)))
        writer = LoosePageWriter(
            pack.fileno(), str(self.pack), str(self.objects), fd, self.object_format, object_count=count, level=level
        )
        return self._stack.enter_context(writer)

    def finish(self, writer: LoosePageWriter) -> str:
        with (self.objects / "ours.idx").open("w+b") as idx:
            return writer.finish(idx.fileno())


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as held:
        yield held


@pytest.mark.parametrize(("level", "loose_level"), [(-1, 1), (0, 9), (1, 0), (9, 1)])
def test_a_page_holds_each_object_and_its_idx_is_git_s(
    tmp_path: Path, stack: ExitStack, object_format: ObjectFormat, level: int, loose_level: int
) -> None:
    desk = Desk(tmp_path, stack, object_format)
    progress = Progress()
    oids = [
        write_loose(tmp_path, kind, content, object_format=object_format, level=loose_level)
        for kind, content in CONTENTS
    ]
    writer = desk.page(len(oids), level=level)
    for oid in oids:
        writer.add_loose(oid, progress)
    trailer = desk.finish(writer)
    assert len(oids) == progress.done
    assert trailer == git(tmp_path, "index-pack", f"--object-format={object_format}", desk.pack).stdout.strip()
    assert (tmp_path / "page.idx").read_bytes() == (tmp_path / "ours.idx").read_bytes()
    if level == 0:
        assert sum(len(content) for _, content in CONTENTS) < desk.pack.stat().st_size
    expected = [(oid, kind, len(content)) for oid, (kind, content) in zip(oids, CONTENTS, strict=True)]
    assert expected == listed(tmp_path, object_format)


def listed(folder: Path, object_format: ObjectFormat) -> list[tuple[str, str, int]]:
    """Id, type and size of each entry in the order of the pack, none of them a delta."""
    text = git(folder, "verify-pack", "-v", f"--object-format={object_format}", folder / "page.idx").stdout
    rows = [line.split() for line in text.splitlines() if len(line.split()) == 5]
    return [(row[0], row[1], int(row[2])) for row in sorted(rows, key=lambda row: int(row[4]))]


@pytest.mark.parametrize("level", [-1, 0, 9])
def test_a_page_of_objects_at_hand_is_that_of_the_same_loose_ones(
    tmp_path: Path, stack: ExitStack, object_format: ObjectFormat, level: int
) -> None:
    desk = Desk(tmp_path, stack, object_format)
    # what is only stored is cut into blocks as it comes in pieces
    contents = [one for one in CONTENTS if level or len(one[1]) <= MIB]
    oids = [write_loose(tmp_path, kind, content, object_format=object_format) for kind, content in contents]
    loose = desk.page(len(oids), level=level)
    for oid in oids:
        loose.add_loose(oid)
    desk.finish(loose)
    expected, idx = desk.pack.read_bytes(), (tmp_path / "ours.idx").read_bytes()
    progress = Progress()
    at_hand = desk.page(len(oids), level=level)
    for oid, (kind, content) in zip(oids, contents, strict=True):
        with pytest.raises(Corrupt, match=f"content has the id {oid}"):
            at_hand.add(bytes(len(oid) // 2), kind, content, progress)
        at_hand.add(bytes.fromhex(oid), kind, content, progress)
    desk.finish(at_hand)
    assert len(oids) == progress.done
    assert idx == (tmp_path / "ours.idx").read_bytes()
    assert expected == desk.pack.read_bytes()


def test_a_page_of_one_object_is_the_pack_that_packwriter_writes(tmp_path: Path, stack: ExitStack) -> None:
    desk = Desk(tmp_path, stack)
    writer = desk.page(1, level=0)
    writer.add_loose(write_loose(tmp_path, "blob", b"one\n"))
    desk.finish(writer)
    entry = packwriter.Whole(kind="blob", content=b"one\n", level=0)
    assert packwriter.pack_bytes([entry]) == desk.pack.read_bytes()


def test_the_headers_tell_type_and_size_and_nothing_of_what_is_no_loose_object(tmp_path: Path) -> None:
    oids = [write_loose(tmp_path, kind, content) for kind, content in CONTENTS[:6]]
    broken, link, pipe, folder, missing = (digit * 40 for digit in "abcde")
    for name in (broken, link, pipe, folder):
        (tmp_path / name[:2]).mkdir(exist_ok=True)
    (tmp_path / loose_name(broken)).write_bytes(b"nonsense")
    (tmp_path / loose_name(link)).symlink_to(tmp_path / loose_name(oids[0]))
    (tmp_path / loose_name(folder)).mkdir()
    os.mkfifo(tmp_path / loose_name(pipe))
    nothing = [broken, link, pipe, folder, missing]
    with directory(str(tmp_path)) as fd:
        heads = loose_heads(str(tmp_path), fd, [*oids, *nothing])
        stopped = Progress()
        stopped.stop()
        with pytest.raises(Stopped):
            loose_heads(str(tmp_path), fd, oids, stopped)
    assert [(kind, len(content)) for kind, content in CONTENTS[:6]] + 5 * [("", 0)] == heads


def test_a_page_in_which_an_object_failed_takes_and_gives_nothing_more(tmp_path: Path, stack: ExitStack) -> None:
    desk = Desk(tmp_path, stack)
    good = write_loose(tmp_path, "blob", b"good")
    writer = desk.page(2)
    writer.check_loose(good)
    writer.add_loose(good)
    with pytest.raises(BadLoose, match="No such file"):
        writer.add_loose("0" * 40)
    writer.check_loose(good)
    with pytest.raises(Unsupported, match="takes no more"):
        writer.add_loose(good)
    with pytest.raises(Unsupported, match="not complete"):
        desk.finish(writer)


@pytest.mark.parametrize("count", [1, 3])
def test_a_page_holds_exactly_as_many_objects_as_its_header_says(tmp_path: Path, stack: ExitStack, count: int) -> None:
    desk = Desk(tmp_path, stack)
    oids = [write_loose(tmp_path, "blob", b"%d" % number) for number in range(2)]
    writer = desk.page(count)
    writer.add_loose(oids[0])
    with pytest.raises(Unsupported, match="takes no more" if count == 1 else "not complete"):
        writer.add_loose(oids[1])
        desk.finish(writer)


def test_an_id_of_another_length_is_refused(tmp_path: Path, stack: ExitStack) -> None:
    with pytest.raises(ValueError, match="abcd"):
        Desk(tmp_path, stack).page(1).add_loose("abcd")


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_a_write_that_fails_is_about_the_page(tmp_path: Path, stack: ExitStack, size: int) -> None:
    desk = Desk(tmp_path, stack)
    oids = [write_loose(tmp_path, "blob", RANDOM[:size])]
    with directory(str(tmp_path)) as fd, open("/dev/full", "wb") as full:
        writer = LoosePageWriter(full.fileno(), "the page", str(tmp_path), fd, "sha1", object_count=1, level=-1)
        with writer, pytest.raises(SystemFailed, match="cannot write 'the page': No space left"):
            writer.add_loose(oids[0])
            desk.finish(writer)


@pytest.mark.parametrize("size", [10, 3 * MIB])
def test_a_stopped_page_is_no_page(tmp_path: Path, stack: ExitStack, size: int) -> None:
    desk = Desk(tmp_path, stack)
    oid = write_loose(tmp_path, "blob", RANDOM[:size])
    writer = desk.page(1)
    progress = Progress()
    progress.stop()
    for call in (writer.check_loose, writer.add_loose):
        with pytest.raises(Stopped):
            call(oid, progress)
    with pytest.raises(Stopped):
        desk.page(1).add(bytes.fromhex(oid), "blob", RANDOM[:size], progress)
    assert 0 == progress.done
    with pytest.raises(Unsupported, match="not complete"):
        desk.finish(writer)
