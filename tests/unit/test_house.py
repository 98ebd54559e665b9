"""Rules of the package that hold in every room: few parameters, one clock, imports at the top."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpa_maint

PACKAGE = Path(gpa_maint.__file__).parent
SOURCES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text())
    for path in sorted(PACKAGE.rglob("*.py"))
}

MOST_PARAMETERS = 7
MANY_PARAMETERS = {
    # Their signatures are public.
    "verbs.write.write",
    "archive_v1.__init__.import_archive",
    "archive_v1.__init__.export_archive",
    # Each makes one value for a C function.
    "_core.lend.Batch.__init__",
    "_core.merge.Merge.__init__",
    "_core.write.CoreWriter.__init__",
}

WALL_CLOCKS = {
    "cli": "the command line has the clock",
    "verbs.session": "now(), which the public functions hand to their rounds",
    "archive_v1.__init__": "public functions",
    "store.saved": "a store serves for hours, and is handed no time",
    "store.recovery": "as store.saved",
    "paged_archive.saving": "an archive is open for hours, and is handed no time",
    "fs.packs": "no file is dated ahead of the clock of the machine",
}
"""The modules, or rooms, that ask what time it is, and why."""

LATE_IMPORTS = {
    "__init__": "public names are loaded when they are first asked for",
    "paged_archive.__init__": "as __init__; pygit2",
    "store.__init__": "as __init__",
    "cli.main": "the verb alone",
    "cli.parser": "argparse: only for help and wrong usage",
    "cli.run": "many repositories",
    "cli.status": "metrics",
    "cli.ui": "tqdm: only on a terminal",
    "base.progress": "threading.Timer: few runs have a time limit",
    "fs.delete_many": "threading: few delete so many",
    "fs.packs": "hashlib: hardly any page meets a pack of its name",
    "integrations.libgit2": "pygit2",
    "look.environment": "pwd: not on every system",
    "repo.discover": "re: hardly ever needed",
    "repo.names": "subprocess: only for names that are no ids",
    "setup.scripts": "shlex",
    "setup.starting": "shlex: few hooks need it",
    "setup.timers": "pwd, shlex, zlib: each for one kind of schedule",
    "state.next_run": "fs: most runs only read",
    "store.memory": "resource: not on every system",
    "store.page_store": "the writer and libgit2: many only read",
    "store.writer": "store.saved: only for save() and confirm()",
    "verbs.run_many": "concurrent.futures: not for one repository",
}
"""The modules that import within functions, what, and why not at their top."""


def functions(tree: ast.AST, name: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        inner = name
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{name}.{node.name}"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield inner, node
        yield from functions(node, inner)


def count_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """All but self and cls."""
    given = function.args
    names = [one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    more = [one for one in (given.vararg, given.kwarg) if one is not None]
    return len(names) + len(more) - (names[:1] in (["self"], ["cls"]))


def test_no_function_has_more_than_seven_parameters() -> None:
    many = {
        module + name
        for module, tree in SOURCES.items()
        for name, function in functions(tree, ".")
        if count_parameters(function) > MOST_PARAMETERS
    }
    assert {name.replace("..", ".") for name in many} == MANY_PARAMETERS


def test_parameters_are_counted() -> None:
    text = "class A:\n def f(self, a, *b, c, **d): pass\ndef g(a, /, b): pass"
    assert [4, 2] == [count_parameters(function) for _, function in functions(ast.parse(text))]


def reads_the_clock(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return (node.value.id, node.attr) in {
            ("time", "time"),
            ("time", "time_ns"),
            ("datetime", "now"),
            ("datetime", "utcnow"),
        }
    if isinstance(node, ast.ImportFrom):
        return node.module == "time" and any(one.name in ("time", "time_ns") for one in node.names)
    return False


def rooms_of(modules: set[str], table: dict[str, str]) -> set[str]:
    """The lines of a table that hold for these modules; a module without one is itself."""
    return {module if module in table else module.split(".")[0] for module in modules}


def test_no_room_but_those_listed_asks_what_time_it_is() -> None:
    asking = {module for module, tree in SOURCES.items() if any(map(reads_the_clock, ast.walk(tree)))}
    assert rooms_of(asking, WALL_CLOCKS) == WALL_CLOCKS.keys()


@pytest.mark.parametrize("line", ["time.time()", "from time import time", "datetime.now()", "x = time.time_ns"])
def test_a_look_at_the_clock_is_seen(line: str) -> None:
    assert any(map(reads_the_clock, ast.walk(ast.parse(line))))


def test_imports_stand_at_the_top_but_for_those_listed() -> None:
    late = {
        module
        for module, tree in SOURCES.items()
        for _, function in functions(tree)
        if any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(function))
    }
    assert LATE_IMPORTS.keys() == late
