"""Delta programs that csrc/format/delta_make.c makes: applied, they yield the target; none is longer than needed."""

from __future__ import annotations

import random
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpa_maint._core._gpa import ffi, lib
from gpa_maint._core.base import check, new_error

MIB = 1 << 20


def view(data: object, size: int) -> object:
    return ffi.new("gpa_bytes *", {"ptr": ffi.cast("unsigned char *", data), "len": size})[0]


def make_delta(base: bytes, target: bytes, most: int = sys.maxsize) -> bytes | None:
    """None when it would be longer than `most`."""
    out, err = ffi.new("gpa_buffer *"), new_error()
    with ffi.from_buffer(base) as one, ffi.from_buffer(target) as other:
        status = lib.gpa_delta_make(out, view(one, len(base)), view(other, len(target)), most, err)
    if status == lib.GPA_ENOTFOUND:
        return None
    check(status, err, "delta")
    program = bytes(ffi.buffer(out.ptr, out.len))
    lib.gpa_buffer_free(out)
    return program


def apply_delta(base: bytes, program: bytes, size: int) -> bytes:
    out, err = ffi.new("unsigned char[]", max(1, size)), new_error()
    with ffi.from_buffer(base) as one, ffi.from_buffer(program) as other:
        check(lib.gpa_delta_apply(out, size, view(one, len(base)), view(other, len(program)), err), err, "delta")
    return bytes(ffi.buffer(out, size))


def assert_makes(base: bytes, target: bytes) -> bytes:
    """The program: it is right, bounded, and given up where it may not be as long as it is."""
    program = make_delta(base, target)
    assert program is not None
    assert target == apply_delta(base, program, len(target))
    assert len(program) <= len(target) + len(target) // 127 + 32
    assert make_delta(base, target, len(program)) in (program, None)
    assert program == make_delta(base, target, len(program) + 64)
    assert make_delta(base, target, len(program) - 1) is None
    return program


@st.composite
def relatives(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A base, and a target of pieces of it with something between."""
    base = draw(st.binary(max_size=60)) * draw(st.integers(1, 40))
    cuts = st.tuples(st.integers(0, len(base)), st.integers(0, len(base))).map(sorted)
    pieces = st.one_of(cuts.map(lambda cut: base[cut[0] : cut[1]]), st.binary(max_size=40))
    return base, b"".join(draw(st.lists(pieces, max_size=12)))


@given(pair=relatives())
def test_a_target_made_of_pieces_of_the_base_comes_out_again(pair: tuple[bytes, bytes]) -> None:
    assert_makes(*pair)


@given(base=st.binary(max_size=300), target=st.binary(max_size=300))
def test_any_target_comes_out_again(base: bytes, target: bytes) -> None:
    assert_makes(base, target)


@given(data=st.binary(min_size=64, max_size=2000), at=st.integers(0, 1999), new=st.binary(max_size=30))
def test_a_change_in_one_place_takes_little_more_than_what_is_new(data: bytes, at: int, new: bytes) -> None:
    """Up to 31 bytes around it are in no whole block of the base."""
    at = min(at, len(data))
    assert len(assert_makes(data, data[:at] + new + data[at:])) <= len(new) + 2 * 31 + 24


@pytest.mark.parametrize("size", [1, 15, 16, 17, 0xFFFF, 0x10000, 0x10001, 300_000])
def test_an_equal_target_is_copied(size: int) -> None:
    data = random.Random(size).randbytes(size)
    program = assert_makes(data, data)
    assert len(program) <= (8 + 7 * (size // 0x10000 + 1) if size >= 16 else size + 8)


def test_what_moved_is_found_wherever_it_is() -> None:
    rng = random.Random(2)
    pieces = [rng.randbytes(rng.randrange(40, 3000)) for _ in range(60)]
    shuffled = rng.sample(pieces, len(pieces))
    assert len(assert_makes(b"".join(pieces), b"".join(shuffled))) < 60 * 40


HOSTILE = {
    "empty": (b"", b""),
    "empty base": (b"", b"x" * 1000),
    "empty target": (b"x" * 1000, b""),
    "equal bytes": (bytes(4 * MIB), bytes(3 * MIB)),
    "equal bytes, other ones": (bytes(MIB), b"\1" * MIB),
    "random": (random.Random(1).randbytes(MIB), random.Random(2).randbytes(MIB)),
    "two symbols": (bytes(random.Random(3).choices(b"ab", k=MIB)), bytes(random.Random(4).choices(b"ab", k=MIB))),
    "the same block, and others between": (
        b"".join(b"the same block!!" + b"%016d" % number for number in range(30_000)),
        b"the same block!!" * 60_000,
    ),
    "runs that end differently": (
        b"".join(b"r" * (16 * number) + b"%016d" % number for number in range(300)),
        b"r" * (2 * MIB),
    ),
    **{f"period {size}": (bytes(range(size)) * 50_000, bytes(range(size)) * 40_000 + b"!") for size in (3, 15, 16, 17)},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_no_input_takes_long(case: str) -> None:
    """In time linear in the sizes: with a square of them this would run for hours."""
    base, target = HOSTILE[case]
    program = make_delta(base, target)
    assert program is not None
    assert target == apply_delta(base, program, len(target))


def test_a_hopeless_target_is_given_up_early() -> None:
    base, target = HOSTILE["random"]
    assert make_delta(base, target, len(target) // 2) is None
    assert all(make_delta(base, target, most) is None for most in range(20))
