"""What is read without argparse means what argparse makes of it."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from gpa_maint.cli.main import VERBS
from gpa_maint.cli.parser import Namespace, Parser

PLAIN = {
    "run": ["", "--auto --detach", "--auto --quiet -n --json", "--max-runtime=5.minutes --no-progress", "--all=a=b"],
    "repack": ["--batch-size=3m", "--page-objects=7 -n -q", "--object-dir=", "--progress --no-progress"],
    "expire": ["--grace=now", "-n --grace=2.weeks --grace=1"],
    "write": ["--bitmap --no-bitmap", "--preferred-pack=p --stdin-packs"],
    "verify": ["--deep --threads=3"],
}
NOT_PLAIN = {
    "run": ["--aut", "-nq", "--max-runtime 5", "-h", "x", "--auto=yes", "--nope", "--max-runtime", "--jobs=0", "--"],
    "repack": ["--batch-size=-1", "--batch-size=x", "--no-dry-run"],
    "explain": ["", "pack-a --json", "--json", "--all"],
    "cat-file": ["--batch", "--batch=%(rest) -z"],
    "schedule": ["--print=cron"],
}


def parser_of(verb: str) -> Parser:
    made: Parser = importlib.import_module(f"gpa_maint.cli.{verb.replace('-', '_')}").parser()
    return made


def cases(table: dict[str, list[str]]) -> list[tuple[str, str]]:
    return [(verb, line) for verb, lines in table.items() for line in lines]


@pytest.mark.parametrize(("verb", "line"), cases(PLAIN))
def test_plain_options_are_read_as_argparse_reads_them(verb: str, line: str) -> None:
    made, words = parser_of(verb), line.split()
    assert made.full().parse_args(words, Namespace()) == made._read_plain(words) == made.parse_args(words)


@pytest.mark.parametrize(("verb", "line"), cases(NOT_PLAIN))
def test_all_else_is_left_to_argparse(verb: str, line: str) -> None:
    assert parser_of(verb)._read_plain(line.split()) is None


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_can_be_called_without_options_has_the_same_defaults(verb: str) -> None:
    made = parser_of(verb)
    found = made._read_plain([])
    assert found is None or found == made.full().parse_args([], Namespace())


def test_a_run_that_a_hook_starts_imports_nothing_dear() -> None:
    code = "import sys; from gpa_maint.cli import run; run.parser().parse_args(['--auto']); print(*sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"argparse", "typing", "dataclasses", "subprocess", "pathlib", "logging"} & set(answer.split())
