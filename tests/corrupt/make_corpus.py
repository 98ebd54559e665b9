"""Makes the inputs that the fuzz targets start from: `python tests/corrupt/make_corpus.py csrc/fuzz/corpus`.

Whole, valid files of every kind that has code of its own, each below 4 KB, and a few that are broken behind their
checksums, where random changes would hardly come. The same files each time.
"""

from __future__ import annotations

import hashlib
import random
import struct
import sys
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from packwriter import (
    Entry,
    OfsDelta,
    RefDelta,
    Whole,
    copy_op,
    delta_size,
    encode_delta,
    entry_header,
    insert_op,
    oid_hex,
    pack_bytes,
)

SIZE_LIMIT = 4096
TEXT = b"".join(b"line %d of a text that deltas can copy from\n" % number for number in range(12))
EDITED = TEXT.replace(b"line 7", b"another line")
Row = tuple[bytes, int, int]  # oid, crc, offset


def fanout(oids: Iterable[bytes]) -> bytes:
    firsts = [oid[0] for oid in oids]
    return struct.pack(">256I", *(sum(first <= row for first in firsts) for row in range(256)))


def with_trailer(data: bytes, hash_name: str = "sha1") -> bytes:
    return data + hashlib.new(hash_name, data).digest()


def oids(count: int, hash_name: str = "sha1") -> list[bytes]:
    return sorted(hashlib.new(hash_name, b"%d" % number).digest() for number in range(count))


def idx_v2(names: Sequence[bytes], offsets: Sequence[int], hash_name: str = "sha1") -> bytes:
    large = [offset for offset in offsets if offset >= 1 << 31]
    small = [offset if offset < 1 << 31 else 1 << 31 | large.index(offset) for offset in offsets]
    data = b"\xfftOc" + struct.pack(">I", 2) + fanout(names) + b"".join(names)
    data += struct.pack(f">{len(names)}I", *(zlib.crc32(name) for name in names))
    data += struct.pack(f">{len(names)}I", *small) + struct.pack(f">{len(large)}Q", *large)
    return with_trailer(data + hashlib.new(hash_name, b"pack").digest(), hash_name)


def idx_v1(names: Sequence[bytes], offsets: Sequence[int], hash_name: str = "sha1") -> bytes:
    rows = b"".join(struct.pack(">I", offset) + name for name, offset in zip(names, offsets, strict=True))
    return with_trailer(fanout(names) + rows + hashlib.new(hash_name, b"pack").digest(), hash_name)


def midx(
    names: Sequence[bytes], places: Sequence[tuple[int, int]], packs: Sequence[str], hash_name: str = "sha1"
) -> bytes:
    """A combined index; offsets of 2^32 and more make an LOFF chunk."""
    large = [offset for _, offset in places if offset >= 1 << 31] if any(o >> 32 for _, o in places) else []
    rows = [(pack, 1 << 31 | large.index(o) if large and o >= 1 << 31 else o) for pack, o in places]
    pnam = b"".join(pack.encode() + b"\0" for pack in packs)
    chunks = {
        b"PNAM": pnam + bytes(-len(pnam) % 4),
        b"OIDF": fanout(names),
        b"OIDL": b"".join(names),
        b"OOFF": b"".join(struct.pack(">II", *row) for row in rows),
    }
    if large:
        chunks[b"LOFF"] = struct.pack(f">{len(large)}Q", *large)
    table, at = b"", 12 + 12 * (len(chunks) + 1)
    for name, chunk in chunks.items():
        table += struct.pack(">4sQ", name, at)
        at += len(chunk)
    table += struct.pack(">4sQ", bytes(4), at)
    head = struct.pack(">4sBBBBI", b"MIDX", 1, 2 if hash_name == "sha256" else 1, len(chunks), 0, len(packs))
    return with_trailer(head + table + b"".join(chunks.values()), hash_name)


def idx_files() -> dict[str, bytes]:
    three, seven = oids(3), oids(7)
    return {
        "v2": idx_v2(seven, range(12, 712, 100)),
        "v2-empty": idx_v2([], []),
        "v2-large": idx_v2(three, [12, 1 << 31, 1 << 40]),
        "v2-sha256": idx_v2(oids(3, "sha256"), [12, 30, 90], "sha256"),
        "v2-unsorted": idx_v2(three[::-1], [12, 30, 90]),
        "v2-same-offsets": idx_v2(three, [12, 12, 90]),
        "v1": idx_v1(seven, range(12, 712, 100)),
        "v1-empty": idx_v1([], []),
    }


