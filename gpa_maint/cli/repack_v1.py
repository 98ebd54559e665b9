"""The command `git gpa repack-v1`."""

from __future__ import annotations

from gpa_maint import archive_v1
from gpa_maint.archive_v1 import ArchiveRepackPlan, ArchiveRepackResult
from gpa_maint.cli.archives import add_raw_option, archive_parser, parse_archive_alone, tell_findings
from gpa_maint.cli.parser import Parser
from gpa_maint.cli.ui import count_of, human_size, progress, put, say
from gpa_maint.model.json import to_json


def main(options: list[str]) -> int:
    args = parse_archive_alone(parser(), options)
    if args.dry_run:
        plan = archive_v1.plan_repack_archive_of(args.directory, pages_file=args.pages, raw=args.raw)
        put(to_json(plan) if args.json else describe_plan(plan), exact=args.json)
        return 0
    with progress(args) as report:
        result = archive_v1.repack_archive(args.directory, pages_file=args.pages, raw=args.raw, report=report)
    tell_findings(result.findings)
    if args.json:
        put(to_json(result), exact=True)
    else:
        say(args, describe_result(result))
    return 1 if result.findings else 0


def describe_plan(plan: ArchiveRepackPlan) -> str:
    """Print one line for each step, then one for each page."""
    if plan.batch:
        objects = count_of(plan.entries, "object")
        first = f"merge {count_of(len(plan.batch), 'page')}, {objects} -> {count_of(plan.page_count, 'page')}"
    else:
        first = f"nothing to do: {plan.reason}"
    lines = [f"merge  {name}" for name in plan.batch] + [f"leave  {name}: {reason}" for name, reason in plan.left]
    return "\n".join([first, *lines])


def describe_result(result: ArchiveRepackResult) -> str:
    index = f"indexed {count_of(result.indexed, 'object')}" if result.index_written else ""
    if not result.pages:
        return f"nothing to merge: {result.reason}" + (f"; {index}" if index else "")
    size = human_size(sum(page.size for page in result.pages))
    return (
        f"merged {count_of(len(result.merged), 'page')}, {human_size(result.source_bytes)} -> "
        f"{count_of(len(result.pages), 'page')}, {count_of(result.objects, 'object')}, {size}; {index}"
    )


def parser() -> Parser:
    made = archive_parser(
        "repack-v1",
        "Merge small pages of an archive into pages of 2000 that the original page library reads, put\n"
        "these into the list, and index all pages. The merged pages stay until 'git gpa expire-v1'.",
    )
    add_raw_option(made)
    made.add_argument("-n", "--dry-run", action="store_true", help="say what would be merged, and why for each page")
    return made
