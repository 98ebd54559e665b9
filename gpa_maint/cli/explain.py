"""git gpa explain"""

from __future__ import annotations

from gpa_maint import commands
from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import one_line, put, when
from gpa_maint.model import Step, to_json
from gpa_maint.reports import Explanation


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    found = commands.explain(object_dir=args.object_dir, packs=args.pack)
    if args.json:
        put(to_json(found), exact=True)
    elif found.steps or not args.quiet:
        put(describe(found))
    return 0


def describe(explanation: Explanation) -> str:
    """One line a pack."""
    return "\n".join(map(_line, explanation.steps)) or "there are no packs"


def _line(step: Step) -> str:
    due = f"; goes at {when(step.due)}" if step.due is not None and step.action == "wait" else ""
    return f"{step.action:<6} {one_line(step.pack)}: {step.reason}{due}"


def parser() -> Parser:
    made = new_parser(
        "explain",
        "Say for each pack, the oldest first, what a run would do with it now, and by which rule:\n"
        "merge, fold, delete, wait or leave.",
    )
    made.add_argument("pack", metavar="<pack>", nargs="*", help="only these: a name, or the path of a .pack or .idx")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
