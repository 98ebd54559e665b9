"""What is printed, on streams of every kind: closed, full, without a reader, in encodings of few characters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from histories import History, HistorySpec
from oracle import git

from gpa_maint.cli import main

HistoryFactory = Callable[[HistorySpec], History]

SPEC = HistorySpec(pushes=3)
PROGRAM = Path(sys.executable).parent / "git-gpa"

VERBS = (
    "write",
    "repack",
    "repack -n",
    "expire --grace=now",
    "expire -n",
    "run",
    "run -n",
    "run --all=.",
    "run -n --all=.",
    "add-loose",
    "verify",
    "verify --deep",
    "status",
    "explain",
    "map",
    "history",
    "config",
    "repair -n",
    "repair",
    "install -n",
    "install",
    "uninstall",
)
ANSWERS = (*(verb for verb in VERBS if verb != "verify"), "--version", "-h", "status -h")
"""What prints something in any case."""


@pytest.fixture
def server(history: HistoryFactory) -> Path:
    repo = history(SPEC).server
    git(repo, "gpa", "write")
    return repo


def in_shell(repo: Path, command: str, **variables: str) -> CompletedProcess[bytes]:
    environment = {**os.environ, "GPA": str(PROGRAM), **variables}
    return subprocess.run(
        ["sh", "-c", command], cwd=repo, env=environment, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_stream_may_be_closed(server: Path, closed: str) -> None:
    for verb in VERBS:
        done = in_shell(server, f'"$GPA" {verb} {closed}')
        assert 0 == done.returncode, (verb, done.stderr)
    for question, status in (("--version", 0), ("-h", 129), ("no-such-verb", 129), ("status --no-such-option", 129)):
        assert status == in_shell(server, f'"$GPA" {question} {closed}').returncode, question


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
def test_an_answer_that_cannot_be_written_is_an_error_that_names_standard_output(server: Path) -> None:
    for verb in ANSWERS:
        if verb in ("run --all=.", "add-loose", "expire --grace=now"):
            continue
        done = in_shell(server, f'"$GPA" {verb} >/dev/full')
        assert 128 == done.returncode, verb
        assert b"fatal: cannot write standard output: No space left on device\n" in done.stderr, verb
        assert b"Traceback" not in done.stderr and b"Exception" not in done.stderr, verb


def test_standard_error_that_is_full_changes_nothing(server: Path) -> None:
    for verb in VERBS:
        assert 0 == in_shell(server, f'"$GPA" --progress {verb} 2>/dev/full').returncode, verb
    assert 128 == in_shell(server, 'cd / && "$GPA" status 2>/dev/full').returncode


def test_an_answer_that_nobody_reads_ends_the_program_as_it_ends_git(server: Path) -> None:
    for verb in ("status", "explain", "map", "config", "run -n", "-h"):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run([PROGRAM, *verb.split()], cwd=server, stdout=writer, stderr=subprocess.PIPE, check=False)
        os.close(writer)
        assert (-signal.SIGPIPE, b"") == (done.returncode, done.stderr), verb


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_every_answer_fits_every_encoding(server: Path, encoding: str) -> None:
    strange = server.with_name("\u6771\u4eac \u00e9\u2192\u2588")
    server.rename(strange)
    for verb in VERBS:
        done = in_shell(strange, f'"$GPA" {verb}', PYTHONIOENCODING=encoding)
        assert 0 == done.returncode and b"Traceback" not in done.stderr, (verb, done.stderr)
        (done.stdout + done.stderr).decode(encoding)


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_every_answer_fits_every_locale(server: Path, locale: str) -> None:
    strange = os.fsencode(server) + b" \xe9\xff\x9b31m"
    os.rename(server, strange)
    for verb in VERBS:
        done = in_shell(Path(os.fsdecode(strange)), f'"$GPA" {verb}', LC_ALL=locale)
        assert 0 == done.returncode and b"Traceback" not in done.stderr, (verb, done.stderr)
        assert b"\x9b" not in done.stdout + done.stderr, verb


def test_no_name_steers_a_terminal(server: Path) -> None:
    strange = server.with_name("a\033[31mb\nc\rd\x07")
    server.rename(strange)
    pack = next(strange.glob("objects/pack/*.pack"))
    git(strange, "config", "gpa.a\033[31m", "1", check=False)
    (strange / "objects/pack/pack-\033[31m.keep").touch()
    (strange / "objects/pack/pack-\033[31m.idx").write_bytes(pack.with_suffix(".idx").read_bytes())
    for verb in ("status", "map", "history", "explain", "run -n", "verify", "no-such-verb", "status --no\033[31m"):
        done = in_shell(strange, f'"$GPA" {verb}', NO_COLOR="1")
        said = done.stdout + done.stderr
        assert not set(b"\033\r\x07") & set(said), (verb, said)
    done = in_shell(
        strange.parent, '"$GPA" run -n --all=. && "$GPA" run --all=. && "$GPA" run --all="$X"', X=str(strange)
    )
    assert not set(b"\033\r\x07") & set(done.stdout + done.stderr)
    head = in_shell(strange, '"$GPA" status').stdout.splitlines()[0]
    assert head.endswith(b"b\\012c\\015d\\007, sha1, not installed")


@pytest.mark.parametrize("verb", ["repack", "run", "verify --deep"])
def test_ctrl_c_at_any_moment_prints_no_traceback(server: Path, verb: str) -> None:
    """From the moment on when our first line runs; Python's own start is not ours."""
    for number in range(16):
        process = subprocess.Popen(
            [sys.executable, "-c", STARTED, *verb.split()], cwd=server, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        assert b"started\n" == process.stderr.readline()
        time.sleep(number * 0.01)
        process.send_signal(signal.SIGINT)
        said = b"".join(process.communicate(timeout=60))
        assert b"Traceback" not in said and b"Exception" not in said and b"KeyboardInterrupt" not in said, said
        assert process.returncode in (0, 129, -signal.SIGINT), said


STARTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.argv[0] = "git-gpa"
os.write(2, b"started\\n")
from gpa_maint.cli.main import main
main()
"""


def test_nothing_is_printed_but_through_streams() -> None:
    sources = Path(main.__file__).parent.glob("*.py")
    assert ["demo.py", "streams.py"] == sorted(path.name for path in sources if "print(" in path.read_text())
