"""git gpa uninstall"""

from __future__ import annotations

import shlex

from gpa_maint import hooks
from gpa_maint.cli.install import refuse_object_dir, show
from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import say


def main(options: list[str]) -> int:
    made = parser()
    args = made.parse_args(options)
    refuse_object_dir(made, args)
    result = hooks.uninstall(dry_run=args.dry_run)
    show(args, result)
    if result.changes and not (args.dry_run or args.json):
        say(args, f"what is left is our state: rm -r {shlex.quote(result.gpa_dir)}")
    return 0


def parser() -> Parser:
    made = new_parser(
        "uninstall",
        "Remove the hooks that 'git gpa install' added, and bring back hooks and settings as they\n"
        "were before it. What somebody changed since is left, with a warning.",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say what would change")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
