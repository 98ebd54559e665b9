"""The command git gpa run --all, git gpa run --stdin."""

from __future__ import annotations

import sys
from collections.abc import Iterable

from gpa_maint.base.progress import StopRequest
from gpa_maint.cli.background import describe_plan, stoppable
from gpa_maint.cli.parser import Namespace
from gpa_maint.cli.ui import count_of, one_line, progress, put, say, tell
from gpa_maint.model.json import to_json
from gpa_maint.model.results import RunResult
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.verbs import run_many
from gpa_maint.verbs.run import plan_maintenance_of
from gpa_maint.verbs.summary import sum_steps


def main(args: Namespace) -> int:
    """Return the exit status: 1 if a repository failed, or something in one was left undone."""
    paths = list(run_many.find_repositories(args.all)) if args.all else _from_stdin()
    if args.dry_run:
        return _show_plans(paths, keep_going=args.keep_going)
    stop = StopRequest()
    with progress(args) as report:
        done = 0

        def told(outcome: run_many.Outcome) -> None:
            nonlocal done
            done += 1
            _tell(args, outcome)
            if report:
                report("Maintaining repositories", done, len(paths))

        outcomes = stoppable(
            stop,
            lambda: run_many.maintain_all(
                paths, jobs=args.jobs, keep_going=args.keep_going, stop=stop, max_seconds=args.max_runtime, told=told
            ),
        )
    failed = [outcome for outcome in outcomes if outcome.has_failed]
    busy = sum(outcome.result is not None and bool(outcome.result.steps) for outcome in outcomes)
    if not args.json:
        summary = f"{count_of(len(outcomes), 'repository')}: {busy} maintained, {len(failed)} failed"
        left = len(paths) - len(outcomes)
        say(args, summary.replace("repositorys", "repositories") + (f", {left} not begun" if left else ""))
    is_any_left = any(outcome.result is not None and bool(outcome.result.complaints) for outcome in outcomes)
    return 1 if failed or is_any_left else 0


def _from_stdin() -> list[str]:
    return [line for line in sys.stdin.read().split("\n") if line]


def _tell(args: Namespace, outcome: run_many.Outcome) -> None:
    """Print one line for each repository in which something was done, or that failed."""
    if outcome.error is not None:
        _tell_of_error("error" if outcome.has_failed else "skipped", outcome.path, outcome.error)
        return
    for line in outcome.result.complaints if outcome.result is not None else ():
        tell(f"error: {one_line(outcome.path)}: left as it is: {line}")
    if args.json:
        put(to_json(outcome.result), exact=True)
    elif outcome.result is not None and outcome.result.steps:
        say(args, f"{one_line(outcome.path)}: {_steps(outcome.result)}")


def _tell_of_error(kind: str, path: str, error: Exception) -> None:
    words = str(error).removeprefix("fatal: ") or type(error).__name__
    tell(f"{kind}: {one_line(path)}: {words}")


def _steps(result: RunResult) -> str:
    return "; ".join(step.text for step in sum_steps(result.steps))


def _show_plans(paths: Iterable[str], *, keep_going: bool) -> int:
    status = 0
    for path in paths:
        try:
            plan = describe_plan(plan_maintenance_of(find_object_dir(path)))
        except Exception as error:  # an error must not stop the other repositories
            _tell_of_error("error", path, error)
            status = 1
            if not keep_going:
                break
        else:
            put(f"{one_line(path)}:\n{plan}")
    return status
