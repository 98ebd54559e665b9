"""The command `git gpa add-loose`."""

from __future__ import annotations

from gpa_maint.cli.background import until_signal
from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import complain, complain_of, count_of, human_size, progress, put, say
from gpa_maint.model.json import to_json
from gpa_maint.model.results import LooseResult
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.verbs.add_loose import add_loose, plan_add_loose_of


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    if args.dry_run:
        plan = plan_add_loose_of(find_object_dir(object_dir=args.object_dir))
        put(to_json(plan) if args.json else f"pack {count_of(len(plan.objects), 'loose object')}", exact=args.json)
        return 0
    with progress(args) as report:
        result, ended_by = until_signal(lambda stop: add_loose(object_dir=args.object_dir, stop=stop, report=report))
    if result is None:
        return ended_by
    for left in result.left_out:
        complain(f"left out object {left.oid}: {left.reason}")
    status = complain_of([*result.complaints, *filter(None, [result.no_room])])
    if args.json:
        put(to_json(result), exact=True)
    else:
        say(args, describe(result))
    return ended_by or (1 if result.left_out else status)


def describe(result: LooseResult) -> str:
    if not result.pages:
        return f"nothing to do: {result.reason}"
    pages = f"{count_of(len(result.pages), 'page')}, {human_size(sum(page.size for page in result.pages))}"
    packed = f"packed {count_of(result.object_count, 'loose object')}, {human_size(result.loose_bytes)} -> {pages}"
    return "; ".join(filter(None, [packed, result.reason]))


def parser() -> Parser:
    made = new_parser(
        "add-loose",
        "Put all loose objects into pages, then remove their files: the step of 'git gpa run', done now.",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say how many there are, and change nothing")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
