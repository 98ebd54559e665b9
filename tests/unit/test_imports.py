"""The rooms and the arrows between them (docs/architecture.md), read from the source and drawn with `pytest -s`.

cli, hooks -> commands -> inventory, plan, apply -> model;  inventory, apply, journal -> fs, _core
integrations -> store -> _core
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import gpa_maint

PACKAGE = Path(gpa_maint.__file__).parent

# Each room may use those below it, and itself. What is not drawn is not allowed.
ARROWS: dict[str, str] = {
    "cli": "archive_v1 pictures batch fleet hooks timers commands maintenance state reports model git config due "
    "threads summary words tuples errors about __init__",
    "about": "_core __init__",
    "archive_v1": "arguments rounds apply store model fs untrusted _core git errors tuples",
    "fleet": "reports commands untrusted errors model tuples",
    "hooks": "arguments reports untrusted git config errors fs model tuples",
    "__init__": "commands hooks store errors",
    "commands": "arguments backups importing reports overview mending maintenance timers checking rounds inventory "
    "plan apply model state fs git errors",
    "backups": "saved refs store reports rounds inventory apply state fs untrusted _core git errors",
    "overview": "reports maintenance checking rounds surroundings inventory plan model state git errors",
    "timers": "reports model git errors tuples",
    "importing": "store journal reports git errors tuples",
    "batch": "store _core git errors",
    "maintenance": "due untrusted rounds inventory plan apply model state fs git errors config summary",
    "summary": "model words",
    "rounds": "inventory plan apply model state fs _core git errors words",
    "apply": "model state fs _core git errors tuples words",
    "mending": "reports diagnosis rounds plan apply store model state fs untrusted _core git errors words",
    "diagnosis": "reports checking inventory model state fs _core git errors",
    "checking": "refs threads reports inventory model untrusted _core git errors",
    "inventory": "model state fs untrusted _core git errors",
    "refs": "git errors tuples",
    "surroundings": "hooks due reports untrusted model fs git config",
    "saved": "rounds reports inventory apply state fs untrusted _core git errors",
    "journal": "arguments saved reports recovery state fs _core git errors tuples",
    "recovery": "state fs _core git errors tuples",
    "state": "words untrusted model fs git errors tuples",
    "fs": "untrusted _core git errors tuples",
    "git": "untrusted config errors",
    "config": "errors tuples",
    "integrations": "arguments store journal fs errors",
    "paged_archive": "archive_v1 fs _core errors tuples",
    "store": "arguments memory journal _core git errors untrusted tuples",
    "plan": "reports model words tuples",
    "_core": "errors tuples",
    "model": "tuples",
    "reports": "model tuples",
    "threads": "",
    "pictures": "state model plan words tuples",
    "due": "untrusted",
    "arguments": "tuples",
    "errors": "",
    "untrusted": "",
    "memory": "",
    "words": "",
    "tuples": "",
}


def sources() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts), path


def imports_of(module: str, tree: ast.AST) -> Iterator[tuple[str, int]]:
    """The package's own modules that `module` imports, as dotted names below gpa_maint, with the line."""
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "gpa_maint":
                    yield name.name.partition(".")[2] or "__init__", node.lineno
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
                words = [*base, *(node.module.split(".") if node.module else [])]
            elif node.module and node.module.split(".")[0] == "gpa_maint":
                words = node.module.split(".")[1:]
            else:
                continue
            for name in node.names:
                yield _module_in(words, name.name), node.lineno


def _module_in(words: list[str], name: str) -> str:
    """`from <words> import <name>`: a module of the package, or a name in one."""
    inner = PACKAGE.joinpath(*words, name)
    if inner.with_suffix(".py").exists() or inner.is_dir() or name == "_gpa":
        return ".".join([*words, name])
    return ".".join(words) or "__init__"


def room(module: str) -> str:
    return module.split(".")[0]


