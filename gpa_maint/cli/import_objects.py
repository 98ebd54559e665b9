"""The command `git gpa import-objects`."""

from __future__ import annotations

import sys

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import complain, count_of, progress, put, say
from gpa_maint.model.copies import ImportedObjects
from gpa_maint.model.json import to_json
from gpa_maint.verbs.import_objects import import_objects


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    with progress(args) as report:
        result = import_objects(sys.stdin.buffer, object_dir=args.object_dir, durability=args.durability, report=report)
    for line in result.missing:
        complain(f"the input has no object: {line}")
    if args.json:
        put(to_json(result), exact=True)
    else:
        say(args, describe(result))
    return 1 if result.missing else 0


def describe(result: ImportedObjects) -> str:
    if not result.object_count:
        return "nothing to do: the input has no object"
    known = result.object_count - result.added_count
    note = f" ({known} there already)" if known else ""
    pages = f"-> {count_of(result.page_count, 'page')}"
    return f"imported {count_of(result.object_count, 'object')} {pages}{note}"


def parser() -> Parser:
    made = new_parser(
        "import-objects",
        "Put the objects that 'git cat-file --batch' prints, read from standard input, into pages.\n"
        "What the repository has already is not stored again.",
    )
    made.add_argument(
        "--durability",
        choices=("none", "page"),
        help="sync no page, or each (default: as core.fsync has git sync packs)",
    )
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
