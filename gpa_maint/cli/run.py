"""The command `git gpa run`."""

from __future__ import annotations

import os
import signal

from gpa_maint.base.progress import StopRequest, time_limit
from gpa_maint.cli.background import describe_plan, stoppable
from gpa_maint.cli.parser import Namespace, Parser, new_parser
from gpa_maint.cli.ui import (
    complain,
    complain_of,
    count_option,
    flush_answers,
    hint,
    progress,
    put,
    say,
    time_option,
    warn,
)
from gpa_maint.errors import Locked
from gpa_maint.model.json import to_json
from gpa_maint.model.results import RunResult
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.state.next_run import is_worth_while
from gpa_maint.state.runs import log
from gpa_maint.verbs.run import maintain_in, plan_maintenance_of
from gpa_maint.verbs.session import now
from gpa_maint.verbs.summary import sum_steps

FOREGROUND_SETTLE = 60
BACKGROUND_SETTLE = 12 * 3600
"""Seconds that a run waits at its end for git processes that delete packs; git itself trusts gc.pid for so long."""

LOCKED_STATUS = 75  # EX_TEMPFAIL: try again later


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    if args.all or args.stdin:
        from gpa_maint.cli.run_many import main as run_many

        return run_many(args)
    stop = StopRequest()
    with time_limit(stop, args.max_runtime):
        objdir = find_object_dir(object_dir=args.object_dir, stop=stop)
    if args.dry_run:
        plan = plan_maintenance_of(objdir)
        put(to_json(plan) if args.json else describe_plan(plan), exact=args.json)
        return 0
    if args.detach:
        detach()
    if args.auto and not is_worth_while(objdir.common_dir, objdir.objects, now=now()):
        return 0
    try:
        with progress(args) as report:
            result = stoppable(
                stop,
                lambda: maintain_in(
                    objdir,
                    max_seconds=args.max_runtime,
                    stop=stop,
                    report=report,
                    settle_seconds=BACKGROUND_SETTLE if args.detach else FOREGROUND_SETTLE,
                ),
            )
    except Locked as error:
        if args.auto or args.detach:
            log(objdir, f"nothing done: {error}", now=now())
            return 0
        complain(str(error))
        hint(error.hint)
        return LOCKED_STATUS
    tell(args, result)
    return status_of(result)


def tell(args: Namespace, result: RunResult) -> None:
    """Print warnings and left-out objects on stderr, the answer on stdout; with --auto only if something was done."""
    for line in result.warnings:
        warn(line)
    for left in result.left_out:
        complain(f"left out object {left.oid}: {left.reason}")
    complain_of(result.complaints)
    if args.json:
        put(to_json(result), exact=True)
        return
    for step in sum_steps(result.steps):
        say(args, step.text)
    if result.stopped:
        say(args, f"stopped: {result.stopped}; the next run goes on from here")
    elif not result.steps and not args.auto:
        say(args, f"nothing to do: {result.reason}")


def status_of(result: RunResult) -> int:
    """Return 0 if all is done, 1 if something was left out or unusable, 128 plus its number after a signal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if result.stopped == number.name:
            return 128 + number
    return 1 if result.left_out or result.complaints else 0


def detach() -> None:
    """Continue in the background: in a new session, without open files that a process waits for. The caller ends."""
    flush_answers()
    if os.fork():
        os._exit(0)
    os.setsid()
    if os.fork():
        os._exit(0)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    # A hook has more open descriptors of git than these three, and the process at the other end waits for each.
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def parser() -> Parser:
    made = new_parser("run", "Do all maintenance that is due, in small steps. The hooks of 'git gpa install' start it.")
    made.add_argument("--auto", action="store_true", help="say nothing when nothing is due or another run is at work")
    made.add_argument("--detach", action="store_true", help="go on in the background; see gpa/log in the repository")
    made.add_argument(
        "--max-runtime",
        metavar="<time>",
        type=time_option,
        help="stop cleanly after this time (90, 5.minutes)",
    )
    made.add_argument("--all", metavar="<dir>", help="run in every repository below this directory")
    made.add_argument("--stdin", action="store_true", help="run in the repositories named on standard input")
    made.add_argument("--jobs", metavar="<n>", type=count_option, default=1, help="with these two: how many at a time")
    made.add_argument("--keep-going", action="store_true", help="with these two: go on after a failure")
    made.add_argument("-n", "--dry-run", action="store_true", help="say for each step what would be done, and why")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