def midx_files() -> dict[str, bytes]:
    packs = ["pack-a.idx", "pack-b.idx", "pack-c.idx"]
    return {
        "plain": midx(oids(9), [(number % 3, 12 + 50 * number) for number in range(9)], packs),
        "large": midx(oids(3), [(0, 12), (1, 1 << 31), (2, 1 << 33)], packs),
        "no-large": midx(oids(3), [(0, 12), (1, 1 << 31), (2, 1 << 31 | 5)], packs),
        "one-pack": midx(oids(2), [(0, 12), (0, 40)], packs[:1]),
        "bad-pack-number": midx(oids(3), [(0, 12), (3, 12), (2, 12)], packs),
        "unsorted": midx(oids(4)[::-1], [(0, 12), (1, 12), (2, 12), (0, 90)], packs),
        "sha256": midx(oids(3, "sha256"), [(0, 12), (1, 12), (2, 12)], packs, "sha256"),
    }


def pack_files() -> dict[str, bytes]:
    text, edited = Whole(kind="blob", content=TEXT), Whole(kind="blob", content=EDITED)
    program, back = encode_delta(TEXT, EDITED), encode_delta(EDITED, TEXT)
    text_oid, edited_oid = oid_hex("blob", TEXT), oid_hex("blob", EDITED)
    liar = delta_size(len(TEXT)) + delta_size(1 << 40) + copy_op(0, 9)
    beyond = delta_size(len(TEXT)) + delta_size(99) + copy_op(len(TEXT) - 9, 99)
    kinds: list[Entry] = [Whole(kind="commit", content=b"tree 0\n"), Whole(kind="tree", content=b"")]
    kinds += [Whole(kind="tag", content=b"object 0\n"), Whole(kind="blob", content=bytes(200), level=0)]
    chain: list[Entry] = [text]
    chain += [OfsDelta(base_index=at, program=(program, back)[at % 2]) for at in range(4)]
    shapes: dict[str, list[Entry]] = {
        "empty": [],
        "kinds": kinds,
        "ofs-chain": chain,
        "ref-delta": [text, RefDelta(base_oid=text_oid, program=program)],
        "ref-before-base": [RefDelta(base_oid=text_oid, program=program), text],
        "ref-missing": [RefDelta(base_oid=edited_oid, program=back), text],
        "family": [text, *(OfsDelta(base_index=0, program=program) for _ in range(3)), edited],
        "liar": [text, OfsDelta(base_index=0, program=liar)],
        "beyond": [text, OfsDelta(base_index=0, program=beyond)],
    }
    files = {name: pack_bytes(entries) for name, entries in shapes.items()}
    files["sha256"] = pack_bytes([text, edited], object_format="sha256")
    return files


def delta_files() -> dict[str, bytes]:
    base = bytes(range(200))

    def delta(*ops: bytes, size: int) -> bytes:
        return bytes([len(base)]) + base + delta_size(len(base)) + delta_size(size) + b"".join(ops)

    return {
        "copy-and-insert": delta(copy_op(10, 100), insert_op(b"new"), copy_op(0, 50), size=153),
        "nothing": delta(size=0),
        "all-operands": delta(b"\xff\x01\x00\x00\x00\x05\x00\x00", size=5),
        "default-size": delta(b"\x80", size=0x10000),
        "long-insert": delta(insert_op(bytes(127)), size=127),
        "reserved": delta(b"\0", size=1),
    }


def delta_make_files() -> dict[str, bytes]:
    def pair(base: bytes, target: bytes) -> bytes:
        return struct.pack(">H", len(base)) + base + target

    return {
        "edited": pair(TEXT, EDITED),
        "moved": pair(TEXT, TEXT[300:] + TEXT[:300]),
        "equal": pair(TEXT, TEXT),
        "nothing": pair(b"", b""),
        "no-base": pair(b"", TEXT),
        "no-target": pair(TEXT, b""),
        "same-bytes": pair(bytes(600), bytes(900)),
        "same-blocks": pair(
            b"".join(b"the same block!!" + b"%016d" % row for row in range(40)), b"the same block!!" * 40
        ),
        "period-of-15": pair(bytes(range(15)) * 50, b"!" + bytes(range(15)) * 70),
    }


def loose_files() -> dict[str, bytes]:
    long_text = b"a long text " * 4000
    return {
        "blob": zlib.compress(b"blob %d\0" % len(TEXT) + TEXT),
        "empty": zlib.compress(b"blob 0\0"),
        "commit": zlib.compress(b"commit 7\0tree 0\n", 0),
        "long": zlib.compress(b"tree %d\0" % len(long_text) + long_text),
        "wrong-size": zlib.compress(b"tag 99\0short"),
        "garbage-behind": zlib.compress(b"blob 1\0x") + b"garbage",
        # more than what goes through memory at once
        "beyond-memory": zlib.compress(b"blob 1500000\0" + bytes(1_500_000)),
        "too-long-by-far": zlib.compress(b"blob 3\0" + bytes(1_500_000)),
    }


