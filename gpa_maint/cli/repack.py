"""The command `git gpa repack`."""

from __future__ import annotations

from gpa_maint.cli.background import until_signal
from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import (
    complain,
    complain_of,
    count_of,
    count_option,
    human_size,
    progress,
    put,
    say,
    size_option,
    warn,
)
from gpa_maint.model.json import to_json
from gpa_maint.model.plans import RepackPlan
from gpa_maint.model.results import RepackResult
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.verbs.repack import plan_repack_of, repack


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    if args.dry_run:
        objdir = find_object_dir(object_dir=args.object_dir)
        plan = plan_repack_of(objdir, batch_bytes=args.batch_size, page_objects=args.page_objects)
        put(to_json(plan) if args.json else describe_plan(plan), exact=args.json)
        return 0
    with progress(args) as report:
        result, ended_by = until_signal(
            lambda stop: repack(
                object_dir=args.object_dir,
                batch_bytes=args.batch_size,
                page_objects=args.page_objects,
                stop=stop,
                report=report,
            )
        )
    if result is None:
        return ended_by
    for line in result.midx.warnings if result.midx else ():
        warn(line)
    for left in result.left_out:
        complain(f"left out object {left.oid} of '{left.pack}.pack': {left.reason}")
    status = complain_of([*result.complaints, *filter(None, [result.no_room])])
    if args.json:
        put(to_json(result), exact=True)
    else:
        say(args, describe_result(result))
    return ended_by or (1 if result.left_out else status)


def describe_plan(plan: RepackPlan) -> str:
    """Print one line for each step, in the order it will run, then one for each pack."""
    if not plan.batch:
        lines = [f"nothing to do: {plan.reason}"]
    else:
        lines = [
            f"merge {count_of(len(plan.batch), 'pack')}, {count_of(plan.object_count, 'object')}, "
            f"{human_size(plan.expected_bytes)} -> {count_of(plan.page_count, 'page')}",
            "write the index",
        ]
    return "\n".join([*lines, *(f"{step.action:<6} {step.pack}: {step.reason}" for step in plan.steps)])


def describe_result(result: RepackResult) -> str:
    if not result.pages:
        return f"nothing to do: {result.reason}"
    size = sum(page.size for page in result.pages)
    return (
        f"merged {count_of(len(result.merged), 'pack')}, {human_size(result.source_bytes)} -> "
        f"{count_of(len(result.pages), 'page')}, {count_of(result.object_count, 'object')}, {human_size(size)}"
    )


def parser() -> Parser:
    made = new_parser(
        "repack",
        "Merge small packs into pages, oldest first, and index them. The sources stay until\n'git gpa expire'.",
    )
    made.add_argument(
        "--batch-size",
        metavar="<n>[kmg]",
        type=size_option,
        default=0,
        help="stop choosing packs when their expected sizes reach this (default 0: all)",
    )
    made.add_argument(
        "--page-objects",
        metavar="<n>",
        type=count_option,
        help="objects in a full page (default gpa.pageObjects, 2000)",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say what would be done, and why, for each pack")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
