"""docs/python-api.md, made from the code: `python tests/api_page.py >docs/python-api.md`. A test compares the two."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

MODULES = {
    "gpa_maint": None,
    "gpa_maint.commands": ("add_loose", "explain", "import_objects", "schedule", "Stop"),
    "gpa_maint.journal": ("Writer",),
    "gpa_maint.store": ("ObjectStream",),
    "gpa_maint.integrations.libgit2": ("attach", "open_repository"),
    "gpa_maint.integrations.dulwich": ("open_repository", "PagedObjectStore"),
    "gpa_maint.integrations.gitdb": ("PagedDB",),
    "gpa_maint.integrations.gitpython": ("PagedRepo",),
    "gpa_maint.databranch": None,
    "gpa_maint.archive_v1": None,
    "gpa_maint.paged_archive": None,
}
"""What is public of each module; None: what its __all__ names."""

MODELS = ("copies", "inventory", "plans", "repair", "results", "setup", "status", "verify")
VALUES = tuple(f"gpa_maint.model.{name}" for name in MODELS)
VALUES += ("gpa_maint.store.page_store", "gpa_maint.store.writer", "gpa_maint._core.read", "gpa_maint._core.write")
VALUES += ("gpa_maint.archive_v1", "gpa_maint.databranch")
"""Where the values are that the functions return."""

WIDTH = 100

INTRODUCTION = """# Python API

Every public function, class and error, with its signature. `python tests/api_page.py >docs/python-api.md` makes this
page from the code, and a test compares the two. How they are used: [reading](reading-from-python.md) and
[writing git from Python](writing-from-python.md), [from the paged archive](from-paged-archive.md).

`StrPath` is a `str` or another path, such as a `pathlib.Path`. `Oid` is the id of an object: raw bytes, hexadecimal
text or ASCII, or a `pygit2.Oid`. `ReportProgress` is a function that is called with a title and two numbers: how much
is done, and how much there is. `StopRequest` is the class that `gpa_maint.commands` names `Stop`. An argument of a
wrong type is a `TypeError`, a wrong value a `ValueError`, and both say what was expected. What else goes wrong is a
[`GpaError`](#errors)."""


class _Verbatim:
    """An annotation that is shown as it stands in the source."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def public_names(module: str) -> list[str]:
    names = MODULES[module]
    if names is not None:
        return list(names)
    return [name for name in importlib.import_module(module).__all__ if not name.startswith("__")]


def signature(name: str, function: Any, *, drop_first: bool = False) -> str:
    """As it stands in the source; a parameter a line where one line is too short."""
    found = inspect.signature(function)
    parameters = [_verbatim(one) for one in found.parameters.values()][1 if drop_first else 0 :]
    returned = "" if found.return_annotation is inspect.Signature.empty else f" -> {found.return_annotation}"
    line = f"{name}{found.replace(parameters=parameters, return_annotation=inspect.Signature.empty)}{returned}"
    if len(line) <= WIDTH:
        return line
    words = str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))[1:-1]
    return f"{name}(\n" + "".join(f"    {one},\n" for one in _split(words)) + f"){returned}"


def _verbatim(parameter: inspect.Parameter) -> inspect.Parameter:
    if parameter.annotation is inspect.Parameter.empty:
        return parameter
    return parameter.replace(annotation=_Verbatim(str(parameter.annotation)))


def _split(words: str) -> Iterator[str]:
    """At the commas outside brackets."""
    depth, start = 0, 0
    for at, char in enumerate(words):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and not depth:
            yield words[start:at].strip()
            start = at + 1
    yield words[start:].strip()


def summary(thing: Any) -> str:
    """The first paragraph of the docstring, as one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def methods(cls: type) -> Iterator[tuple[str, Any, bool]]:
    """Public methods of the class itself: name, function, whether the first parameter is left out."""
    for name, value in vars(cls).items():
        if name.startswith("_") and name not in ("__contains__", "__iter__", "__len__"):
            continue
        if isinstance(value, classmethod | staticmethod):
            yield name, value.__func__, isinstance(value, classmethod)
        elif inspect.isfunction(value):
            yield name, value, True


def describe(module: str, name: str) -> Iterator[str]:
    thing = getattr(importlib.import_module(module), name)
    if not callable(thing):
        return
    yield f"### {name}"
    if inspect.isclass(thing) and issubclass(thing, BaseException):
        yield from _described(f"class {name}", summary(thing))
    elif inspect.isclass(thing):
        made = vars(thing).get("__init__")
        yield from _described(
            f"class {signature(name, made, drop_first=True)}" if made else f"class {name}", summary(thing)
        )
        for method, function, drops in methods(thing):
            yield from _described(signature(method, function, drop_first=drops), summary(function))
    else:
        yield from _described(signature(name, thing), summary(thing))


def _described(code: str, words: str) -> Iterator[str]:
    yield f"```python\n{re.sub(' -> None$', '', code) if code.startswith('class ') else code}\n```"
    if words:
        yield words


def value_types() -> dict[str, Any]:
    """The values that the listed functions return, and those within them, by name."""
    known = {
        name: value
        for module in VALUES
        for name, value in vars(importlib.import_module(module)).items()
        if inspect.isclass(value) and hasattr(value, "_fields")
    }
    text = " ".join(line for line in _functions() if "->" in line)
    todo = [name for name in known if re.search(rf"-> .*\b{name}\b", text)]
    found: dict[str, Any] = {}
    while todo:
        name = todo.pop(0)
        if name not in found:
            found[name] = known[name]
            fields = " ".join(map(str, known[name].__annotations__.values()))
            todo += [other for other in known if re.search(rf"\b{other}\b", fields)]
    return dict(sorted(found.items()))


def _functions() -> Iterator[str]:
    for module in MODULES:
        for name in public_names(module):
            yield from (part for part in describe(module, name) if part.startswith("```"))


def describe_value(name: str, value: Any) -> Iterator[str]:
    fields = [f"{field}: {value.__annotations__[field]}" for field in value._fields]
    line = f"{name}({', '.join(fields)})"
    if len(line) > WIDTH:
        line = f"{name}(\n" + "".join(f"    {field},\n" for field in fields) + ")"
    yield f"### {name}"
    yield f"```python\n{line}\n```"
    if not (inspect.getdoc(value) or "").startswith(f"{name}("):
        yield summary(value)


def errors() -> Iterator[str]:
    """The tree, each below what it is a kind of."""
    module = importlib.import_module("gpa_maint.errors")
    yield "`gpa_maint.errors`. `str()` of each is the message, `hint` says what to do, and may be empty."
    lines = []

    def visit(cls: type, depth: int) -> None:
        others = [base.__name__ for base in cls.__bases__ if base.__module__ == "builtins" and base is not Exception]
        also = f" (also a `{', '.join(others)}`)" if others else ""
        lines.append(f"{'  ' * depth}- `{cls.__name__}`{also}: {summary(cls)}")
        for sub in vars(module).values():
            if inspect.isclass(sub) and cls in sub.__bases__:
                visit(sub, depth + 1)

    visit(module.GpaError, 0)
    yield "\n".join(lines)


def page() -> str:
    parts = [INTRODUCTION]
    for module in MODULES:
        parts.append(f"## {module}")
        for name in public_names(module):
            parts += describe(module, name)
    parts += ["## Values", "What the functions return: named tuples, which do not change."]
    for name, value in value_types().items():
        parts += describe_value(name, value)
    return "\n\n".join([*parts, "## Errors", *errors()]) + "\n"


if __name__ == "__main__":
    print(page(), end="")
