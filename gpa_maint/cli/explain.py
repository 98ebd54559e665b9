"""The command `git gpa explain`."""

from __future__ import annotations

import re

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import count_of, one_line, put, when
from gpa_maint.model.json import to_json
from gpa_maint.model.plans import Step
from gpa_maint.model.status import Explanation
from gpa_maint.verbs.explain import explain

MOST_LINES = 100
"""Number of packs that are listed one by one, unless --all or their names ask for more."""

FEW = 3
"""Number of packs with one rule that are listed one by one in any case."""

OF_ONE_PACK = re.compile(r"^\d+ of \d+ objects; |(?<=^large pack) of \d+ objects")
"""Separator in a reason between the words about the pack and the rule."""


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    found = explain(object_dir=args.object_dir, packs=args.pack)
    if args.json:
        put(to_json(found), exact=True)
    elif found.steps or not args.quiet:
        is_long = len(found.steps) > MOST_LINES and not (args.all or args.pack)
        put(summarize(found) if is_long else describe(found))
    return 0


def describe(explanation: Explanation) -> str:
    """Print one line for each pack."""
    return "\n".join(map(_line, explanation.steps)) or "there are no packs"


def summarize(explanation: Explanation) -> str:
    """Print one line for the packs of each rule, in the order of the oldest; for a few packs, one line for each."""
    groups: dict[tuple[str, str], list[Step]] = {}
    for step in explanation.steps:
        groups.setdefault((step.action, OF_ONE_PACK.sub("", step.reason)), []).append(step)
    lines: list[str] = []
    for (action, rule), steps in groups.items():
        if len(steps) <= FEW:
            lines += map(_line, steps)
            continue
        dues = [step.due for step in steps if step.due is not None and action == "wait"]
        due = f"; the first goes at {when(min(dues))}, the last at {when(max(dues))}" if dues else ""
        lines.append(f"{action:<6} {count_of(len(steps), 'pack')}: {rule}{due}")
    return "\n".join([*lines, f"{count_of(len(explanation.steps), 'pack')}; --all tells of each, the oldest first"])


def _line(step: Step) -> str:
    due = f"; goes at {when(step.due)}" if step.due is not None and step.action == "wait" else ""
    return f"{step.action:<6} {one_line(step.pack)}: {step.reason}{due}"


def parser() -> Parser:
    made = new_parser(
        "explain",
        "Say for each pack, the oldest first, what a run would do with it now, and by which rule:\n"
        "merge, fold, delete, wait or leave. Of many packs, a line for each rule and how many it is for.",
    )
    made.add_argument("pack", metavar="<pack>", nargs="*", help="only these: a name, or the path of a .pack or .idx")
    made.add_argument(
        "--all", action="store_true", help=f"one line a pack, also where there are more than {MOST_LINES}"
    )
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
