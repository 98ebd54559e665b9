"""The command `git gpa expire`."""

from __future__ import annotations

from gpa_maint.cli.background import until_signal
from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import complain_of, count_of, human_size, progress, put, say, time_option, warn, when
from gpa_maint.model.json import to_json
from gpa_maint.model.plans import ExpirePlan
from gpa_maint.model.results import ExpireResult
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.verbs.expire import expire, plan_expire_of


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    if args.dry_run:
        objdir = find_object_dir(object_dir=args.object_dir)
        plan = plan_expire_of(objdir, grace_seconds=args.grace)
        put(to_json(plan) if args.json else describe_plan(plan), exact=args.json)
        return 0
    with progress(args) as report:
        result, ended_by = until_signal(
            lambda stop: expire(object_dir=args.object_dir, grace_seconds=args.grace, stop=stop, report=report)
        )
    if result is None:
        return ended_by
    for line in result.midx.warnings if result.midx else ():
        warn(line)
    for step in result.kept_back:
        warn(f"not deleting '{step.pack}': {step.reason}")
    status = complain_of(result.complaints)
    if args.json:
        put(to_json(result), exact=True)
    else:
        say(args, describe_result(result))
    return ended_by or status


def describe_plan(plan: ExpirePlan) -> str:
    if plan.doomed:
        size = sum(pack.size for pack in plan.doomed)
        first = f"delete {count_of(len(plan.doomed), 'superseded page')}, {human_size(size)}"
    else:
        first = f"nothing to do: {plan.reason}"
    return "\n".join([first, *(f"{step.action:<6} {step.pack}: {step.reason}" for step in plan.steps)])


def describe_result(result: ExpireResult) -> str:
    if result.deleted:
        return f"deleted {count_of(len(result.deleted), 'superseded page')}, {human_size(result.freed_bytes)}"
    line = f"nothing to do: {result.reason}"
    if result.released:
        line = f"ended the hold of {count_of(len(result.released), 'page')}; nothing to delete: {result.reason}"
    if result.next_due is None:
        return line
    return f"{line}; the first may go at {when(result.next_due)}"


def parser() -> Parser:
    made = new_parser(
        "expire",
        "Delete pages that no object is read from any more, once their grace is over. First the\n"
        "index is written without them, then the files go; before, every object of theirs is proved\n"
        "present elsewhere.",
    )
    made.add_argument(
        "--grace",
        metavar="<time>",
        type=time_option,
        help="how long a page must have been superseded (default gpa.expireGrace, 1.hour; 'now' deletes at once)",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say what would be deleted, and why")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
