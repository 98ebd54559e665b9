"""git gpa repair"""

from __future__ import annotations

import argparse
import sys

from gpa_maint import commands
from gpa_maint.cli.ui import count_of, count_option, new_parser, progress, say
from gpa_maint.git import find_object_dir
from gpa_maint.model import RepairPlan, RepairResult, to_json

WORDS = {"mend": "would mend", "set aside": "would set aside", "index": "would write", "leave": "would leave"}


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    with progress(args) as report:
        if args.dry_run:
            plan = commands.plan_repair_of(
                find_object_dir(object_dir=args.object_dir), threads=args.threads, report=report
            )
            print(to_json(plan) if args.json else describe_plan(plan))
            return 1 if plan.steps else 0
        result = commands.repair(object_dir=args.object_dir, threads=args.threads, report=report)
    if args.json:
        print(to_json(result))
    else:
        kept = [f"damaged files are kept in '{result.aside}'"] if result.aside else []
        say(args, "\n".join([*result.done, *kept]) or f"nothing to do: {result.reason}")
    complain(result)
    return 1 if result.left or result.lost or result.unknown else 0


def describe_plan(plan: RepairPlan) -> str:
    lines = [f"{WORDS[step.action]} '{step.name}': {step.reason}" for step in plan.steps]
    return "\n".join(lines) or "no damage was found"


def complain(result: RepairResult) -> None:
    """What is damaged still, and what is lost, on stderr."""
    for line in result.left:
        print(f"error: left {line}", file=sys.stderr)
    for name in result.unknown:
        print(
            f"error: what '{name}' held is not known any more; it may have had objects that are lost", file=sys.stderr
        )
    for one in result.lost:
        print(f"error: lost {one.oid}, which was in '{one.name}'", file=sys.stderr)
    if result.lost:
        print(
            f"hint: {count_of(len(result.lost), 'object')} can be read from no copy; a clone or a backup may have",
            file=sys.stderr,
        )
        print("hint: them: copy its packs into objects/pack, or run 'git fetch --refetch'", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    made = new_parser(
        "repair",
        "Read every byte, make damaged idx files and the index anew, and save what can be read of\n"
        "damaged packs and loose objects, whose files are set aside. Nothing is deleted.",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say what is damaged, and change nothing")
    made.add_argument("--threads", metavar="<n>", type=count_option, default=0, help="threads (default: one a core)")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
