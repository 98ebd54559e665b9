"""The C core's small parts against models in Python."""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import Any

import packwriter
import pytest
from hypothesis import given
from hypothesis import strategies as st
from packwriter import copy_op, delta_size, encode_delta, entry_header, insert_op, ofs_distance

from gpa_maint import __version__
from gpa_maint._core._gpa import ffi, lib
from gpa_maint._core.base import build_info, c_strings, check, hash_size, new_error
from gpa_maint.cli.main import main
from gpa_maint.errors import Corrupt

TRAILER = bytes(20)


def apply_delta(base: bytes, program: bytes, size: int) -> bytes:
    out = ffi.new("unsigned char[]", max(1, size))
    err = new_error()
    with ffi.from_buffer(base) as one, ffi.from_buffer(program) as other:
        first = ffi.new("gpa_bytes *", {"ptr": ffi.cast("unsigned char *", one), "len": len(base)})
        second = ffi.new("gpa_bytes *", {"ptr": ffi.cast("unsigned char *", other), "len": len(program)})
        check(lib.gpa_delta_apply(out, size, first[0], second[0], err), err, "delta")
    return bytes(ffi.buffer(out, size))


def model_of_delta(base: bytes, ops: list[tuple[int, int] | bytes]) -> bytes:
    return b"".join(op if isinstance(op, bytes) else base[op[0] : op[0] + op[1]] for op in ops)


@st.composite
def deltas(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int] | bytes]]:
    base = draw(st.binary(min_size=1, max_size=400))
    offsets = st.integers(0, len(base) - 1)
    copies = offsets.flatmap(lambda at: st.tuples(st.just(at), st.integers(1, len(base) - at)))
    return base, draw(st.lists(st.one_of(copies, st.binary(min_size=1, max_size=127)), max_size=12))


@given(case=deltas())
def test_a_delta_does_what_its_operations_say(case: tuple[bytes, list[tuple[int, int] | bytes]]) -> None:
    base, ops = case
    target = model_of_delta(base, ops)
    program = delta_size(len(base)) + delta_size(len(target))
    program += b"".join(insert_op(op) if isinstance(op, bytes) else copy_op(*op) for op in ops)
    assert target == apply_delta(base, program, len(target))


@given(base=st.binary(max_size=300), target=st.binary(max_size=300))
def test_an_encoded_delta_gives_its_target(base: bytes, target: bytes) -> None:
    assert target == apply_delta(base, encode_delta(base, target), len(target))


def test_a_copy_of_size_zero_takes_64_kilobytes() -> None:
    base = bytes(range(256)) * 300
    program = delta_size(len(base)) + delta_size(0x10000) + b"\x80"
    assert base[:0x10000] == apply_delta(base, program, 0x10000)


def interpret(base: bytes, ops: bytes) -> bytes | None:
    """What the operations of a delta make; None when they are broken."""
    out, at = b"", 0
    while at < len(ops):
        op, at = ops[at], at + 1
        if op & 0x80:
            operands = [0] * 7
            for bit in range(7):
                if op & 1 << bit:
                    if at == len(ops):
                        return None
                    operands[bit], at = ops[at], at + 1
            offset, size = (int.from_bytes(bytes(part), "little") for part in (operands[:4], operands[4:]))
            size = size or 0x10000
            if offset + size > len(base):
                return None
            out += base[offset : offset + size]
        elif op == 0 or at + op > len(ops):
            return None
        else:
            out, at = out + ops[at : at + op], at + op
    return out


inserts = st.builds(insert_op, st.binary(min_size=1, max_size=5))
copies = st.builds(copy_op, st.integers(0, 9), st.integers(1, 9))
op_bytes = st.one_of(st.binary(max_size=6), inserts, copies)


@given(
    base=st.binary(max_size=40),
    ops=st.lists(op_bytes, max_size=6).map(b"".join),
    other=st.none() | st.integers(0, 60),
)
def test_any_operations_are_carried_out_or_refused(base: bytes, ops: bytes, other: int | None) -> None:
    made = interpret(base, ops)
    size = len(made or b"") if other is None else other
    program = delta_size(len(base)) + delta_size(size) + ops
    if made is not None and size == len(made):
        assert made == apply_delta(base, program, size)
    else:
        with pytest.raises(Corrupt, match="delta"):
            apply_delta(base, program, size)


