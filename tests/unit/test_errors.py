"""Errors cross processes: pickle and copy keep the type, every field and the text of each class of the error tree."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gpa_maint
from gpa_maint.errors import Corrupt, GitFailed, GpaError, Locked

EXAMPLES: dict[str, object] = {
    "str": "some 'text'",
    "int": 28,
    "bool": True,
    "list[str]": ["git", "gc"],
    "tuple[bytes, ...]": (b"\x01" * 20, b"\x02" * 20),
    "int | None": 7,
    "GpaError": Corrupt("inner", "reason", offset=3),
    "Corrupt": Corrupt("inner", "reason", hint="a hint"),
    "SystemFailed": Corrupt("inner", "reason"),
}
OS_FIELDS = ("errno", "strerror", "filename", "filename2")
WAYS: list[Callable[[Any], Any]] = [
    *(lambda error, number=number: pickle.loads(pickle.dumps(error, number)) for number in range(2, 6)),
    copy.copy,
    copy.deepcopy,
]


def every_class() -> list[type[GpaError]]:
    """The whole tree, as far as any module of the package has a part of it."""
    for found in pkgutil.walk_packages(gpa_maint.__path__, "gpa_maint."):
        if not found.name.endswith((".demo", "._gpa", "._core.build")):
            importlib.import_module(found.name)

    def below(cls: type[GpaError]) -> Iterator[type[GpaError]]:
        yield cls
        for sub in cls.__subclasses__():
            yield from below(sub)

    return sorted({cls for cls in below(GpaError) if cls.__module__.startswith("gpa_maint.")}, key=str)


CLASSES = every_class()


def words_of(annotation: Any) -> str:
    """An annotation as it stands in the source; not every module leaves it as a text."""
    is_class = isinstance(annotation, type) and not hasattr(annotation, "__args__")
    return str(annotation.__name__ if is_class else annotation)


def example(cls: type[GpaError]) -> GpaError:
    """An error with another value than the default in each field."""
    parameters = inspect.signature(cls.__init__).parameters
    given: dict[str, Any] = {name: EXAMPLES[words_of(parameters[name].annotation)] for name in [*parameters][1:]}
    positional = [given.pop(name) for name in [*given] if parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY]
    return cls(*positional, **given)


def comparable(error: object) -> object:
    if not isinstance(error, BaseException):
        return error
    fields = {name: getattr(error, name, None) for name in OS_FIELDS} | vars(error)
    return type(error), str(error), error.args, {name: comparable(value) for name, value in fields.items()}


def test_the_tree_is_found() -> None:
    names = {cls.__name__ for cls in CLASSES}
    assert {"GpaError", "Corrupt", "FileGone", "BadLoose", "ArchiveLibItemNotFoundError", "BadStream"} <= names
    assert len(CLASSES) > 25


@pytest.mark.parametrize("way", range(len(WAYS)))
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_is_the_same_on_the_other_side(cls: type[GpaError], way: int) -> None:
    error = example(cls)
    error.add_note("a note")
    back = WAYS[way](error)
    assert back is not error
    assert comparable(error) == comparable(back)
    assert error.hint == back.hint


def test_fields_that_were_set_later_come_along() -> None:
    error = Locked("somebody is at work", path="gpa/lock", holder="process 7")
    error.hint = "another hint"
    back = pickle.loads(pickle.dumps(error))
    assert ("gpa/lock", "process 7", "another hint") == (back.path, back.holder, back.hint)


def test_another_process_sees_the_same_error() -> None:
    sent = [example(cls) for cls in CLASSES] + [GitFailed(["git", "gc"], 128, "fatal: no\n")]
    program = (
        "import pickle, sys\n"
        "for error in pickle.load(sys.stdin.buffer): print(type(error).__qualname__, str(error), error.hint, sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(sent), capture_output=True, check=False)
    assert "" == done.stderr.decode()
    assert [f"{type(one).__qualname__}|{one}|{one.hint}" for one in sent] == done.stdout.decode().split("\n")[:-1]