def peek_files() -> dict[str, bytes]:
    def deflated(data: bytes, level: int, strategy: int) -> bytes:
        deflater = zlib.compressobj(level, strategy=strategy)
        return deflater.compress(data) + deflater.flush()

    plain = random.Random("peek").randbytes(400)
    return {
        "own-codes": deflated(TEXT, 9, zlib.Z_DEFAULT_STRATEGY),
        "own-codes-without-matches": deflated(plain + TEXT, 9, zlib.Z_HUFFMAN_ONLY),
        "one-byte-again-and-again": deflated(b"x" * 999, 9, zlib.Z_HUFFMAN_ONLY),
        "fixed-codes": deflated(TEXT, 9, zlib.Z_FIXED),
        "fixed-codes-of-nine-bits": deflated(plain, 9, zlib.Z_FIXED),
        "stored": deflated(plain, 0, zlib.Z_DEFAULT_STRATEGY),
        "cut": deflated(TEXT, 9, zlib.Z_DEFAULT_STRATEGY)[:30],
    }


def archive_page(
    values: Sequence[tuple[bytes, bytes]], *, head_size: int | None = None, tail: bytes = b"", **wrong: int
) -> bytes:
    """A page of a v1 archive as the fuzz target takes it: how long its head is, the head without zeros, the data.

    `wrong`: numbers of the header that are not as they should be.
    """
    head, data = b"", b""
    for key, value in values:
        head += struct.pack(">20s2I", key, len(data), len(value))
        data += value
    header = {"version": 1, "capacity": 2000, "items": len(values), "index": 24, "start": 56024, "size": len(data)}
    head = struct.pack(">6I", *{**header, **wrong}.values()) + head
    size = len(head) if head_size is None else head_size
    return struct.pack(">H", size) + head[:size] + data + tail


def archive_object(code: int, kind: str, content: bytes, order: str = "<") -> tuple[bytes, bytes]:
    key = hashlib.sha1(b"%b %d\0" % (kind.encode(), len(content)) + content).digest()
    return key, struct.pack(f"{order}I", code) + content


def archive_index(pages: Sequence[int], rows: Sequence[tuple[bytes, int, int]]) -> bytes:
    """A combined index: pages given by their flags, rows of key, page and slot."""
    head = struct.pack(">4sIIII", b"GPAX", 1, 0, len(pages), len(rows))
    table = b"".join(struct.pack(">36sIQ", b"%036d" % number, flags, 9) for number, flags in enumerate(pages))
    places = b"".join(struct.pack(">II", page, slot) for _, page, slot in rows)
    return with_trailer(head + table + fanout(key for key, _, _ in rows) + b"".join(row[0] for row in rows) + places)


def archive_files() -> dict[str, bytes]:
    three = [archive_object(3, "blob", b"x" * size) for size in range(3)]
    kinds = [archive_object(code, kind, b"") for code, kind in ((1, "commit"), (2, "tree"), (4, "tag"))]
    names = sorted(key for key, _ in three)
    return {
        "empty": archive_page([]),
        "blobs": archive_page(three),
        "kinds": archive_page([*kinds, *three]),
        "big-endian": archive_page([archive_object(3, "blob", b"big", ">")]),
        "duplicate": archive_page([three[0], three[0], three[1]]),
        "no-type": archive_page([(three[0][0], b"\3\0")]),
        "bad-type": archive_page([(three[0][0], b"\5\0\0\5")]),
        "wrong-id": archive_page([(three[0][0], three[1][1])]),
        "beyond-data": archive_page(three, size=3, tail=bytes(9)),
        "cut": archive_page(three, size=900),
        "cut-index": archive_page(three, head_size=50),
        "unsaved": archive_page([(bytes(20), b"value")], version=0, capacity=0, items=0, index=0, start=0, size=0),
        "many-items": archive_page(three, items=2001),
        "index": archive_index([2, 0, 1], [(name, number % 2, number) for number, name in enumerate(names)]),
        "index-empty": archive_index([], []),
        "index-nowhere": archive_index([0], [(names[0], 1, 0), (names[1], 0, 2000)]),
        "index-unsorted": archive_index([0], [(name, 0, 0) for name in names[::-1]]),
    }