@pytest.mark.parametrize(("offset", "size"), [(101, 1), (200, 10), (100, 1), (95, 6), (0, 101)])
def test_a_copy_from_beyond_the_base_is_corrupt(offset: int, size: int) -> None:
    program = delta_size(100) + delta_size(size) + copy_op(offset, size)
    with pytest.raises(Corrupt, match=f"delta copies {size} bytes from {offset} of a base of 100$"):
        apply_delta(bytes(100), program, size)


@given(source=st.integers(0, (1 << 64) - 1), target=st.integers(0, (1 << 64) - 1))
def test_the_sizes_of_a_delta_are_read_up_to_64_bits(source: int, target: int) -> None:
    program = delta_size(source) + delta_size(target)
    one, other = ffi.new("uint64_t *"), ffi.new("uint64_t *")
    keep = ffi.new("unsigned char[]", program)
    file = ffi.new("gpa_bytes *", {"ptr": keep, "len": len(program)})
    assert lib.GPA_OK == lib.gpa_delta_sizes(one, other, file[0], new_error())
    assert (source, target) == (one[0], other[0])


def test_a_size_beyond_64_bits_is_corrupt() -> None:
    keep = ffi.new("unsigned char[]", b"\xff" * 9 + b"\x02" + b"\1")
    file = ffi.new("gpa_bytes *", {"ptr": keep, "len": 11})
    assert lib.GPA_ECORRUPT == lib.gpa_delta_sizes(ffi.new("uint64_t *"), ffi.new("uint64_t *"), file[0], new_error())


def parse_entry(before: int, entry: bytes) -> Any:
    """A gpa_entry for `entry` lying at offset 12 + before of a pack; Corrupt when it is none."""
    data = b"PACK" + bytes(8 + before) + entry + TRAILER
    keep = ffi.new("unsigned char[]", len(data))
    ffi.memmove(keep, data, len(data))
    file = ffi.new("gpa_bytes *", {"ptr": keep, "len": len(data)})
    out, err = ffi.new("gpa_entry *"), new_error()
    check(lib.gpa_entry_parse(out, file[0], 12 + before, lib.GPA_SHA1, err), err, "pack")
    oid = bytes(ffi.buffer(out.base_oid, 20)) if out.base_oid else b""
    return out.type, out.size, out.header_size, out.base_offset, oid


@given(kind=st.sampled_from([1, 2, 3, 4]), size=st.integers(0, (1 << 64) - 1))
def test_type_and_size_of_an_entry_are_what_packwriter_wrote(kind: int, size: int) -> None:
    head = entry_header(kind, size)
    assert (kind, size, len(head), 0, b"") == parse_entry(0, head + b"stream")


@pytest.mark.parametrize("size", [1 << 64, 1 << 66, 1 << 67, 1 << 74, 1 << 200])
def test_an_entry_size_beyond_64_bits_is_corrupt(size: int) -> None:
    with pytest.raises(Corrupt, match="entry header is cut short or too long"):
        parse_entry(0, entry_header(3, size | 5) + b"stream")


def idx_with(offsets: list[int], large: list[int]) -> bytes:
    """An idx (version 2, SHA-1) of as many objects, without checksums."""
    count = len(offsets)
    oids = b"".join(bytes([0, number]) + bytes(18) for number in range(count))
    head = struct.pack(">II256I", 0xFF744F63, 2, *[count] * 256)
    tables = struct.pack(f">{2 * count}I", *[0] * count, *offsets) + struct.pack(f">{len(large)}Q", *large)
    return head + oids + tables + bytes(40)


def offset_in(idx: bytes, pos: int) -> int:
    keep = ffi.new("unsigned char[]", idx)
    file = ffi.new("gpa_bytes *", {"ptr": keep, "len": len(idx)})
    parsed, out, err = ffi.new("gpa_idx *"), ffi.new("uint64_t *"), new_error()
    check(lib.gpa_idx_parse(parsed, file[0], lib.GPA_SHA1, err), err, "idx")
    check(lib.gpa_idx_offset(out, parsed, pos, err), err, "idx")
    return int(out[0])


def test_a_large_offset_is_that_of_its_row() -> None:
    idx = idx_with([12, 1 << 31, 1 << 31 | 1], [1 << 33, 1 << 34])
    assert [12, 1 << 33, 1 << 34] == [offset_in(idx, pos) for pos in range(3)]


