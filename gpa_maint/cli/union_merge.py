"""The command `git gpa union-merge`."""

from __future__ import annotations

import json
import os

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import put, say
from gpa_maint.databranch.union import union_merge
from gpa_maint.errors import GpaError


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    if args.object_dir is not None:
        raise GpaError("--object-dir has no branches: run this in the repository")
    head = union_merge(os.getcwd(), args.into, args.sources)
    if args.json:
        put(json.dumps({"head": head}), exact=True)
    else:
        say(args, f"{args.into} is at {head}")
    return 0


def parser() -> Parser:
    made = new_parser(
        "union-merge",
        "Set a ref to the merge of others: the lines of all versions of each file. No checkout is needed.",
    )
    made.add_argument("into", metavar="<into>", help="the ref to set")
    made.add_argument(
        "sources", nargs="+", metavar="<from>", help="a ref to merge; one that does not exist is passed over"
    )
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
