"""Sizes, times and settings as words."""

from __future__ import annotations

import re

import pytest

from gpa_maint.repo import config
from gpa_maint.repo.config import BadValue, Settings, parse_bool, parse_size, parse_time, settings_from


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1", 1), ("10k", 10240), ("3M", 3 << 20), (" 2g ", 2 << 30), ("18446744073709551615", (1 << 64) - 1)],
)
def test_a_size_has_an_optional_unit(text: str, size: int) -> None:
    assert size == parse_size(text)


@pytest.mark.parametrize("text", ["", "k", "-1", "1.5k", "1kb", "1t", "0x10", "one", "\u0663", "17179869184g"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("now", 0),
        ("all", 0),
        ("90", 90),
        ("90.minutes", 5400),
        ("1.hour", 3600),
        ("2.weeks.ago", 14 * 86400),
        ("2 weeks ago", 14 * 86400),
        ("1.Day", 86400),
        ("3.months", 90 * 86400),
        ("never", config.NEVER),
        ("false", config.NEVER),
    ],
)
def test_a_time_is_a_span_as_git_writes_it(text: str, seconds: int) -> None:
    assert seconds == parse_time(text)


@pytest.mark.parametrize("text", ["", "soon", "1.5.hours", "-1.hour", "1.hours.later", "hour", "yesterday"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        parse_time(text)


def test_never_is_later_than_any_time_to_come() -> None:
    assert 1 << 40 < config.NEVER


def test_a_bool_is_what_git_takes_for_true() -> None:
    assert all(map(parse_bool, ("true", "Yes", "on", "1")))
    assert not any(map(parse_bool, ("false", "no", "off", "0", "")))


def test_without_settings_the_defaults_of_the_table_hold() -> None:
    assert Settings() == settings_from({})
    assert Settings() == settings_from({key.lower(): default for key, _, _, default, _ in config.KEYS})


@pytest.mark.parametrize("row", config.KEYS, ids=[row[0] for row in config.KEYS])
def test_each_setting_reaches_its_field(row: tuple[str, str, str, str, str]) -> None:
    key, field, kind, _, _ = row
    text, value = {
        "size": ("7k", 7168),
        "count": ("7", 7),
        "limit": ("0", 0),
        "time": ("7.days", 7 * 86400),
        "bool": ("on", True),
    }[kind]
    assert Settings()._replace(**{field: value}) == settings_from({key.lower(): text})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("gpa.pageObjects", "0"),
        ("gpa.pageObjects", "2g"),
        ("gpa.pageObjects", "many"),
        ("gpa.pageBytes", "-1"),
        ("gpa.expireGrace", "soon"),
        ("gpa.depth", "0"),
    ],
)
def test_a_bad_setting_is_refused_with_its_name_and_value(key: str, text: str) -> None:
    with pytest.raises(BadValue) as caught:
        settings_from({key.lower(): text})
    assert f"'{text}' for '{key}'" in str(caught.value)


def test_pack_compression_goes_before_that_of_core() -> None:
    assert 3 == settings_from({"core.compression": "3"}).compression
    assert 1 == settings_from({"core.compression": "3", "pack.compression": "1"}).compression


@pytest.mark.parametrize(("text", "says"), [("10", "level 10"), ("-2", "level -2"), ("x", "'x' for")])
def test_a_compression_level_that_zlib_does_not_have_is_refused(text: str, says: str) -> None:
    with pytest.raises(BadValue, match=says):
        settings_from({"pack.compression": text})


def test_git_s_own_settings_are_read() -> None:
    found = settings_from({"core.sharedrepository": "group", "extensions.preciousobjects": "true"})
    assert ("group", True) == (found.shared, found.precious_objects)
