"""The rooms of the package and what each may import: the table in docs/architecture.md, held against the source."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import gpa_maint

PACKAGE = Path(gpa_maint.__file__).parent

TABLE = Path(__file__).parents[2] / "docs" / "architecture.md"
ROW = re.compile(r"\| `(\w[\w.]*)` \| [^|]+ \|([^|]*)\|")


def rooms_in(text: str) -> list[tuple[str, list[str]]]:
    """The lines of the table, from the top down: a room, and what it may import."""
    part = text.partition("### The Python package\n")[2].partition("\n#")[0]
    return [(found[1], found[2].split()) for found in ROW.finditer(part)]


ROOMS = rooms_in(TABLE.read_text())
ARROWS = dict(ROOMS)


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
    """The line of the table that holds for a module: its own, or that of its room."""
    return module if module in ARROWS else module.split(".")[0]


def arrows() -> dict[str, dict[str, str]]:
    """room -> room it uses -> one place where it does."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for module, path in sources():
        for used, line in imports_of(module, ast.parse(path.read_text())):
            if room(used) != room(module) and used != room(module):
                place = f"{path.relative_to(PACKAGE.parent)}:{line}"
                found[room(module)].setdefault(_as_allowed(room(module), used), place)
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
    """Whether the line names what is used, or the room that this is in, and it stands further down."""
    names = list(ARROWS)
    is_below = room(used) in names[names.index(name) + 1 :]
    return is_below and not {used, room(used), used.split(".")[0]}.isdisjoint(ARROWS[name])


def _as_allowed(name: str, used: str) -> str:
    """The module itself where the room may import that one alone; else the room of what is used."""
    return used if used in ARROWS.get(name, ()) else room(used)


def test_imports_go_one_way() -> None:
    found = arrows()
    print(f"\n{drawing(found)}")
    assert set() == found.keys() - ARROWS.keys(), "a room that is not in the drawing"
    turned = [
        f"{name} -> {used}" for name, all_used in found.items() for used in all_used if not is_allowed(name, used)
    ]
    assert [] == turned, f"\n{drawing(found)}"


def test_the_table_names_each_room_once_and_only_those_below_it() -> None:
    names = [name for name, _ in ROOMS]
    assert len(names) == len(set(names))
    for place, (name, used) in enumerate(ROOMS):
        below = names[place + 1 :]
        assert [] == [one for one in used if one not in below and one.split(".")[0] not in below], name


def test_each_arrow_of_the_table_is_used() -> None:
    found = {name: {part for one in used for part in (one, one.split(".")[0])} for name, used in arrows().items()}
    assert [] == [f"{name} -> {one}" for name, used in ROOMS for one in used if one not in found.get(name, ())]


def test_the_top_of_the_package_holds_nothing_but_rooms() -> None:
    there = {path.name for path in PACKAGE.iterdir() if path.is_file()}
    assert {"__init__.py", "errors.py", "py.typed"} == there
    folders = {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}
    assert {path.relative_to(PACKAGE).parts[0] for path in folders} == {
        name for name in ARROWS if (PACKAGE / name).is_dir()
    }


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
    picture = drawing({"model": {"fs": "gpa_maint/model/plans.py:7"}, "cli": {"verbs": "gpa_maint/cli/write.py:3"}})
    assert "model <== fs    turned round at gpa_maint/model/plans.py:7" in picture
    assert "cli --> verbs" in picture


def test_public_names_stay_what_they_are_once_modules_are_loaded() -> None:
    """A module of the same name would take a function's place in the package as soon as anything imports it."""
    modules = {path.stem for path in PACKAGE.glob("*.py")} | {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    assert set() == modules & set(gpa_maint.__all__)
