"""The command `git gpa install`."""

from __future__ import annotations

import os
import sys

from gpa_maint.cli.parser import Namespace, Parser, new_parser
from gpa_maint.cli.ui import put, say, warn
from gpa_maint.model.json import to_json
from gpa_maint.model.setup import InstallChange, InstallResult
from gpa_maint.setup import install, plan


def main(options: list[str]) -> int:
    made = parser()
    args = made.parse_args(options)
    refuse_object_dir(made, args)
    called = os.path.abspath(sys.argv[0])
    program = called if os.path.basename(called) == "git-gpa" else None
    result = install.install(way=args.hook, program=program, dry_run=args.dry_run)
    show(args, result)
    if result.changes and not (args.dry_run or args.json):
        say(args, "'git gpa run' merges what is there now, 'git gpa uninstall' puts everything back")
    return 0


def refuse_object_dir(made: Parser, args: Namespace) -> None:
    if args.object_dir is not None:
        made.error("--object-dir: hooks and settings belong to a repository; use 'git -C <dir> gpa ...'")


def show(args: Namespace, result: InstallResult) -> None:
    """Print warnings, then one line for each change, or why there is none. A dry run is never quiet."""
    for line in result.warnings:
        warn(line)
    if args.json:
        put(to_json(result), exact=True)
        return
    lines = [describe(change, is_plan=args.dry_run) for change in result.changes] or [f"nothing to do: {result.reason}"]
    for line in lines:
        put(line) if args.dry_run else say(args, line)


def describe(change: InstallChange, *, is_plan: bool = False) -> str:
    """Return a line about a change that was made, or with `is_plan` would be."""
    would = "would " if is_plan else ""
    if change.what == "hook":
        return f"hook {change.name}: {_hook(change, is_plan)}"
    if not change.after:
        return f"{would}unset {change.name}"
    reason = f" ({change.reason})" if change.reason else ""
    before = f", {'is' if is_plan else 'was'} {_values(change.before)}" if change.before else ""
    return f"{would}set {change.name} = {_values(change.after)}{before}{reason}"


def _hook(change: InstallChange, is_plan: bool) -> str:
    would = "would be " if is_plan else ""
    if change.after[-1:] != (plan.OURS,):
        if not change.after:
            return f"{would}removed"
        return f"the one from before {'would be' if is_plan else 'is'} back"
    if change.before[-1:] == (plan.OURS,):
        return f"{would}replaced by that of this version"
    if not change.after[1:]:
        return f"{would}added"
    old = "the one that is there would run" if is_plan else "the one that was there runs"
    return f"{would}added; {old} first, as {change.after[0]}"


def _values(values: tuple[str | None, ...]) -> str:
    return " ".join("(no value)" if value is None else value for value in values)


def parser() -> Parser:
    made = new_parser(
        "install",
        "Let pushes, commits, merges and rebases start 'git gpa run' in the background when something\n"
        "is due, and switch git's own automatic maintenance off. Nothing waits for it. 'git gpa\n"
        "uninstall' brings everything back as it was.",
    )
    made.add_argument(
        "--hook",
        choices=["file", "config"],
        metavar="file|config",
        help="scripts in the hooks directory, or hooks in the configuration, which need git 2.54 (default: scripts, "
        "unless other repositories share the hooks directory)",
    )
    made.add_argument("-n", "--dry-run", action="store_true", help="say what would change")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
