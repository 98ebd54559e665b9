"""Options and messages that the verbs on v1 archives share."""

from __future__ import annotations

from collections.abc import Iterable

from gpa_maint.archive_v1 import Finding, Unindexed
from gpa_maint.cli.parser import Namespace, Parser, new_parser
from gpa_maint.cli.ui import complain, count_of, human_size, warn

EXAMPLES = 3


def archive_parser(verb: str, description: str) -> Parser:
    """Return a parser with the archive, its list, and the options that every verb has."""
    made = new_parser(verb, description)
    made.add_argument("directory", metavar="<archive-dir>", help="the folder with the pages")
    made.add_argument(
        "--pages",
        metavar="<file>",
        help="the names of the pages, one a line, the newest last (default: the file 'pages' in the folder)",
    )
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made


def add_raw_option(parser: Parser) -> None:
    parser.add_argument("--raw", action="store_true", help="values may be anything: do not read them as git objects")


def parse_archive_alone(parser: Parser, options: list[str]) -> Namespace:
    """Return the options of a verb that needs no repository."""
    args = parser.parse_args(options)
    if args.object_dir:
        parser.error("--object-dir: an archive is no repository")
    return args


def tell_findings(findings: Iterable[Finding]) -> None:
    """Print each finding on stderr: as an error if something is lost, else as a warning."""
    for finding in findings:
        (complain if finding.lost else warn)(describe_finding(finding))


def describe_finding(finding: Finding) -> str:
    page = f"'{finding.page}': " if finding.page else ""
    key = f"object {finding.key}: " if finding.key else ""
    return f"{page}{key}{finding.reason} ({finding.fault})"


def tell_unindexed(unindexed: Iterable[Unindexed]) -> None:
    for one in unindexed:
        line = f"'{one.page}': {count_of(one.size, 'byte')} that no entry names"
        if one.objects:
            rest = count_of(one.size - one.object_bytes, "byte")
            line += f": {count_of(one.objects, 'object')} rescued, {rest} not"
        warn(line)


def tell_strays(strays: tuple[str, ...]) -> None:
    if strays:
        more = f" and {len(strays) - EXAMPLES} more" if len(strays) > EXAMPLES else ""
        names = ", ".join(f"'{name}'" for name in strays[:EXAMPLES])
        warn(f"the list does not name {names}{more}")


__all__ = [
    "add_raw_option",
    "archive_parser",
    "count_of",
    "describe_finding",
    "human_size",
    "parse_archive_alone",
    "tell_findings",
    "tell_strays",
    "tell_unindexed",
]
