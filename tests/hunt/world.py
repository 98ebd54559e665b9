"""A repository to be hunted in: its gits, its clients, the processes that run in it, and the promises made there.

Nothing of gpa_maint is imported here: with `stock` the same hunt runs without it.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal, NamedTuple

from oracle import ObjectFormat, gits, isolated_environment

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
VENV_BIN = Path(sys.executable).parent

DELETING = frozenset({"repack", "gc", "maintenance"})

PROCESS_SECONDS = 120
"""Nothing in these small repositories takes so long: a process that does hangs."""

CONFIG = {
    # The hunt itself decides when git maintains: two of git's maintenance commands at once lose objects to one another.
    "receive.autogc": "false",
    "maintenance.auto": "false",
    "gc.autoDetach": "false",
    "maintenance.autoDetach": "false",
    "receive.denyCurrentBranch": "ignore",
    # Small limits, so that a few steps make every kind of page.
    "gpa.expireGrace": "now",
    "gpa.autoLoose": "1",
    "gpa.autoPages": "3",
    "gpa.autoUnindexed": "1",
    "gpa.autoRefs": "5",
    "gpa.pageObjects": "40",
    "gpa.maxPages": "8",
}

Kind = Literal["page", "loose", "packed", "again"]
"""Why an acknowledged object that no ref names has to stay: see Ledger."""


class Done(NamedTuple):
    status: int
    stdout: bytes
    stderr: str


class Mark(NamedTuple):
    """A moment in a ledger's life."""

    packed: int
    dropped: int
    pruned: int


class Ledger:
    """Objects whose writer was told that they are stored. They must stay, whether a ref names them or not.

    page    A writer of git-gpa made it. It stays until a command prunes with an expiry time of now.
    loose   A stock writer made it. Some of git's commands put unreachable loose objects into a pack:
            repack --geometric, the loose-objects task, cruft packs. Then it counts as packed.
    packed  `git repack -a -d` drops unreachable objects from packs, without git-gpa too. The promise ends there.
    again   It was written again as a loose object, and a cruft pack has it with its old time. Whatever of git's runs
            `git prune-packed` deletes the young one, and then the next cruft pack is made without the old one.

    Where steps overlap, a command counts as having touched every object of a writer that was at work meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kinds: dict[str, Kind] = {}
        self._now = Mark(0, 0, 0)

    def mark(self) -> Mark:
        with self._lock:
            return self._now

    def promise(self, oids: Iterable[str], kind: Kind, since: Mark) -> None:
        with self._lock:
            if since.pruned != self._now.pruned:
                return
            if kind == "loose" and since.packed != self._now.packed:
                kind = "packed"
            if kind == "packed" and since.dropped != self._now.dropped:
                return
            self._kinds.update(dict.fromkeys(oids, kind))

    def promised(self) -> list[str]:
        with self._lock:
            return list(self._kinds)

    def loose_are_packed(self) -> None:
        with self._lock:
            self._now = self._now._replace(packed=self._now.packed + 1)
            for oid, kind in self._kinds.items():
                self._kinds[oid] = "packed" if kind == "loose" else kind

    def packed_are_dropped(self) -> None:
        with self._lock:
            self._now = self._now._replace(dropped=self._now.dropped + 1)
            self._kinds = {oid: kind for oid, kind in self._kinds.items() if kind not in ("packed", "again")}

    def again_are_pruned(self) -> None:
        """Nobody writes an object again meanwhile (see World.pruning)."""
        with self._lock:
            self._kinds = {oid: kind for oid, kind in self._kinds.items() if kind != "again"}

    def loose_are_ours(self) -> None:
        """In a sequence: ours has put all loose objects into pages."""
        with self._lock:
            self._kinds = {oid: "page" if kind in ("loose", "again") else kind for oid, kind in self._kinds.items()}

    def all_may_go(self) -> None:
        with self._lock:
            self._now = self._now._replace(pruned=self._now.pruned + 1)
            self._kinds.clear()


class Traffic:
    """Keeps `git repack -a -d` away from writers whose loose objects another command of git's has just packed.

    Stock git alone loses objects there: repack --geometric and the loose-objects task put loose objects that nothing
    names yet into a pack, and repack -a -d drops them from it before the writer makes its branch point at them. The
    hunt with --stock finds that within a minute if nobody waits here.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._writing: dict[int, int] = {}
        self._count = 0
        self._packed = 0

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            self._count += 1
            mine = self._count
            self._writing[mine] = self._packed
        try:
            yield
        finally:
            with self._changed:
                del self._writing[mine]
                self._changed.notify_all()

    def loose_are_packed(self) -> None:
        with self._changed:
            self._packed += 1

    def wait_for_packed_writers(self) -> None:
        """Until every writer that was at work while loose objects were packed has ended."""
        with self._changed:
            self._changed.wait_for(lambda: all(at == self._packed for at in self._writing.values()), PROCESS_SECONDS)


