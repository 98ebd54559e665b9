"""`python -m gpa_maint.cli.demo`: watch git gpa at work, on a repository made for the purpose, beside stock git.

Real pushes make a server with some hundred packs; then the verbs run on it, and git's own multi-pack-index on a copy.
Everything is in a temporary directory, and git sees no settings of the user or the machine. git is started here and not
by repo/git.py, because it needs its own environment, like the git of another user.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from gpa_maint.base.tuples import NamedTuple
from gpa_maint.cli.parser import Parser
from gpa_maint.cli.ui import bar_place, count_option, human_size
from gpa_maint.errors import GitFailed, GpaError

FATAL_STATUS = 128
INTERRUPTED_STATUS = 130

DEFAULT_PUSHES = 300
CLONES = 3
READ_SIZE = 1 << 20

FOLDERS, FILES_IN_FOLDER, LINES_IN_FILE, WORDS_IN_LINE = 8, 5, 120, 9
EDITED_FILES, EDITED_LINES = 3, 4
FIRST_COMMIT_TIME = 1_700_000_000

# Each push leaves one pack, and no maintenance runs.
SERVER_SETTINGS = ("receive.unpackLimit=1", "receive.autogc=false", "gc.auto=0", "maintenance.auto=false")
VERBS = (("write",), ("repack",), ("expire", "--grace=now"))
GITS_OWN = (("write",), ("repack", "--batch-size=0"), ("expire",))


class Place(NamedTuple):
    """Folder of the demo, and the environment of its git."""

    root: str
    env: dict[str, str]

    def path(self, name: str) -> str:
        return os.path.join(self.root, name)


class Measured(NamedTuple):
    """State of a repository for its readers. `digest` covers every object's id, type, size and content."""

    packs: int
    files: int
    size: int
    objects: int
    digest: str
    clone_seconds: float
    walk_seconds: float


def main(options: list[str] | None = None) -> int:
    """Run the demo, and return the exit status: 0, or 1 if a repository lost an object."""
    args = parser().parse_args(sys.argv[1:] if options is None else options)
    try:
        with _place(args.keep) as place:
            return _show(place, args.pushes)
    except GpaError as error:
        words = str(error)  # git's own come with their prefix
        print(words if words.startswith(("fatal:", "error:")) else f"fatal: {words}", file=sys.stderr)
    except OSError as error:
        print(f"fatal: {error.filename or 'the demo'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return INTERRUPTED_STATUS
    return FATAL_STATUS


def parser() -> Parser:
    made = Parser("python -m gpa_maint.cli.demo", "Watch git gpa at work, beside stock git.")
    made.add_argument(
        "--pushes", metavar="<n>", type=count_option, default=DEFAULT_PUSHES, help="how many (default %(default)s)"
    )
    made.add_argument("--keep", metavar="<dir>", help="make the repositories there, and leave them")
    return made


@contextmanager
def _place(keep: str | None) -> Iterator[Place]:
    if shutil.which("git-gpa", path=_search_path()) is None:
        raise GpaError("'git-gpa' is not in PATH; install the package first")
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="git-gpa-demo-", ignore_cleanup_errors=True) as root:
            yield Place(root, _environment(root))
        return
    os.makedirs(keep, exist_ok=True)
    if os.listdir(keep):
        raise GpaError(f"'{keep}' is not empty")
    root = os.path.abspath(keep)
    yield Place(root, _environment(root))
    print(f"\nThe repositories are in {root}: server (git gpa), copy (git itself), client.")


def _search_path() -> str:
    """Return PATH with this Python's programs first, so that `git gpa` is the one beside it."""
    return os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])


