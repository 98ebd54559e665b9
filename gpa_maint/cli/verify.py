"""The command `git gpa verify`."""

from __future__ import annotations

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import count_of, count_option, progress, put, say, tell
from gpa_maint.model.json import to_json
from gpa_maint.verbs.verify import verify


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    with progress(args) as report:
        result = verify(object_dir=args.object_dir, deep=args.deep, refs=args.refs, threads=args.threads, report=report)
    for line in result.findings:
        tell(line)
    if args.json:
        put(to_json(result), exact=True)
    elif not result.findings and args.deep:
        say(
            args,
            f"verified {count_of(result.pack_count, 'pack')}, {count_of(result.object_count, 'object')}: all is well",
        )
    elif not result.findings and args.refs:
        say(args, f"verified {count_of(result.ref_count, 'ref')}: all is well")
    return 1 if result.findings else 0


def parser() -> Parser:
    made = new_parser(
        "verify", "Check the combined index as 'git multi-pack-index verify' does. Every finding is reported."
    )
    made.add_argument(
        "--deep", action="store_true", help="also every pack: trailer, CRC32 of each entry, id of each object"
    )
    made.add_argument(
        "--threads", metavar="<n>", type=count_option, default=0, help="threads for --deep (default: one a core)"
    )
    made.add_argument(
        "--refs",
        action="store_true",
        help="also whether all is there that refs, HEADs and reflogs name, as git checks it",
    )
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