def arrows() -> dict[str, dict[str, str]]:
    """room -> room it uses -> one place where it does."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for module, path in sources():
        for used, line in imports_of(module, ast.parse(path.read_text())):
            if room(used) != room(module):
                found[room(module)].setdefault(room(used), f"{path.relative_to(PACKAGE.parent)}:{line}")
    return found


def drawing(found: dict[str, dict[str, str]]) -> str:
    """The rooms from the top down, each with its arrows; one that is not allowed points the other way."""
    lines = []
    for name in ARROWS:
        for used, place in sorted(found.get(name, {}).items()):
            if is_allowed(name, used):
                continue
            lines.append(f"{name:>12} <== {used}    turned round at {place}")
        used_well = [used for used in found.get(name, {}) if is_allowed(name, used)]
        if used_well:
            lines.append(f"{name:>12} --> {', '.join(sorted(used_well))}")
    return "\n".join(lines)


def is_allowed(name: str, used: str) -> bool:
    return used in ARROWS[name].split()


def test_imports_go_one_way() -> None:
    found = arrows()
    print(f"\n{drawing(found)}")
    assert set() == found.keys() - ARROWS.keys(), "a room that is not in the drawing"
    turned = [
        f"{name} -> {used}" for name, all_used in found.items() for used in all_used if not is_allowed(name, used)
    ]
    assert [] == turned, f"\n{drawing(found)}"


def test_the_drawing_itself_has_no_cycle() -> None:
    below: dict[str, set[str]] = {}

    def visit(name: str, path: tuple[str, ...]) -> set[str]:
        assert name not in path, " -> ".join([*path, name])
        if name not in below:
            used = ARROWS.get(name, "").split()
            below[name] = set(used).union(*(visit(one, (*path, name)) for one in used), set())
        return below[name]

    for name in ARROWS:
        visit(name, ())


def test_no_module_imports_itself_by_way_of_others() -> None:
    edges = {
        module: {used for used, _ in imports_of(module, ast.parse(path.read_text()))} for module, path in sources()
    }

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path, module])
        for used in edges.get(module, ()):
            if used != "__init__":  # the package itself loads nothing until it is asked
                visit(used, (*path, module))

    for module in edges:
        visit(module, ())


def test_only_the_core_sees_the_extension_module() -> None:
    seen = {
        module
        for module, path in sources()
        for used, _ in imports_of(module, ast.parse(path.read_text()))
        if used.endswith("_gpa")
    }
    assert seen == {module for module in seen if module.startswith("_core.")} != set()


def test_plans_need_nothing_but_values_and_words() -> None:
    for module, path in sources():
        if room(module) != "plan":
            continue
        tree = ast.parse(path.read_text())
        assert {"model", "plan", "reports", "tuples", "words"} >= {room(used) for used, _ in imports_of(module, tree)}
        outside = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level}
        assert {"__future__", "collections.abc", "typing"} >= outside
        assert not any(isinstance(node, ast.Import) for node in ast.walk(tree))


def test_only_the_command_line_touches_the_terminal() -> None:
    """print, sys.stdin, sys.stdout, sys.stderr, sys.argv, isatty. The builder is a part of setup.py."""
    for module, path in sources():
        if room(module) == "cli" or module == "_core.build":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Name):
                assert node.id not in ("print", "input"), where
            if isinstance(node, ast.Attribute):
                assert node.attr != "isatty", where
                name = node.value.id if isinstance(node.value, ast.Name) else ""
                assert (name, node.attr) not in {
                    ("sys", "stdin"),
                    ("sys", "stdout"),
                    ("sys", "stderr"),
                    ("sys", "argv"),
                    ("sys", "exit"),
                }, where


def test_only_fs_makes_names_appear_or_vanish() -> None:
    changing = {"unlink", "remove", "rename", "replace", "link", "symlink", "mkdir", "makedirs", "rmdir", "truncate"}
    for module, path in sources():
        if room(module) in ("fs", "cli"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in ("os", "shutil")
            ):
                assert node.attr not in changing, f"{path.relative_to(PACKAGE.parent)}:{node.lineno}"


def test_an_arrow_turned_round_is_shown() -> None:
    """The drawing would say it."""
    picture = drawing({"model": {"fs": "gpa_maint/model.py:7"}, "cli": {"commands": "gpa_maint/cli/write.py:3"}})
    assert "model <== fs    turned round at gpa_maint/model.py:7" in picture
    assert "cli --> commands" in picture


def test_public_names_stay_what_they_are_once_modules_are_loaded() -> None:
    """A module of the same name would take a function's place in the package as soon as anything imports it."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert set() == modules & set(gpa_maint.__all__)
