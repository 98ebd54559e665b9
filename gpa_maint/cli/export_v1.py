"""The command `git gpa export-v1`."""

from __future__ import annotations

from gpa_maint import archive_v1
from gpa_maint.archive_v1 import ExportResult
from gpa_maint.cli.archives import archive_parser
from gpa_maint.cli.parser import Parser
from gpa_maint.cli.ui import complain, count_of, human_size, progress, put, say
from gpa_maint.model.json import to_json


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    with progress(args) as report:
        result = archive_v1.export_archive(
            args.directory,
            args.revs,
            all_refs=args.all,
            pages_file=args.pages,
            refs_file=args.refs,
            object_dir=args.object_dir,
            report=report,
        )
    for oid in result.left_out:
        complain(f"left out object {oid}: it is too large for a page")
    if args.json:
        put(to_json(result), exact=True)
    else:
        say(args, describe(result))
    return 1 if result.left_out else 0


def describe(result: ExportResult) -> str:
    there = f" ({result.present} there already)" if result.present else ""
    if not result.pages:
        return f"nothing to export{there}"
    size = sum(page.size for page in result.pages)
    pages = f"{count_of(len(result.pages), 'archive page')}, {human_size(size)}"
    return f"exported {count_of(result.objects, 'object')} -> {pages}{there}"


def parser() -> Parser:
    made = archive_parser(
        "export-v1",
        "Write objects of this repository as pages that the original page library reads, and add these\n"
        "to the archive's list. What the archive has is not written again.",
    )
    made.add_argument("revs", metavar="<rev>", nargs="*", help="what these reach (default: every object there is)")
    made.add_argument("--all", action="store_true", help="what all refs reach")
    made.add_argument("--refs", metavar="<packed-refs>", help="write the refs whose objects the archive has there")
    return made
