"""The command `git gpa history`."""

from __future__ import annotations

from gpa_maint.cli.map import columns, shows_blocks, write_picture
from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import put, say
from gpa_maint.model.json import to_json
from gpa_maint.pictures.history import draw_history
from gpa_maint.pictures.terminal import BARS, describe_history
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.state.runs import History, read_history


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    objdir = find_object_dir(object_dir=args.object_dir)
    moments = read_history(objdir)
    if args.json:
        put(to_json(History(tuple(moments))), exact=True)
    elif args.output:
        write_picture(args.output, draw_history(moments, objdir.title))
        say(args, f"wrote '{args.output}'")
    else:
        put(describe_history(moments, objdir.title, columns=columns(), plain=not shows_blocks(BARS)))
    return 0


def parser() -> Parser:
    made = new_parser("history", "Draw packs, bytes and bytes written for each byte pushed, from run to run.")
    made.add_argument("-o", "--output", metavar="<file>", help="write an SVG there")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
