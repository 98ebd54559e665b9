"""The rooms of the C core and what each may call: the table in docs/architecture.md, held against the source."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
CSRC = ROOT / "csrc"
TABLE = ROOT / "docs" / "architecture.md"
ROW = re.compile(r"^\| `(\w+)` \| [^|]+ \|([^|]*)\|$", flags=re.MULTILINE)
INCLUDE = re.compile(r'^#include "(.+)"$', flags=re.MULTILINE)
DEFINITION = re.compile(r"^(static )?(?:inline )?(?:const )?\w[\w ]*?[ *]+(\w+)\([^;{]*\)\n\{", flags=re.MULTILINE)
NO_CODE = re.compile(r'/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\])+\'', flags=re.DOTALL)


def rooms_in(text: str) -> list[tuple[str, list[str]]]:
    """Return the lines of the table, from the top down: a room, and what it may call."""
    part = text.partition("### The C core\n")[2].partition("\n#")[0].partition("| room | files |")[0]
    return [(found[1], found[2].split()) for found in ROW.finditer(part)]


ROOMS = rooms_in(TABLE.read_text())
ALLOWED = dict(ROOMS)


def stem(path: Path) -> str:
    """Return what the table calls a file, as "lend.libgit2"."""
    return ".".join(path.relative_to(CSRC).with_suffix("").parts)


def room(name: str) -> str:
    return name.partition(".")[0]


def is_allowed(user: str, used: str) -> bool:
    return room(user) == room(used) or not {used, room(used)}.isdisjoint(ALLOWED[room(user)])


@cache
def code_of(path: Path) -> str:
    return NO_CODE.sub(" ", path.read_text())


def includes() -> Iterator[tuple[str, str]]:
    """Yield (file, header that it includes), gpa.h left out: it is the list of all."""
    for path in sorted(CSRC.glob("*/*.[ch]")):
        for name in INCLUDE.findall(path.read_text()):
            if name != "gpa.h":
                yield stem(path), stem(CSRC / name)


@cache
def calls() -> dict[str, dict[str, str]]:
    """Return file -> file whose functions it names -> one of these functions."""
    code = {stem(path): code_of(path) for path in sorted(CSRC.glob("*/*.c"))}
    owner, own = {}, defaultdict(set)
    for name, text in code.items():
        for static, function in DEFINITION.findall(text):
            own[name].add(function)
            if not static and function != "main":
                assert owner.setdefault(function, name) == name or room(name) == "fuzz", function
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name, text in code.items():
        for function in sorted(set(re.findall(r"\b[a-z_]\w*", text)) - own[name]):
            if function in owner:
                found[name].setdefault(owner[function], function)
    return found


def test_the_table_names_the_folders_that_are_there() -> None:
    assert sorted(ALLOWED) == sorted(path.name for path in CSRC.iterdir() if path.is_dir())
    assert len(ROOMS) == len(ALLOWED)
    for place, (name, used) in enumerate(ROOMS):
        below = {one for one, _ in ROOMS[place + 1 :]}
        assert {room(one) for one in used} <= below, name


def test_each_file_includes_headers_of_rooms_below_its_own() -> None:
    pairs = list(includes())
    assert len(pairs) > 100
    assert [] == [f"{user} includes {used}" for user, used in pairs if not is_allowed(user, used)]


def test_each_file_calls_functions_of_rooms_below_its_own() -> None:
    found = calls()
    assert "gpa_midx_entry" == found["read.snapshot"]["format.midx"]
    turned = [
        f"{user} names {function} of {used}"
        for user, all_used in found.items()
        for used, function in all_used.items()
        if not is_allowed(user, used)
    ]
    assert [] == turned


def test_no_file_calls_itself_by_way_of_others() -> None:
    found = calls()
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for used in found.get(name, ()):
            visit(used, (*path, name))
        done.add(name)

    for name in list(found):
        visit(name, ())


def test_the_contract_is_one_header_a_room() -> None:
    listed = INCLUDE.findall((CSRC / "gpa.h").read_text())
    assert listed == [f"{name}/gpa_{name}.h" for name in ("base", "format", "merge", "read", "write", "lend", "v1")]
    assert sorted(listed) == sorted(str(path.relative_to(CSRC)) for path in CSRC.glob("*/gpa_*.h"))
    wrapped = {path.stem for path in (ROOT / "gpa_maint" / "_core").glob("*.py")} - {"__init__", "build"}
    assert wrapped == {room(stem(CSRC / name)) for name in listed}


def test_names_of_the_contract_begin_with_gpa_and_no_others_do() -> None:
    """What the rooms lend each other is told from the contract by its name."""
    contract = " ".join(code_of(path) for path in CSRC.glob("*/gpa_*.h"))
    declared = set(re.findall(r"\b(\w+)\([^()]*(?:\([^()]*\)[^()]*)*\);", contract))
    assert [] == [name for name in declared if not name.startswith("gpa_")]
    defined = {
        function
        for path in sorted(CSRC.glob("*/*.c"))
        for static, function in DEFINITION.findall(code_of(path))
        if not static and function.startswith("gpa_")
    }
    assert declared == defined


ODD = re.compile(
    r"\b(whoever|whom|shall|is told|tells of|of theirs|an owner more|made young|lets? go|but for)\b"
    r"|(?:/\*|[.;]) gives\b|\bhas not (?:a|its|the)\b|/\* (?:The same|As before)\b",
    flags=re.IGNORECASE,
)


def test_comments_say_what_they_mean_in_common_words() -> None:
    """Rule of STYLE: name the thing, and no word that a reader has to look at twice."""
    for path in sorted(CSRC.glob("*/*.[ch]")):
        for comment in re.findall(r"/\*.*?\*/", path.read_text(), flags=re.DOTALL):
            text = " ".join(comment.replace("\n *", " ").split())
            assert not ODD.search(text), f"{path.relative_to(ROOT)}: {text}"
