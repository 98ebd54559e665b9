"""The command `git gpa write`."""

from __future__ import annotations

import sys

from gpa_maint.cli.background import until_signal
from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import complain, complain_of, count_of, human_size, progress, put, say, warn
from gpa_maint.model.json import to_json
from gpa_maint.verbs.index import EmptyPreferredPack
from gpa_maint.verbs.write import write


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    packs = sys.stdin.read().splitlines() if args.stdin_packs else None
    try:
        with progress(args) as report:
            result, ended_by = until_signal(
                lambda stop: write(
                    object_dir=args.object_dir,
                    preferred_pack=args.preferred_pack,
                    packs=packs,
                    bitmap=args.bitmap,
                    refs_snapshot=args.refs_snapshot,
                    stop=stop,
                    report=report,
                )
            )
    except EmptyPreferredPack as error:
        complain(str(error))
        return 1
    if result is None:
        return ended_by
    for line in result.warnings:
        warn(line)
    status = complain_of(result.complaints)
    if args.json:
        put(to_json(result), exact=True)
    elif result.written:
        packs_of = f"{count_of(result.pack_count, 'pack')}, {count_of(result.object_count, 'object')}"
        say(args, f"wrote the index: {packs_of}, {human_size(result.size)}")
    elif result.removed:
        say(args, "removed the index: none of the packs that it named is there")
    else:
        say(args, f"nothing to do: {result.reason}")
    return ended_by or status


def parser() -> Parser:
    made = new_parser("write", "Write the combined index over all packs. It stays untouched when nothing changed.")
    made.add_argument("--preferred-pack", metavar="<pack>", help="wins every object it holds")
    made.add_argument("--stdin-packs", action="store_true", help="index only the packs named on standard input (*.idx)")
    made.add_argument("--bitmap", action="switch", default=False, help="let git write a bitmap over the index")
    made.add_argument(
        "--refs-snapshot", metavar="<file>", help="refs for the bitmap, as for git multi-pack-index write"
    )
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
