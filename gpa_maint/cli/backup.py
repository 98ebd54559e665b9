"""The command `git gpa backup`."""

from __future__ import annotations

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import complain, count_of, human_size, progress, put, say, time_option
from gpa_maint.model.copies import BackupPlan, BackupResult
from gpa_maint.model.json import to_json
from gpa_maint.verbs.backup import backup, plan_backup_of


def main(options: list[str]) -> int:
    chosen = parser()
    args = chosen.parse_args(options)
    if args.object_dir is not None:
        chosen.error("--object-dir cannot be used: a backup is one of a repository")
    if args.dry_run:
        plan = plan_backup_of(args.dir)
        put(to_json(plan) if args.json else describe_plan(plan), exact=args.json)
        return 0
    with progress(args) as report:
        result = backup(args.dir, grace_seconds=args.grace, report=report)
    for path in result.left_out:
        complain(f"left out the damaged loose object '{path}', which no ref needs")
    if args.json:
        put(to_json(result), exact=True)
    else:
        say(args, describe_result(result))
    return 1 if result.left_out else 0


def describe_plan(plan: BackupPlan) -> str:
    if not (plan.packs or plan.loose_objects or plan.refs or plan.removed_refs):
        return "nothing to do: the copy has everything already"
    lines = [
        f"would copy {count_of(len(plan.packs), 'pack')}, {human_size(plan.bytes)}, and "
        f"{count_of(plan.loose_objects, 'loose object')} to '{plan.target}'",
        f"would change {count_of(plan.refs, 'ref')} there, and remove {count_of(plan.removed_refs, 'ref')}",
    ]
    return "\n".join([*lines, *(f"copy   {name}" for name in plan.packs)])


def describe_result(result: BackupResult) -> str:
    if result.reason:
        return f"nothing to do: {result.reason}"
    line = (
        f"copied {count_of(len(result.packs), 'pack')} and {count_of(result.loose_objects, 'loose object')}, "
        f"{human_size(result.bytes)}; checked {count_of(result.refs, 'ref')}"
    )
    if result.deleted:
        line += f"; deleted {count_of(len(result.deleted), 'superseded pack')} of the copy"
    return line


def parser() -> Parser:
    made = new_parser(
        "backup",
        "Copy the repository to a folder, a bare repository that git reads, or bring an earlier copy\n"
        "up to date. Its refs move only when all that they name is there, durable and checked.",
    )
    made.add_argument("dir", metavar="<dir>", help="a folder that is empty or not there, or an earlier backup")
    made.add_argument(
        "--grace",
        metavar="<time>",
        type=time_option,
        default=0,
        help="how long a pack of the copy must have been superseded before it is deleted (default: now)",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say what would be copied")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
