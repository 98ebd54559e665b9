"""`git gpa <verb>`: find the verb, and turn errors into messages and exit status.

Nothing is imported before it is needed. Exit status as in git: 0 done or nothing to do, 1 findings or objects left out,
128 fatal, 129 wrong usage, 130 interrupted. Only this package uses the terminal: answers go to stdout, everything else
to stderr.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from contextlib import suppress

from gpa_maint.cli import interrupts  # before modules that take long to import
from gpa_maint.cli.streams import flush_answers, prepare_streams, put, tell
from gpa_maint.errors import SystemFailed

TYPE_CHECKING = False  # start-up cost
if TYPE_CHECKING:
    from typing import NoReturn

VERBS = {
    "write": "write the combined index over all packs",
    "repack": "merge small packs into pages, and index them",
    "expire": "delete pages that are superseded and past their grace",
    "run": "do all maintenance that is due, in small steps",
    "status": "show what is there, what is due, and what is amiss",
    "explain": "say for each pack what a run would do with it, and why",
    "map": "draw the packs",
    "history": "draw packs and bytes over time",
    "schedule": "print units for systemd, a line for cron, or a hook for a host",
    "completion": "print completion for bash, zsh or fish",
    "config": "show the settings that hold, and all that there are",
    "add-loose": "put loose objects into pages",
    "import-objects": "put what 'git cat-file --batch' prints into pages",
    "verify": "check the combined index, with --deep every object, with --refs all refs",
    "repair": "mend what is damaged, and save what can be read",
    "backup": "copy the repository, or bring such a copy up to date",
    "data": "use a branch as a key-value store that clones merge by themselves",
    "union-merge": "merge branches without a checkout: the lines of all",
    "cat-file": "answer as 'git cat-file --batch' does, faster",
    "install": "let pushes and commits start maintenance in the background",
    "uninstall": "remove what install added, and bring back what was there",
    "import-v1": "bring an archive of v1 pages into the repository",
    "export-v1": "write the repository's objects as v1 pages",
    "verify-v1": "check an archive of v1 pages",
    "repack-v1": "merge small v1 pages, and index their archive",
    "expire-v1": "delete v1 pages that repack-v1 replaced",
}

DRAWING = ("map", "history", "config", "completion")
"""Verbs that share a line of the usage, which fits one screen."""

BRINGING = frozenset(("import-objects", "import-v1"))
"""Verbs that store what they read: where they may not, they fail."""

COMPLETION_HELPER = "--git-completion-helper"
"""Option that prints verbs or options for the completion of shells, as in git's own commands."""

USAGE_STATUS = 129
FATAL_STATUS = 128
INTERRUPTED_STATUS = 130
BROKEN_PIPE_STATUS = 141


def main(argv: list[str] | None = None) -> int:
    """Run one command, and return its exit status. Without `argv`, as a program, end the process."""
    if argv is not None:
        return _main(argv)
    prepare_streams()
    try:
        try:
            status = _main(sys.argv[1:])
        except SystemExit as error:  # of argparse
            status = error.code if isinstance(error.code, int) else FATAL_STATUS
        flush_answers()
    except BrokenPipeError:
        status = BROKEN_PIPE_STATUS
    except SystemFailed as error:
        tell(f"fatal: {error}")
        status = FATAL_STATUS
    except KeyboardInterrupt:
        status = INTERRUPTED_STATUS
    _end(status)


def _main(words: list[str]) -> int:
    if words == ["--version"]:
        from gpa_maint.cli.version import version_text

        put(version_text())
        return 0
    if words == [COMPLETION_HELPER]:
        put("\n".join(VERBS))
        return 0
    before, rest = _split_at_verb(words)
    if "--help" in before or rest[1:2] == ["--help"]:
        return _show_manual()
    if "-h" in before or not rest:
        put(usage()) if "-h" in before else tell(usage())
        return USAGE_STATUS
    verb, *options = rest
    if verb not in VERBS:
        tell(_unknown_verb(verb))
        return USAGE_STATUS
    return _run(verb, [*before, *options])


def _end(status: int) -> NoReturn:
    """End the process at once: to tidy up would take Python a tenth of the whole command.

    If git would end by the signal itself, so does this.
    """
    if status == INTERRUPTED_STATUS:
        interrupts.end_by(signal.SIGINT)
    if status == BROKEN_PIPE_STATUS:
        interrupts.end_by(signal.SIGPIPE)
    with suppress(OSError):  # this was the failure, or it is reported
        sys.stdout.flush()
    os._exit(status)


