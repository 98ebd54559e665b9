"""Our named tuples behave as typing's do, as far as anybody here relies on it."""

from __future__ import annotations

import copy
import pickle
import typing

import pytest

from gpa_maint.base import tuples


class Ours(tuples.NamedTuple):
    """A place."""

    x: int
    y: int = 2
    name: str = ""

    @property
    def total(self) -> int:
        return self.x + self.y


class Theirs(typing.NamedTuple):
    x: int
    y: int = 2
    name: str = ""


class Never(tuples.NamedTuple):
    only: int


def test_a_value_is_a_tuple_with_names() -> None:
    value = Ours(1, name="a")
    assert (1, 2, "a") == value == tuple(value)
    assert (1, 2, "a", 3) == (value.x, value.y, value.name, value.total)
    assert hash(Theirs(1, name="a")) == hash(value)
    assert {"x": 1, "y": 2, "name": "a"} == value._asdict()
    assert Ours(5, 2, "a") == value._replace(x=5)
    assert value == Ours._make([1, 2, "a"])
    assert repr(Theirs(1)).replace("Theirs", "Ours") == repr(Ours(1))


def test_a_class_tells_what_those_of_typing_tell() -> None:
    for name in ("_fields", "_field_defaults", "__match_args__", "__slots__"):
        assert getattr(Theirs, name) == getattr(Ours, name)
    assert typing.get_type_hints(Theirs) == typing.get_type_hints(Ours)
    assert "A place." == Ours.__doc__


def test_a_value_has_no_other_fields_and_does_not_change() -> None:
    value = Ours(1)
    for name in ("x", "z"):
        with pytest.raises(AttributeError):
            setattr(value, name, 3)


@pytest.mark.parametrize(("given", "named"), [((), {}), ((1, 2, "", 4), {}), ((1,), {"x": 1}), ((1,), {"z": 1})])
def test_what_does_not_fit_the_fields_is_refused(given: tuple[int, ...], named: dict[str, int]) -> None:
    for kind in (Ours, Theirs):
        with pytest.raises(TypeError):
            kind(*given, **named)  # type: ignore[arg-type]


def test_a_value_can_be_matched_copied_and_sent() -> None:
    match Ours(1, 3):
        case Ours(x, y):
            assert (1, 3) == (x, y)
    assert Ours(1) == copy.deepcopy(Ours(1)) == pickle.loads(pickle.dumps(Ours(1)))


def test_the_first_value_of_a_class_may_be_refused() -> None:
    with pytest.raises(TypeError):
        Never()
    assert (7,) == Never(7)
