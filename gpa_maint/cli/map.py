"""The command `git gpa map`."""

from __future__ import annotations

import os
import shutil
import sys
import time

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import put, say
from gpa_maint.model.json import to_json
from gpa_maint.pictures.cells import Map, cells_of
from gpa_maint.pictures.map import draw_map
from gpa_maint.pictures.terminal import SHADES, describe_map
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.verbs.survey import survey


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    objdir = find_object_dir(object_dir=args.object_dir)
    rules = objdir.settings
    cells = cells_of(
        survey(object_dir=args.object_dir),
        page_objects=rules.page_objects,
        page_bytes=rules.page_bytes,
        now=int(time.time()),
    )
    if args.json:
        put(to_json(Map(tuple(cells))), exact=True)
    elif args.output:
        write_picture(args.output, draw_map(cells, objdir.title))
        say(args, f"wrote '{args.output}'")
    else:
        drawn = describe_map(
            cells, objdir.title, columns=columns(), colour=wants_colour(), plain=not shows_blocks(SHADES)
        )
        put(drawn, exact=True)
    return 0


def write_picture(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def columns() -> int:
    return max(40, min(200, shutil.get_terminal_size().columns))


def wants_colour() -> bool:
    """Return whether to use colours: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shows_blocks(characters: str) -> bool:
    """Return whether standard output can show these characters, or only ASCII."""
    try:
        characters.encode(sys.stdout.encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def parser() -> Parser:
    made = new_parser("map", "Draw the packs: how large, of which kind, how old, and how much of each is live.")
    made.add_argument("-o", "--output", metavar="<file>", help="write an SVG there")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
