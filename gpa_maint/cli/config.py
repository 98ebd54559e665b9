"""The command `git gpa config`."""

from __future__ import annotations

import json

from gpa_maint.cli.parser import Parser, new_parser
from gpa_maint.cli.ui import put
from gpa_maint.repo.config import FORMAT_VERSION, KEYS, in_effect
from gpa_maint.repo.discover import find_object_dir


def main(options: list[str]) -> int:
    args = parser().parse_args(options)
    if args.list_keys:
        rows = [dict(zip(("name", "type", "default", "meaning"), (key, *rest), strict=True)) for key, _, *rest in KEYS]
        keys = {"kind": "Keys", "version": FORMAT_VERSION, "keys": rows}
        put(json.dumps(keys, indent=2) if args.json else _table(rows), exact=args.json)
        return 0
    values = in_effect(find_object_dir(object_dir=args.object_dir).settings)
    if args.json:
        put(json.dumps({"kind": "Settings", "version": FORMAT_VERSION, "settings": values}, indent=2), exact=True)
    else:
        put("\n".join(f"{name}={str(value).lower()}" for name, value in values.items()))
    return 0


def _table(rows: list[dict[str, str]]) -> str:
    widths = {field: max(len(row[field]) for row in rows) for field in ("name", "type", "default")}
    return "\n".join(
        "  ".join([*(row[field].ljust(width) for field, width in widths.items()), row["meaning"]]) for row in rows
    )


def parser() -> Parser:
    made = new_parser("config", "Show the gpa.* settings that hold here; 'git config' changes them.")
    made.add_argument("--list-keys", action="store_true", help="every key with its type, default and meaning")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
