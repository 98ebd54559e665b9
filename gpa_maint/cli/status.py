"""The command `git gpa status`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import count_of, human_size, one_line, put, when
from gpa_maint.model.json import to_json
from gpa_maint.model.results import RunResult
from gpa_maint.model.status import Cost, Status
from gpa_maint.verbs.status import status
from gpa_maint.verbs.summary import describe_kinds, sum_steps


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    found = status(object_dir=args.object_dir)
    if args.json:
        put(to_json(found), exact=True)
    elif args.format == "prometheus":
        from gpa_maint.cli.prometheus import describe as describe_metrics

        put(describe_metrics(found).removesuffix("\n"), exact=True)
    elif not args.quiet:
        put(describe(found))
    return 1 if args.exit_code and not all(one.is_advice for one in found.warnings) else 0


def describe(status: Status) -> str:
    """Yield about one screen of text: packs, the last run, due steps, problems."""
    lines = [*_head(status), *_packs(status), *_objects(status), *_past(status), "", *_due(status)]
    for warning in status.warnings:
        lines += ["", f"warning: {warning.text}", *([f"hint: {warning.hint}"] if warning.hint else [])]
    return "\n".join(lines)


def _head(status: Status) -> Iterator[str]:
    otherwise = "started by a hook" if status.has_hook else "not installed"
    installed = "installed" if status.is_installed else otherwise
    yield f"repository    {one_line(status.repository)}, {status.object_format}, {installed}"
    if status.at_work:
        yield f"at work       {status.at_work}"


def _packs(status: Status) -> Iterator[str]:
    """Yield a table of the kinds of packs, and their sum."""
    kinds = [kind for kind in status.kinds if kind.packs]
    rows = [(f"  {kind.name}", kind.packs, kind.objects, human_size(kind.size)) for kind in kinds]
    size = human_size(sum(kind.size for kind in kinds))
    rows.insert(0, ("packs", sum(kind.packs for kind in kinds), status.stored_objects, size))
    width = [max(len(str(row[column])) for row in rows) for column in range(4)]
    for name, packs, objects, size in rows:
        noun = "object " if objects == 1 else "objects"
        yield f"{name:<14}{packs:>{width[1]}}  {objects:>{width[2]}} {noun}  {size:>{width[3]}}"


def _objects(status: Status) -> Iterator[str]:
    outside = f"{count_of(status.unindexed_packs, 'pack')} outside it"
    if status.index_packs:
        packs, objects = count_of(status.index_packs, "pack"), count_of(status.index_objects, "object")
        yield f"index         {packs}, {objects}, {human_size(status.index_bytes)}; {outside}"
    else:
        yield f"index         none; {outside}"
    yield f"duplicates    {count_of(status.duplicates, 'stored copy').replace('copys', 'copies')}"
    yield f"loose         {count_of(status.loose_objects, 'object')}"
    if status.first_due is not None:
        yield f"superseded    {human_size(status.reclaimable_bytes)} to be freed, {_going(status)}"


def _going(status: Status) -> str:
    first, last = status.first_due or 0, status.last_due or 0
    if last <= status.now:
        return "all past their grace"
    begin = "some past their grace" if first <= status.now else f"the first at {when(first)}"
    return f"all at {when(last)}" if first == last else f"{begin}, the last at {when(last)}"


def _past(status: Status) -> Iterator[str]:
    yield from _run(status.last_run) if status.last_run else ["last run      none is known"]
    if status.cost:
        yield f"written       {_cost(status.cost)}"


def _run(last: RunResult) -> Iterator[str]:
    """Yield what a run did: one line, or one line for each kind of step."""
    head = f"last run      {when(last.started)}, {last.seconds:.2f} s"
    lines = describe_kinds(last)
    if len(lines) == 1:
        yield f"{head}: {lines[0]}"
        return
    yield head
    verbs = [step.verb for step in sum_steps(last.steps)]
    for verb, line in zip_longest(verbs, lines, fillvalue=""):
        yield f"  {verb:<12}{line}"


def _cost(cost: Cost) -> str:
    factor = "" if cost.amplification is None else f"{cost.amplification:.2f} times what was pushed: "
    written = f"{human_size(cost.pack_bytes)} of packs, {human_size(cost.index_bytes)} of indexes"
    pushed = f"{human_size(cost.pushed_bytes)} in {count_of(cost.pushed_packs, 'pack')}"
    return f"{factor}{written}; pushed {pushed}, since {when(cost.since)}"


def _due(status: Status) -> Iterator[str]:
    if not status.steps:
        yield "what is due cannot be told while the index cannot be read"
    elif not status.due:
        yield "nothing is due"
    for step in status.due:
        packs = f": {count_of(step.packs, 'pack')}" if step.packs else ""
        yield f"due: {step.verb:<6}  {step.reason}{packs}"


def parser() -> Parser:
    made = new_parser(
        "status",
        "Show what is there, what a run would do now, what the last one did, and what somebody\n"
        "should look at. Changes nothing, and waits for nobody.",
    )
    made.add_argument("--json", action="store_true", help="answer in JSON")
    made.add_argument(
        "--format", choices=["prometheus"], metavar="prometheus", help="metrics for node_exporter's textfile collector"
    )
    made.add_argument("--exit-code", action="store_true", help="exit with 1 when there are warnings")
    return made
