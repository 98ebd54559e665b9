"""The command `git gpa repair`."""

from __future__ import annotations

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import complain, count_option, hint, progress, put, say
from gpa_maint.model.json import to_json
from gpa_maint.model.repair import RepairPlan, RepairResult
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.verbs.repair import plan_repair_of, repair

WORDS = {"mend": "would mend", "set aside": "would set aside", "index": "would write", "leave": "would leave"}


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    with progress(args) as report:
        if args.dry_run:
            plan = plan_repair_of(find_object_dir(object_dir=args.object_dir), threads=args.threads, report=report)
            put(to_json(plan) if args.json else describe_plan(plan), exact=args.json)
            return 1 if plan.steps else 0
        result = repair(object_dir=args.object_dir, threads=args.threads, report=report)
    if args.json:
        put(to_json(result), exact=True)
    else:
        kept = [f"damaged files are kept in '{result.aside}'"] if result.aside else []
        say(args, "\n".join([*result.done, *kept]) or f"nothing to do: {result.reason}")
    tell_losses(result)
    return 1 if result.left or result.lost or result.unknown else 0


def describe_plan(plan: RepairPlan) -> str:
    lines = [f"{WORDS[step.action]} '{step.name}': {step.reason}" for step in plan.steps]
    return "\n".join(lines) or "no damage was found"


def tell_losses(result: RepairResult) -> None:
    """Print the remaining damage and the lost objects on stderr."""
    for line in result.left:
        complain(f"left {line}")
    for name in result.unknown:
        complain(f"what '{name}' held is not known any more; it may have had objects that are lost")
    for one in result.lost:
        complain(f"lost {one.oid}, which was in '{one.name}'")
    if result.lost:
        hint("of these no copy can be read; a clone or a backup may have them: copy its packs")
        hint("into objects/pack, or run 'git fetch --refetch'")


def parser() -> Parser:
    made = new_parser(
        "repair",
        "Read every byte, make damaged idx files and the index anew, and save what can be read of\n"
        "damaged packs and loose objects, whose files are set aside. Nothing is deleted.",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say what is damaged, and change nothing")
    made.add_argument("--threads", metavar="<n>", type=count_option, default=0, help="threads (default: one a core)")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
