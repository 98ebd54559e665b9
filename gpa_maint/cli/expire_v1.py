"""The command `git gpa expire-v1`."""

from __future__ import annotations

from gpa_maint import archive_v1
from gpa_maint.archive_v1 import ArchiveExpireResult
from gpa_maint.cli.archives import archive_parser, parse_archive_alone
from gpa_maint.cli.parser import Parser
from gpa_maint.cli.ui import count_of, human_size, progress, put, say, time_option, warn, when
from gpa_maint.model.json import to_json


def main(options: list[str]) -> int:
    args = parse_archive_alone(parser(), options)
    with progress(args) as report:
        result = archive_v1.expire_archive(
            args.directory, pages_file=args.pages, grace_seconds=args.grace, dry_run=args.dry_run, report=report
        )
    for name, reason in result.kept_back:
        warn(f"not deleting '{name}': {reason}")
    if args.json:
        put(to_json(result), exact=True)
    else:
        say(args, describe(result))
    return 0


def describe(result: ArchiveExpireResult) -> str:
    if result.deleted:
        done = "delete" if result.dry_run else "deleted"
        return f"{done} {count_of(len(result.deleted), 'superseded page')}, {human_size(result.freed_bytes)}"
    line = f"nothing to do: {result.reason}"
    return line if result.next_due is None else f"{line}; the first may go at {when(result.next_due)}"


def parser() -> Parser:
    made = archive_parser(
        "expire-v1",
        "Delete pages of an archive that 'git gpa repack-v1' replaced, once their grace is over and each\n"
        "object of theirs is found in a page that the list names.",
    )
    made.add_argument(
        "--grace",
        metavar="<time>",
        type=time_option,
        default=archive_v1.GRACE_SECONDS,
        help="how long a page must have been superseded (default 1.hour; 'now' deletes at once)",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say what would be deleted")
    return made