def _environment(home: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("GIT_", "XDG_", "LC_"))}
    return kept | {
        "HOME": home,
        "PATH": _search_path(),
        "LC_ALL": "C",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _git(place: Place, repo: str, *words: str) -> str:
    """Run git in a repository of the demo, and return its standard output."""
    argv = ["git", "-C", place.path(repo), *words]
    done = subprocess.run(argv, env=place.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GitFailed(argv, done.returncode, done.stderr)
    return done.stdout


# ---- the pushes ----


def _make_repo(place: Place, name: str, settings: Iterable[str]) -> None:
    words = ("-c", "init.defaultBranch=main", "init", "--quiet", "--bare", "--template=", place.path(name))
    _git(place, ".", *words)
    for setting in settings:
        key, _, value = setting.partition("=")
        _git(place, name, "config", key, value)


def _push_all(place: Place, pushes: int) -> None:
    """Push each commit of the client to the server on its own."""
    _make_repo(place, "server", SERVER_SETTINGS)
    _make_repo(place, "client", ("gc.auto=0",))
    _import_history(place, pushes)
    commits = _git(place, "client", "rev-list", "--reverse", "main").split()
    server = place.path("server")
    hidden = not sys.stderr.isatty()
    pushing = tqdm(commits, "Pushing", unit=" pushes", disable=hidden, **bar_place())
    for commit in pushing:
        _git(place, "client", "push", "--quiet", server, f"{commit}:refs/heads/main")


def _import_history(place: Place, commits: int) -> None:
    argv = ["git", "-C", place.path("client"), "fast-import", "--quiet"]
    with subprocess.Popen(argv, env=place.env, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stderr is not None
        try:
            for piece in _history(commits):
                process.stdin.write(piece)
            process.stdin.close()
        except BrokenPipeError:
            pass  # git says why on stderr
        complaint = process.stderr.read()
    if process.returncode:
        raise GitFailed(argv, process.returncode, complaint.decode("utf-8", "replace"))


def _history(commits: int) -> Iterator[bytes]:
    """Yield a git-fast-import(1) stream: documents in folders; each commit changes a few lines of a few documents."""
    rng = random.Random(1)
    words = ["".join(rng.choices("abcdefghilmnoprstuvy", k=rng.randint(2, 9))) for _ in range(500)]
    names = [f"folder-{number // FILES_IN_FOLDER}/note-{number}.txt" for number in range(FOLDERS * FILES_IN_FOLDER)]
    files = {name: [_line(rng, words) for _ in range(LINES_IN_FILE)] for name in names}
    for number in range(commits):
        edited = rng.sample(names, EDITED_FILES) if number else names
        for name in edited:
            for at in rng.sample(range(LINES_IN_FILE), EDITED_LINES):
                files[name][at] = _line(rng, words)
        yield _commit(number, {name: "".join(files[name]).encode() for name in edited})


def _line(rng: random.Random, words: list[str]) -> str:
    return " ".join(rng.choices(words, k=WORDS_IN_LINE)) + "\n"


def _commit(number: int, contents: dict[str, bytes]) -> bytes:
    message = f"edit {number}\n".encode()
    lines = [
        b"commit refs/heads/main\n",
        b"committer A Writer <writer@example.com> %d +0000\n" % (FIRST_COMMIT_TIME + 60 * number),
        b"data %d\n%b" % (len(message), message),
    ]
    lines += [
        b"M 100644 inline %b\ndata %d\n%b\n" % (name.encode(), len(text), text) for name, text in contents.items()
    ]
    return b"".join(lines)


# ---- measuring ----


def _measure(place: Place, repo: str) -> Measured:
    files = [os.path.join(at, name) for at, _, names in os.walk(place.path(f"{repo}/objects")) for name in names]
    objects, digest = _all_objects(place, repo)
    return Measured(
        packs=sum(name.endswith(".pack") for name in files),
        files=len(files),
        size=sum(os.path.getsize(name) for name in files),
        objects=objects,
        digest=digest,
        clone_seconds=min(_clone_seconds(place, repo) for _ in range(CLONES)),
        walk_seconds=min(_walk_seconds(place, repo) for _ in range(CLONES)),
    )


def _all_objects(place: Place, repo: str) -> tuple[int, str]:
    """Return the number of objects, and a digest of all of them."""
    argv = ["git", "-C", place.path(repo), "cat-file", "--batch-all-objects", "--batch"]
    digest = hashlib.sha256()
    with subprocess.Popen(argv, env=place.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while piece := process.stdout.read(READ_SIZE):
            digest.update(piece)
    if process.returncode:
        raise GitFailed(argv, process.returncode, "")
    names = _git(place, repo, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)")
    return names.count("\n"), digest.hexdigest()


def _seconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def _clone_seconds(place: Place, repo: str) -> float:
    words = ("clone", "--quiet", "--bare", "--no-local", place.path(repo), place.path("clone"))
    try:
        return _seconds(lambda: _git(place, ".", *words))
    finally:
        shutil.rmtree(place.path("clone"), ignore_errors=True)


def _walk_seconds(place: Place, repo: str) -> float:
    return _seconds(lambda: _git(place, repo, "rev-list", "--objects", "--all"))


# ---- the show ----


def _show(place: Place, pushes: int) -> int:
    _say(f"Making a server that gets {pushes} pushes, as git push sends them ...")
    _push_all(place, pushes)
    shutil.copytree(place.path("server"), place.path("copy"), symlinks=True)
    _say(f"\nReading it: all objects, {CLONES} clones, {CLONES} walks ...")
    before = _measure(place, "server")
    _say("\nThe same server under git gpa:")
    ours = sum(_run_verb(place, *words) for words in VERBS)
    _run_verb(place, "verify", "--deep")
    _say("\nA copy under git itself:")
    theirs = sum(_run_stock(place, *words) for words in GITS_OWN)
    _say("\nReading both ...")
    after, stock = _measure(place, "server"), _measure(place, "copy")
    _say("\n" + _table(before, after, stock, ours, theirs))
    if len({before.digest, after.digest, stock.digest}) > 1:
        print("error: the repositories do not hold the same objects any more", file=sys.stderr)
        return 1
    _say(
        f"\nAll {before.objects} objects were read before and after, and are the same byte for byte.\n\n{_next_steps()}"
    )
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


def _run_verb(place: Place, *words: str) -> float:
    """Run `git gpa`, with its answers and progress on the terminal."""
    argv = ["git", "gpa", *words]
    _say(f"$ {' '.join(argv)}")
    return _seconds(lambda: _watch(argv, place))


def _watch(argv: list[str], place: Place) -> None:
    status = subprocess.run(argv, cwd=place.path("server"), env=place.env, check=False).returncode
    if status:
        raise GitFailed(argv, status, "")


def _run_stock(place: Place, *words: str) -> float:
    _say(f"$ git multi-pack-index {' '.join(words)}")
    return _seconds(lambda: _git(place, "copy", "multi-pack-index", *words))


def _table(before: Measured, after: Measured, stock: Measured, ours: float, theirs: float) -> str:
    every = (before, after, stock)
    rows = [
        ("", "after the pushes", "git gpa", "multi-pack-index"),
        ("packs", *(str(one.packs) for one in every)),
        ("files in objects/", *(str(one.files) for one in every)),
        ("bytes in objects/", *(human_size(one.size) for one in every)),
        ("objects", *(str(one.objects) for one in every)),
        (f"a clone, best of {CLONES}", *(_time(one.clone_seconds) for one in every)),
        ("rev-list --objects --all", *(_time(one.walk_seconds) for one in every)),
        ("write, repack, expire took", "", _time(ours), _time(theirs)),
    ]
    return "\n".join(f"{row[0]:<28}" + "".join(f"{cell:>18}" for cell in row[1:]) for row in rows)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


def _next_steps() -> str:
    python = os.path.relpath(sys.executable)
    python = sys.executable if python.startswith(os.pardir) else python
    return "\n".join(
        [
            "Next:",
            f"  {python} -m gpa_maint.cli.demo --pushes=1000 --keep=<dir>   a longer one that stays, to look around in",
            "  git gpa repack -n     in a repository of yours: what would be merged, and why; changes nothing",
            "  git-gpa --help        the manual",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