def usage() -> str:
    lines = ["usage: git gpa [--object-dir=<dir>] [--[no-]progress] <verb> [<options>]", "   or: git gpa --version", ""]
    alone = [verb for verb in VERBS if not verb.endswith("-v1") and verb not in DRAWING]
    lines += [f"    {verb:<14} {VERBS[verb]}" for verb in alone]
    lines += [f"    to look at and to set up: {' '.join(DRAWING)}"]
    lines += [f"    for archives of v1 pages: {' '.join(verb for verb in VERBS if verb.endswith('-v1'))}"]
    return "\n".join([*lines, "'git gpa <verb> -h' lists a verb's options, 'git-gpa --help' opens the manual."])


def _unknown_verb(verb: str) -> str:
    """Return git's message about an unknown command, with similar verbs, or with all verbs."""
    from difflib import get_close_matches

    said = f"git gpa: '{verb}' is not a git gpa command. See 'git gpa -h'."
    similar = get_close_matches(verb, VERBS, cutoff=0.6) or [
        known for known in VERBS if verb and known.startswith(verb)
    ]
    if not similar:
        return f"{said}\n{usage()}"
    which = "command is" if len(similar) == 1 else "commands are"
    return "\n\t".join([f"{said}\n\nThe most similar {which}", *similar])


def _split_at_verb(words: list[str]) -> tuple[list[str], list[str]]:
    """Options before the verb mean the same as after it, and are moved there."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] == "--object-dir" else 1
    return words[:at], words[at:]


def _show_manual() -> int:
    """Show the manual page for `git-gpa --help`, wherever it is installed.

    For `git gpa --help`, git itself asks man, which does not look into the environments of pipx.
    """
    for page in _manual_pages():
        if os.path.exists(page):
            try:
                os.execvp("man", ["man", page])
            except OSError:
                break
    try:
        os.execvp("man", ["man", "git-gpa"])
    except OSError:
        put(usage())
        return 0


def _manual_pages() -> list[str]:
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return [
        os.path.join(sys.prefix, "share", "man", "man1", "git-gpa.1"),
        os.path.join(os.path.dirname(package), "docs", "man", "git-gpa.1"),
    ]


def _run(verb: str, options: list[str]) -> int:
    from importlib import import_module

    if verb == "run" and "--auto" in options and {"--auto", "--detach"}.issuperset(options) and not _is_run_due():
        return 0
    gc.disable()  # a command ends before its garbage matters; collecting it costs more

    from gpa_maint.errors import GpaError, Quarantined

    module = import_module(f"gpa_maint.cli.{verb.replace('-', '_')}")
    if options == [COMPLETION_HELPER]:
        made = module.parser().full()
        operands = [word for action in made._actions if not action.option_strings for word in action.choices or ()]
        put("\n".join([*sorted(made._option_string_actions), *operands]))
        return 0
    _warn_of_unknown_settings()
    try:
        interrupts.tidy_up_from_now_on()
        status = int(module.main(options))
        flush_answers()
        return status
    except Quarantined as error:
        if verb in BRINGING:
            _complain(str(error), error.hint)
        else:  # and the push goes on
            (tell if "--json" in options else put)(f"nothing to do: {error}")
            return 0
    except GpaError as error:
        _complain(str(error), error.hint)
    except MemoryError:
        _complain("out of memory", "")
    except BrokenPipeError:
        # the reader of our answer is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE_STATUS
    except OSError as error:
        name = f" '{error.filename}'" if error.filename else ""
        _complain(f"cannot access{name}: {error.strerror or error}", "")
    except interrupts.Ended as error:
        interrupts.end_by(error.number)
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    return FATAL_STATUS


def _is_run_due() -> bool:
    """Return whether a run is due, for hooks and timers: mostly it is not, and the answer must cost little."""
    from gpa_maint.state.next_run import git_dir_here, is_worth_while

    git_dir = git_dir_here()
    return git_dir is None or is_worth_while(git_dir, f"{git_dir}/objects", now=time.time())


def _warn_of_unknown_settings() -> None:
    """Warn once about each unknown gpa.* key, which is probably misspelt."""
    from gpa_maint.repo import discover

    told: set[str] = set()

    def warn(key: str) -> None:
        if key not in told:
            told.add(key)
            tell(f"warning: unknown setting '{key}'")
            tell("hint: 'git gpa config --list-keys' lists those there are")

    discover.tell_unknown = warn


def _complain(message: str, hint: str) -> None:
    if not message.startswith(("fatal:", "error:")):  # git's own words come with their prefix
        message = f"fatal: {message}"
    tell(message)
    if hint:
        tell(f"hint: {hint}")


if __name__ == "__main__":
    sys.exit(main())