@pytest.mark.parametrize("row", [2, 3, (1 << 31) - 1])
def test_a_large_offset_without_a_row_is_corrupt(row: int) -> None:
    idx = idx_with([12, 1 << 31, 1 << 31 | row], [1 << 33, 1 << 34])
    with pytest.raises(Corrupt, match=f"object 2 has large offset {row} of 2$"):
        offset_in(idx, 2)


@given(distance=st.integers(1, 100_000), size=st.integers(0, 1 << 40))
def test_the_distance_of_an_ofs_delta_is_what_packwriter_wrote(distance: int, size: int) -> None:
    head = entry_header(packwriter.OFS_DELTA, size) + ofs_distance(distance)
    assert (6, size, len(head), 12, b"") == parse_entry(distance, head + b"stream")


@given(distance=st.integers(13, 1 << 63))
def test_a_base_before_the_pack_is_corrupt(distance: int) -> None:
    with pytest.raises(Corrupt, match="delta base lies outside the pack"):
        parse_entry(0, entry_header(packwriter.OFS_DELTA, 5) + ofs_distance(distance) + b"stream")


@pytest.mark.parametrize("edge", [1, 127, 128, 16511, 16512, 2113663, 2113664])
def test_distances_are_read_at_the_edges_of_their_lengths(edge: int) -> None:
    head = entry_header(packwriter.OFS_DELTA, 5) + ofs_distance(edge)
    assert 12 == parse_entry(edge, head)[3]


@given(oid=st.binary(min_size=20, max_size=20))
def test_the_base_of_a_ref_delta_is_its_oid(oid: bytes) -> None:
    head = entry_header(packwriter.REF_DELTA, 5) + oid
    assert (7, 5, len(head), 0, oid) == parse_entry(0, head)


@pytest.mark.parametrize("kind", [0, 5])
def test_types_that_git_does_not_have_are_corrupt(kind: int) -> None:
    with pytest.raises(Corrupt, match=f"invalid type {kind}"):
        parse_entry(0, entry_header(kind, 5))


@pytest.mark.parametrize("entry", [b"\xb0", b"\xb0\x80\x80", b"\x65", b"\x65\x80", b"\x75" + bytes(19)])
def test_a_header_that_is_cut_short_is_corrupt(entry: bytes) -> None:
    with pytest.raises(Corrupt, match=r"cut short|outside the pack"):
        parse_entry(0, entry)


@given(data=st.binary(max_size=500), start=st.integers(0, (1 << 32) - 1))
def test_crc32_is_that_of_zlib(data: bytes, start: int) -> None:
    keep = ffi.new("unsigned char[]", data or b"\0")
    file = ffi.new("gpa_bytes *", {"ptr": keep, "len": len(data)})
    assert zlib.crc32(data, start) == lib.gpa_crc32(start, file[0])


@given(data=st.binary(max_size=500))
@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_hashes_are_those_of_hashlib(name: str, data: bytes) -> None:
    out = ffi.new("unsigned char[]", 32)
    keep = ffi.new("unsigned char[]", data or b"\0")
    file = ffi.new("gpa_bytes *", {"ptr": keep, "len": len(data)})
    algorithm = {"sha1": lib.GPA_SHA1, "sha256": lib.GPA_SHA256}[name]
    assert lib.GPA_OK == lib.gpa_hash_bytes(out, algorithm, file[0], new_error())
    assert hashlib.new(name, data).digest() == bytes(ffi.buffer(out, hash_size(name)))


def test_hash_sizes_are_those_of_git() -> None:
    assert (20, 32, 0) == (hash_size("sha1"), hash_size("sha256"), lib.gpa_hash_size(3))


def test_the_build_says_which_libraries_it_uses() -> None:
    assert "OpenSSL" in build_info()
    assert ", zlib " in build_info()
    assert ", libdeflate 1." in build_info() or build_info().endswith(", without libdeflate")


def test_the_version_says_whether_libdeflate_is_in(capsys: pytest.CaptureFixture[str]) -> None:
    assert 0 == main(["--version"])
    assert f"git-gpa version {__version__}\nbuilt with {build_info()}\n" == capsys.readouterr().out


@given(
    st.lists(st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=20), max_size=9)
)
def test_the_array_of_names_is_all_that_keeps_them(names: list[str]) -> None:
    array = c_strings(names)
    assert names == [ffi.string(array[place]).decode() for place in range(len(names))]


def test_a_name_with_a_nul_byte_is_none() -> None:
    with pytest.raises(ValueError, match="null byte"):
        c_strings(["first", "sec\0ond", "third"])
