"""The command `git gpa verify-v1`."""

from __future__ import annotations

from gpa_maint import archive_v1
from gpa_maint.cli.archives import (
    add_raw_option,
    archive_parser,
    parse_archive_alone,
    tell_findings,
    tell_strays,
    tell_unindexed,
)
from gpa_maint.cli.parser import Parser
from gpa_maint.cli.ui import count_of, progress, put, say
from gpa_maint.model.json import to_json


def main(options: list[str]) -> int:
    args = parse_archive_alone(parser(), options)
    with progress(args) as report:
        result = archive_v1.verify_archive(args.directory, pages_file=args.pages, raw=args.raw, report=report)
    tell_findings(result.findings)
    tell_unindexed(result.unindexed)
    tell_strays(result.strays)
    if args.json:
        put(to_json(result), exact=True)
    elif not result.findings:
        shadowed = f", {result.shadowed} of them shadowed" if result.shadowed else ""
        pages = f"{count_of(result.pages, 'page')}, {count_of(result.objects, 'object')}"
        say(args, f"verified {pages}{shadowed}: all is well")
    elif not result.objects and not args.raw:
        say(args, "no value is a git object; --raw looks at pages and entries alone")
    return 1 if result.findings else 0


def parser() -> Parser:
    made = archive_parser(
        "verify-v1",
        "Check each page and each entry of an archive that the original page library wrote, and that\n"
        "each value is the git object whose id is its key. Every finding is reported.",
    )
    add_raw_option(made)
    return made
