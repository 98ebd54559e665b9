"""Rules of the package that hold in every room: few parameters, one clock, imports at the top."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpa_maint
from gpa_maint.state import paths
from gpa_maint.state.next_run import SAMPLED_FOLDERS

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
}

WALL_CLOCKS = {
    "cli": "the command line has the clock",
    "verbs.session": "now(), which the public functions hand to their rounds",
    "store.saved": "a store serves for hours, and is handed no time",
    "store.recovery": "as store.saved",
    "databranch.branch": "as store.saved",
    "repo.ref_updates": "as store.saved",
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
    "apply.expire": "fs.delete_many: often nothing is deleted",
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
    "verbs.repack": "apply.repack: often there is nothing to merge",
    "verbs.run": "the rounds: most runs find nothing due",
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


def test_a_hook_samples_the_folders_that_a_run_does() -> None:
    text = (Path(__file__).parents[2] / "hooks" / "hook.sh").read_text()
    assert f"for fan in {' '.join(SAMPLED_FOLDERS)}; do" in text


def literal_in_gpa(node: ast.AST) -> bool:
    """A path in gpa/ whose name stands in the code, instead of in state/paths.py."""
    if isinstance(node, ast.Call):
        parts = node.args
    elif isinstance(node, ast.JoinedStr):
        parts = [one.value if isinstance(one, ast.FormattedValue) else one for one in node.values]
    else:
        return False
    is_in_gpa = any(isinstance(one, ast.Attribute) and one.attr == "gpa_dir" for one in parts[:-1])
    is_named = isinstance(parts[-1], ast.Constant) if parts else False
    return is_in_gpa and is_named


def test_names_in_gpa_stand_in_one_table() -> None:
    assert [] == [module for module, tree in SOURCES.items() if any(map(literal_in_gpa, ast.walk(tree)))]


@pytest.mark.parametrize("line", ['os.path.join(objdir.gpa_dir, "lock")', 'f"{self._objdir.gpa_dir}/lock"'])
def test_a_name_outside_the_table_is_seen(line: str) -> None:
    assert any(map(literal_in_gpa, ast.walk(ast.parse(line))))


def test_each_name_in_gpa_has_one_module_that_uses_it_and_is_described() -> None:
    constants = {value: name for name, value in vars(paths).items() if name.isupper() and isinstance(value, str)}
    assert constants.keys() == paths.OWNERS.keys()
    layout = (Path(__file__).parents[2] / "docs" / "formats" / "state.md").read_text()
    for value, owner in paths.OWNERS.items():
        assert re.search(rf"`{re.escape(value)}[`/<]", layout), value
        used = {node.id for node in ast.walk(SOURCES[owner]) if isinstance(node, ast.Name)}
        assert constants[value] in used, (value, owner)