def journal_files() -> dict[str, bytes]:
    def record(entry: bytes) -> bytes:
        return struct.pack(">II", len(entry), zlib.crc32(entry)) + entry

    def journal(*entries: bytes, version: int = 1, hash_id: int = 1) -> bytes:
        return b"GPAJ" + struct.pack(">II", version, hash_id) + b"".join(map(record, entries))

    def whole(kind: int, content: bytes, level: int = 6) -> bytes:
        return entry_header(kind, len(content)) + zlib.compress(content, level)

    four = [whole(1, b"tree 0\n"), whole(2, b""), whole(3, TEXT), whole(4, b"object 0\n", 0)]
    return {
        "kinds": journal(*four),
        "same-twice": journal(four[2], four[2], whole(3, TEXT, 0)),
        "empty": b"",
        "header": journal(),
        "cut": journal(*four)[:-3],
        "zeros-behind": journal(four[0]) + bytes(30),
        "delta": journal(four[0], entry_header(6, 9) + b"\x05" + zlib.compress(b"a program")),
        "wrong-size": journal(four[0], entry_header(3, 99) + zlib.compress(b"short"), four[1]),
        "claims-much": journal(entry_header(3, 1 << 40) + zlib.compress(b"short")),
        "garbage-behind": journal(four[2] + b"garbage", four[0]),
        "pages": journal(*(whole(3, b"%d" % number * number, 0) for number in range(12))),
        "sha256": journal(*four, hash_id=2),
        "version-2": journal(*four, version=2),
    }


def object_files() -> dict[str, bytes]:
    """New trees, commits and tags as the fuzz target takes them: a byte with type and hash, then the content."""
    person = b"A U Thor <author@example.com> 1700000000 +0100\n"

    def tree(*names: bytes, size: int = 20) -> bytes:
        modes = {b"folder": b"40000", b"link": b"120000", b"module": b"160000"}
        entries = (b"%b %b\0" % (modes.get(name, b"100644"), name) + bytes(range(1, size + 1)) for name in names)
        return b"".join(entries)

    def commit(digits: int) -> bytes:
        parents = b"".join(b"parent %b\n" % (number * digits) for number in (b"2", b"3"))
        people = b"author " + person + b"committer " + person
        return b"tree %b\n" % (b"1" * digits) + parents + people + b"encoding x\n\nwhy\n"

    tag = b"object %b\ntype commit\ntag v1.0/a\ntagger " % (b"c" * 40) + person + b"\nfirst\n"
    return {
        "commit": b"\1" + commit(40),
        "commit-sha256": b"\x09" + commit(64),
        "tree": b"\2" + tree(b"a", b"a.b", b"folder", b"link", b"module"),
        "tree-sha256": b"\x0a" + tree(b"a", b"b", size=32),
        "tree-unsorted": b"\2" + tree(b"b", b"a"),
        "tree-file-and-folder": b"\2" + tree(b"folde", b"folder-x", b"folder"),
        "tree-dotgit": b"\2" + tree(b".g\xe2\x80\x8cit", b".git ", b"a\\.git", b"git~1"),
        "tree-short-names": b"\2" + b"".join(b"120000 %b\0" % name + b"i" * 20 for name in (b"gi7eba~1", b".mailmap")),
        "blob": b"\3anything",
        "tag": b"\4" + tag,
        "tag-no-tagger": b"\4" + tag[: tag.index(b"tagger")] + b"\nfirst\n",
    }


def overlay_files() -> dict[str, bytes]:
    """Two objects, and which of them the overlay asked first and the one asked last have: two bits for each."""
    halves = b"of the first half" + b"of the second one"
    return {
        "nowhere": b"\x00" + halves,
        "first": b"\x03" + halves,
        "last": b"\x0c" + halves,
        "one-each": b"\x09" + halves,
        "both": b"\x0f" + halves,
        "empty-and-large": b"\x06" + bytes(2) + random.Random("overlay").randbytes(3000),
    }


def main(folder: Path) -> None:
    formats = {
        "idx": idx_files,
        "midx": midx_files,
        "pack": pack_files,
        "delta": delta_files,
        "delta_make": delta_make_files,
        "loose": loose_files,
        "peek": peek_files,
        "archive": archive_files,
        "journal": journal_files,
        "object": object_files,
        "overlay": overlay_files,
    }
    for name, make in formats.items():
        target = folder / name
        target.mkdir(parents=True, exist_ok=True)
        for stem, data in make().items():
            if len(data) >= SIZE_LIMIT:
                raise ValueError(f"'{name}/{stem}' has {len(data)} bytes")
            (target / stem).write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
