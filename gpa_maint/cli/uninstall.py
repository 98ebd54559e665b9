"""The command `git gpa uninstall`."""

from __future__ import annotations

import shlex

from gpa_maint.cli.install import refuse_object_dir, show
from gpa_maint.cli.parser import Namespace, Parser, new_parser
from gpa_maint.cli.ui import count_of, say
from gpa_maint.setup import uninstall
from gpa_maint.verbs.survey import survey


def main(options: list[str]) -> int:
    made = parser()
    args = made.parse_args(options)
    refuse_object_dir(made, args)
    result = uninstall.uninstall(dry_run=args.dry_run)
    show(args, result)
    if result.changes and not (args.dry_run or args.json):
        say(args, f"what is left is our state: rm -r {shlex.quote(result.gpa_dir)}")
        _tell_holds(args)
    return 0


def _tell_holds(args: Namespace) -> None:
    """I14: Warn that git does not delete held pages, and that no run ends the holds after uninstall."""
    held = sum(bool(pack.held) for pack in survey().packs)
    if held:
        say(
            args,
            f"{count_of(held, 'page')} of ours still {'has' if held == 1 else 'have'} a .keep, so that git leaves them "
            "alone: 'git gpa expire' removes those that are no longer needed",
        )


def parser() -> Parser:
    made = new_parser(
        "uninstall",
        "Remove the hooks that 'git gpa install' added, and bring back hooks and settings as they\n"
        "were before it. What somebody changed since is left, with a warning.",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say what would change")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