def compile_shim(folder: Path) -> Path:
    library = folder / "shim.so"
    subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, HERE / "shim.c", "-ldl"], check=True)
    return library


def known_gits() -> list[str]:
    """The absolute paths of the gits to hunt with, the oldest (the one in PATH) first."""
    found = [subprocess.run(["which", program], capture_output=True, text=True).stdout.strip() for program in gits()]
    return list(dict.fromkeys(path for path in found if path))


@dataclass
class Hunt:
    """What all worlds of one hunt share."""

    folder: Path
    programs: list[str]
    shim: Path
    environment: Mapping[str, str]
    stock: bool = False
    delay_ms: int = 30
    fault: str = ""


def open_hunt(folder: Path, *, stock: bool = False, delay_ms: int = 30, fault: str = "") -> Hunt:
    """A hunt in an empty folder. `fault` is the name of a step that loses objects on purpose."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = isolated_environment(folder / "home")
    environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'tests'}"
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    return Hunt(folder, known_gits(), compile_shim(folder), environment, stock, delay_ms, fault)


@dataclass
class World:
    """One repository and all that happens to it."""

    hunt: Hunt
    folder: Path
    object_format: ObjectFormat
    ledger: Ledger = field(default_factory=Ledger)
    traffic: Traffic = field(default_factory=Traffic)
    delay_ms: int = 0
    overlapping: bool = False
    old_documents: list[bytes] = field(default_factory=list)
    healing: int = 0
    """How often one of ours was killed, or the next one had put right what it left: odd in between. An index that git
    writes at the moment of the kill may name a pack that was hidden, and git is refused its objects until then."""
    shelved: set[str] = field(default_factory=set)
    """Objects that have to be in the uploaded pages too."""
    heads: dict[str, str] = field(default_factory=dict)
    """Acknowledged tips of branches that only go forward."""
    complaints: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    """What was done, with times: the trace of steps."""
    seed: int = 0
    killed: bool = False
    """Something was killed, and may have left an index that the next run has to put right."""
    one_heals: threading.Lock = field(default_factory=threading.Lock)
    lock: threading.RLock = field(default_factory=threading.RLock)
    deleting: int = 0
    """How often a command of git's that deletes packs began or ended: odd while one is at work."""
    pruning: threading.Lock = field(default_factory=threading.Lock)
    """Held by git's maintenance, and by whoever writes an object again that is old enough to be pruned."""

    @property
    def repo(self) -> Path:
        return self.folder / "server.git"

    @property
    def trace(self) -> Path:
        return self.folder / "trace"

    @property
    def grave(self) -> Path:
        return self.folder / "grave"

    def say(self, text: str) -> None:
        with self.lock:
            self.lines.append(f"{time.time():.4f} {text}")

    # -- processes

    def environment(self, seed: int, program: str, *, stop: str = "", slow: bool = True) -> dict[str, str]:
        path = f"{Path(program).parent}:{VENV_BIN}:{os.environ['PATH']}"
        found = {**self.hunt.environment, "PATH": path, "GPA_HUNT_ID": str(self.folder)}
        if slow:
            found |= {
                "LD_PRELOAD": str(self.hunt.shim),
                "GPA_HUNT_SEED": str(seed),
                "GPA_HUNT_DELAY": str(self.delay_ms),
                "GPA_HUNT_TRACE": str(self.trace),
                "GPA_HUNT_GRAVE": str(self.grave),
            }
        return found | ({"GPA_HUNT_STOP": stop} if stop else {})

    def run(
        self,
        argv: list[str],
        random: Random,
        *,
        program: str = "",
        cwd: Path | None = None,
        input: bytes | None = None,
        slow: bool = True,
        kill_after: float = 0,
        stop: str = "",
    ) -> Done:
        """Run a command, its first word `git` being `program`, or one of the gits at random. Says so in the trace.

        With `kill_after` the process and its children are killed after so many seconds, if they still run.
        """
        program = program or random.choice(self.hunt.programs)
        healing = self.healing
        deletes = not DELETING.isdisjoint(argv)
        self.deleting += deletes
        if argv[0] == "git":
            argv = [program, *argv[1:]]
        with subprocess.Popen(
            argv,
            cwd=cwd or self.repo,
            env=self.environment(random.getrandbits(32), program, stop=stop, slow=slow),
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                out, error = process.communicate(input, timeout=kill_after or PROCESS_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, error = process.communicate()
                if not kill_after:
                    self.complain(f"hangs: {shlex.join(argv)}")
        self.deleting += deletes
        done = Done(process.returncode, out, error.decode(errors="replace"))
        if slow:
            self._note(argv, done, process.pid, sound=healing == self.healing and not healing % 2)
        return done

    def heal(self) -> None:
        """Let one of ours put right what a killed one left, as soon as no other one is at work."""
        with self.one_heals:
            self.healing += 1
            for _ in range(50):
                done = self.run(["git-gpa", "write"], Random(0), slow=False)
                if done.status != 128:
                    break
                time.sleep(0.1)
            self.healing += 1

    def _note(self, argv: list[str], done: Done, pid: int, *, sound: bool) -> None:
        """`sound`: nobody of ours was killed meanwhile, and left something to be put right."""
        words = shlex.join(argv).replace(str(self.folder), ".")
        self.say(f"{pid} ends with {done.status}: {words}" + (f"\n    {done.stderr.strip()}" if done.status else ""))
        if done.status == -signal.SIGKILL:
            self.killed = True
        if self.overlapping and words.startswith(("git-gpa verify", "git-gpa repair")) and done.status == 1:
            return  # a pack may be on its way, or have just been deleted; the same is asked again at the end
        if self.overlapping and "could not load pack" in done.stderr:
            return  # newer gits write no index over one that names such a pack; readers go on, and judge
        unread = UNREAD_BY_CRUFT.search(done.stderr) or PARENT_PRUNED.search(done.stderr)
        if unread and not words.startswith("git-gpa") and unread[1] not in self.ledger.promised():
            return  # whether what refs name is there is asked again at the end
        if not sound and "Traceback" not in done.stderr:
            return
        if _is_wrong(words, done):
            self.complain(f"exit status {done.status}: {words}\n{done.stderr}")

    def complain(self, text: str) -> None:
        """What is wrong whatever becomes of the objects: a traceback, a process that hangs."""
        with self.lock:
            self.complaints.append(text)

    def git(self, random: Random, *args: str, **options: object) -> Done:
        return self.run(["git", *args], random, **options)  # type: ignore[arg-type]

    def quick(self, *args: str, input: bytes | None = None, cwd: Path | None = None) -> str:
        """A git command of the hunter's own, without delays. Its output, stripped; empty when it failed."""
        done = self.run(["git", *args], Random(0), program=self.hunt.programs[0], input=input, cwd=cwd, slow=False)
        return done.stdout.decode().strip() if not done.status else ""

    def wait_for_the_rest(self) -> None:
        """Wait for what steps left in the background, as hooks do."""
        tag = f"GPA_HUNT_ID={self.folder}".encode()
        deadline = time.monotonic() + PROCESS_SECONDS
        while time.monotonic() < deadline:
            if not any(_has(entry, tag) for entry in os.scandir("/proc") if entry.name.isdigit()):
                return
            time.sleep(0.02)
        self.complain("something still runs in the background")


# A command that was refused an object that has to be there is a reader, too.
REFUSED = re.compile(
    r"missing|bad object|unable to (read|find)|could not (read|load|parse)|cannot (be accessed|read)"
    r"|corrupt|invalid object"
)
# A bitmap needs every object in a pack, which is not so while there are loose ones.
NO_BITMAP = re.compile(r"Packfile doesn't have full closure")
# `git worktree add` writes a HEAD of zeros first: whoever looks at all refs then is refused it, without git-gpa too.
NEW_WORKTREE = re.compile(r"bad object worktrees/[^/]*/HEAD")
# git looks for an object and finds none, then looks why, and meanwhile somebody has written it: without git-gpa too.
JUST_WRITTEN = re.compile(r"fatal: loose object [0-9a-f]+ \(stored in [^)]*\) is corrupt")
# `git repack -a -d` drops a commit that nothing names, and the commit-graph goes on naming it. A cruft pack is made of
# what is younger and its parents; git finds the dropped one in the commit-graph, and dies: without git-gpa too.
UNREAD_BY_CRUFT = re.compile(r"fatal: unable to read ([0-9a-f]{40,64})$", re.MULTILINE)
# A branch is deleted while git collects commits for a commit-graph, and `git gc` prunes a parent: without git-gpa too.
PARENT_PRUNED = re.compile(r"BUG: commit-graph.c:[0-9]+: missing parent ([0-9a-f]{40,64}) for commit")
# What our verbs may say when they do nothing, since another one or git's maintenance is at work.
BUSY = re.compile(
    r"cannot lock|is at work|is running|runs in|inside a quarantine|again later is safe|Another git process"
)
USAGE = 129


def _is_wrong(words: str, done: Done) -> bool:
    """Whether a step has failed in a way that it must not."""
    if not done.status:
        return False
    if "writers stock-" in words:
        return (
            False  # they fail where git removes an empty folder of loose objects; they have acknowledged nothing then
        )
    if "Traceback" in done.stderr or (done.status == USAGE and "geometric-repack" not in words):
        return True
    if any(pattern.search(done.stderr) for pattern in (NO_BITMAP, NEW_WORKTREE, JUST_WRITTEN)):
        return False
    if words.startswith("git-gpa") and done.status not in (75, -9):
        return not BUSY.search(done.stderr)
    return bool(REFUSED.search(done.stderr))


def _has(entry: os.DirEntry[str], tag: bytes) -> bool:
    try:
        return tag in Path(entry.path, "environ").read_bytes().split(b"\0")
    except OSError:
        return False  # gone, or not ours


def make_world(hunt: Hunt, name: str, random: Random, *, delay_ms: int) -> World:
    """A bare repository with one commit on the branch `base`, an upstream to fetch from, and two clients."""
    object_format: ObjectFormat = random.choice(("sha1", "sha1", "sha1", "sha256"))
    world = World(hunt, Path(tempfile.mkdtemp(prefix=f"{name}-", dir=hunt.folder)), object_format, delay_ms=delay_ms)
    world.grave.mkdir()
    options = ["-q", f"--object-format={object_format}"]
    for repo in (world.repo, world.folder / "upstream.git"):
        world.quick("init", "--bare", *options, str(repo), cwd=world.folder)
    config = "".join(f"[{key.rpartition('.')[0]}]\n\t{key.rpartition('.')[2]} = {CONFIG[key]}\n" for key in CONFIG)
    if random.random() < 0.5:
        config += "[core]\n\tlogAllRefUpdates = true\n"
    with (world.repo / "config").open("a") as file:
        file.write(config)
    import_commit(world, world.repo, "refs/heads/base", "", Random(0), files=5)
    world.heads["refs/heads/base"] = world.quick("rev-parse", "refs/heads/base")
    world.quick("symbolic-ref", "HEAD", "refs/heads/base")
    for client in ("client-0", "client-1"):
        world.quick("clone", "-q", "--bare", str(world.repo), str(world.folder / client), cwd=world.folder)
        world.quick("config", "gc.auto", "0", cwd=world.folder / client)
        world.quick("config", "maintenance.auto", "false", cwd=world.folder / client)
    return world


def document(random: Random) -> bytes:
    """A document that no other call makes: lines of which most occur in others too, so that deltas pay."""
    count = random.choice((1, 3, 10, 60))
    lines = [f"line {random.randrange(50)} of a document like many others\n" for _ in range(count)]
    return f"{random.getrandbits(64):x}\n{''.join(lines)}".encode()


def import_commit(world: World, repo: Path, ref: str, parent: str, random: Random, *, files: int) -> str:
    """A commit with new documents, made without delays in `repo`: its id, or nothing."""
    stream = f"commit {ref}\ncommitter A <a@example.com> {1_700_000_000 + random.randrange(10**6)} +0000\ndata 2\nc\n\n"
    stream += f"from {parent}\n" if parent else ""
    parts = [stream.encode()]
    for _ in range(files):
        content = document(random)
        name = f"{random.randrange(6)}/{random.randrange(40)}"
        parts.append(f"M 644 inline {name}\ndata {len(content)}\n".encode() + content + b"\n")
    world.quick("fast-import", "--quiet", "--force", input=b"".join(parts), cwd=repo)
    return world.quick("rev-parse", "-q", "--verify", ref, cwd=repo)


def digest(object_format: str, kind: str, content: bytes) -> str:
    return hashlib.new(object_format, b"%s %d\0" % (kind.encode(), len(content)) + content).hexdigest()


def idx_objects(world: World, idx: Path) -> set[str]:
    try:
        content = idx.read_bytes()
    except FileNotFoundError:
        return set()
    return {line.split()[1] for line in world.quick("show-index", input=content).splitlines()}
