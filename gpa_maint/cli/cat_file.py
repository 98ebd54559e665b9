"""The command `git gpa cat-file`."""

from __future__ import annotations

import errno
import sys

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import complain
from gpa_maint.errors import GitFailed, SystemFailed
from gpa_maint.store.cat_file import DEFAULT_FORMAT, CatFileOptions, cat_file


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    text = args.batch_check if args.batch is None else args.batch
    if text is None:
        parser().error("--batch or --batch-check is needed")
    try:
        cat_file(
            None if args.batch_all_objects else sys.stdin.fileno(),
            sys.stdout.fileno(),
            CatFileOptions(
                text=text,
                with_content=args.batch is not None,
                buffered=args.buffer or args.batch_all_objects,
                unordered=args.unordered,
                delimiter=b"\0" if args.z else b"\n",
            ),
            object_dir=args.object_dir,
            complain=complain,
        )
    except SystemFailed as error:
        if error.errno == errno.EPIPE:
            raise BrokenPipeError from error
        raise
    except GitFailed as error:
        if error.stderr:
            raise
        return error.status  # git has printed the reason
    return 0


def parser() -> Parser:
    made = new_parser(
        "cat-file",
        "Answer for each object whose name comes on standard input, as 'git cat-file' does.\n"
        "A format may have %(objectname), %(objecttype), %(objectsize), %(objectsize:disk),\n"
        "%(deltabase) and %(rest).",
    )
    how = {"metavar": "<format>", "nargs": "?", "const": DEFAULT_FORMAT, "excludes": "kind"}
    made.add_argument("--batch", help="a line about the object, then its content", **how)
    made.add_argument("--batch-check", help="the line alone", **how)
    made.add_argument("--batch-all-objects", action="store_true", help="for all objects, instead of those on stdin")
    made.add_argument(
        "--unordered", action="store_true", help="with --batch-all-objects, in the order in which they are stored"
    )
    made.add_argument(
        "--buffer", action="store_true", help="write many answers at a time, for input that does not wait"
    )
    made.add_argument("-z", action="store_true", help="names on standard input end with a NUL byte")
    return made
