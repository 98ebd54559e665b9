"""The command `git gpa import-v1`."""

from __future__ import annotations

from gpa_maint import archive_v1
from gpa_maint.archive_v1 import ImportResult
from gpa_maint.cli.archives import archive_parser, tell_findings, tell_strays, tell_unindexed
from gpa_maint.cli.parser import Parser
from gpa_maint.cli.ui import complain, count_of, hint, human_size, progress, put, say
from gpa_maint.model.json import to_json

RESCUE_HINT = "--rescue takes more of what a killed writer may have left"


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    with progress(args) as report:
        result = archive_v1.import_archive(
            args.directory,
            pages_file=args.pages,
            refs_file=args.refs,
            delta=args.delta,
            rescue=args.rescue,
            dry_run=args.dry_run,
            object_dir=args.object_dir,
            report=report,
        )
    tell_findings(result.findings)
    tell_unindexed(result.unindexed)
    tell_strays(() if args.rescue else result.strays)
    if not args.rescue and (result.strays or any(one.object_bytes < one.size for one in result.unindexed)):
        hint(RESCUE_HINT)
    for line in result.refs_left:
        complain(f"left out ref {line}")
    if args.json:
        put(to_json(result), exact=True)
    else:
        say(args, describe(result))
    return 1 if result.lost or result.refs_left else 0


def describe(result: ImportResult) -> str:
    """Print one line, or one for the objects and one for the refs."""
    source = f"{count_of(result.archive_pages, 'archive page')}, {human_size(result.archive_bytes)}"
    notes = [
        f"{number} {what}"
        for number, what in (
            (result.present, "there already"),
            (result.shadowed, "further copies"),
            (result.rescued, "rescued"),
            (result.damaged, "damaged"),
        )
        if number
    ]
    note = f" ({', '.join(notes)})" if notes else ""
    if result.dry_run:
        lines = [f"import {count_of(result.imported, 'object')} from {source}{note}"]
    elif result.imported:
        pages = f"{count_of(len(result.pages), 'page')}, {human_size(result.page_bytes)}"
        lines = [f"imported {count_of(result.imported, 'object')} from {source} -> {pages}{note}"]
    else:
        lines = [f"nothing to import from {source}{note}"]
    if result.refs:
        lines.append(f"created {count_of(len(result.refs), 'ref')}")
    return "\n".join(lines)


def parser() -> Parser:
    made = archive_parser(
        "import-v1",
        "Bring the git objects of an archive that the original page library wrote into this repository,\n"
        "as pages of 2000. What the repository has is not imported again; the archive stays as it is.",
    )
    made.add_argument("--refs", metavar="<packed-refs>", help="create these refs, unless they are there")
    made.add_argument("--delta", action="store_true", help="let git compress each page with deltas: slower, smaller")
    made.add_argument("--rescue", action="store_true", help="also take what a killed writer left and nothing names")
    made.add_argument("-n", "--dry-run", action="store_true", help="check everything, and say what would be imported")
    return made
