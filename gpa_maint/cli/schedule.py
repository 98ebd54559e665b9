"""The command `git gpa schedule`."""

from __future__ import annotations

import os
import shutil
import sys

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import put
from gpa_maint.model.json import to_json
from gpa_maint.model.setup import Schedule
from gpa_maint.repo.git import run_git
from gpa_maint.setup import install
from gpa_maint.setup.timers import USUAL_PATH, schedule


def main(options: list[str]) -> int:
    made = parser()
    args = made.parse_args(options)
    if args.object_dir is not None:
        made.error("--object-dir: a schedule is for a repository; use 'git -C <dir> gpa schedule'")
    called = os.path.abspath(sys.argv[0])
    program = called if os.path.basename(called) == "git-gpa" else ""
    if args.print == "hook":
        if args.all is not None:
            made.error("--all: a hook works in the repository that git calls it for")
        hook = install.hook_for_host(program or None)
        put(to_json(hook) if args.json else hook.files[0].content.removesuffix("\n"), exact=True)
        return 0
    found = schedule(system=args.print, folder=args.all, program=program, git_dir=unusual_git_dir())
    put(to_json(found) if args.json else describe(found), exact=True)
    return 0


def unusual_git_dir() -> str:
    """Return the folder of git, if it is not one of the usual folders."""
    folders = os.environ.get("PATH", os.defpath).split(":")
    # git puts the directory of its own programs first, for processes that it starts
    inner = run_git(["--exec-path"]).strip()
    git = shutil.which("git", path=":".join(folder for folder in folders if folder != inner))
    folder = os.path.dirname(os.path.abspath(git)) if git else ""
    return "" if folder in USUAL_PATH else folder


def describe(schedule: Schedule) -> str:
    """Print the commands to run, then each file below a comment with its path."""
    if schedule.system == "cron":
        return f"# Add the last line with: {schedule.commands[0]}\n{schedule.files[0].content}".rstrip("\n")
    lines = ["# Two files. Save each under the name above it, then:", *(f"#   {line}" for line in schedule.commands)]
    lines.append("# Without root: in ~/.config/systemd/user/, without the line User=, and with systemctl --user.")
    return "\n".join([*lines, *(f"\n# {file.path}\n{file.content}".rstrip("\n") for file in schedule.files)])


def parser() -> Parser:
    made = new_parser(
        "schedule",
        "Print units for systemd, or a line for cron, that start 'git gpa run' each hour in this\n"
        "repository or in many. Comments say where they belong. Nothing is written.\n"
        "Or print the hook of 'git gpa install' for a folder whose hooks all repositories of a host run.",
    )
    made.add_argument(
        "--print",
        choices=["systemd", "cron", "hook"],
        metavar="systemd|cron|hook",
        required=True,
        help="a service and a timer, a line for 'crontab -e', or a hook",
    )
    made.add_argument("--all", metavar="<dir>", help="for every repository below this directory")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
