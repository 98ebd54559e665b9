"""The steps that a hunt is made of: every command and library that writes to a repository or deletes there.

A step is a name and a seed, and all that it does follows from these and from the repository; so a recorded sequence can
be run again, and shortened. A step that finds nothing to work on does nothing.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from jgit import Unknown, jgit

from .world import CONFIG, World, document, idx_objects, import_commit
from .writers import OURS, SHA256, STOCK


@dataclass(frozen=True)
class Step:
    """`beside`: steps that are done while this one is stopped, at its n-th change ("<n>:<ms>")."""

    name: str
    seed: int
    stop: str = ""
    beside: tuple[Step, ...] = ()

    def __str__(self) -> str:
        text = f"{self.name}:{self.seed}"
        return f"{text} stopped at {self.stop} beside [{', '.join(map(str, self.beside))}]" if self.beside else text


@dataclass(frozen=True)
class Kind:
    """`lane`: steps of one lane never overlap each other, in a hunt with overlaps."""

    do: Callable[..., None]
    lane: str
    weight: int


KINDS: dict[str, Kind] = {}


def step(lane: str, weight: int = 2) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def register(function: Callable[..., None]) -> Callable[..., None]:
        KINDS[function.__name__.replace("_", "-")] = Kind(function, lane, weight)
        return function

    return register


LOOSE_WRITERS = ("client-0", "client-1", "fetch", "worktree", "stock-writer")
"""Lanes of steps that make loose objects first, and name them later."""


def do(world: World, one: Step, **options: Any) -> None:
    kind = KINDS[one.name]
    world.say(f"step {one.name}:{one.seed}")
    with world.traffic.writing() if kind.lane in LOOSE_WRITERS else nullcontext():
        kind.do(world, Random(one.seed), **options)


# -- What brings objects


def _push(world: World, random: Random, client: int, **options: Any) -> None:
    """Push a client's branch: the one that only goes forward, or another one, which may be rewound or deleted."""
    repo = world.folder / f"client-{client}"
    forward = random.random() < 0.7
    branch = f"refs/heads/{client}/{'forward' if forward else f'any-{random.randrange(3)}'}"
    start = branch
    if not forward and random.random() < 0.3:
        start = f"{branch}~1"
    parent = next(filter(None, (world.quick("rev-parse", "-q", "--verify", r, cwd=repo) for r in (start, "base"))))
    files = random.choice((1, 1, 1, 3, 3, 10, 130))
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        parent = import_commit(world, repo, branch, parent, random, files=files)
    unpack = random.choice(("-c receive.unpackLimit=1 ", "-c receive.unpackLimit=1 ", ""))
    command = ["push", "-q", random.choice(("--thin", "--no-thin")), *(() if forward else ("--force",))]
    command += [f"--receive-pack=git {unpack}receive-pack"]
    if not forward and random.random() < 0.15:
        done = world.git(random, *command, str(world.repo), f":{branch}", cwd=repo, **options)
        return
    done = world.git(random, *command, str(world.repo), f"{branch}:{branch}", cwd=repo, **options)
    if forward and not done.status and not done.stderr.strip():
        with world.lock:
            world.heads[branch] = parent


@step("client-0", 6)
def push_0(world: World, random: Random, **options: Any) -> None:
    _push(world, random, 0, **options)


@step("client-1", 6)
def push_1(world: World, random: Random, **options: Any) -> None:
    _push(world, random, 1, **options)


@step("fetch")
def fetch(world: World, random: Random, **options: Any) -> None:
    """The repository fetches a branch from elsewhere."""
    upstream = world.folder / "upstream.git"
    ref = f"refs/heads/up-{random.randrange(3)}"
    for _ in range(random.choice((1, 3))):
        parent = world.quick("rev-parse", "-q", "--verify", ref, cwd=upstream)
        import_commit(world, upstream, ref, parent, random, files=random.choice((1, 4, 130)))
    limit = random.choice(("1", "100"))
    world.git(random, "-c", f"fetch.unpackLimit={limit}", "fetch", "-q", str(upstream), f"+{ref}:{ref}", **options)


@step("worktree", 4)
def commit(world: World, random: Random, **options: Any) -> None:
    """A commit in a linked work tree, by git."""
    trees = sorted(world.folder.glob("tree-*"))
    if not trees:
        worktree_add(world, random, **options)
        return
    tree = random.choice(trees)
    for number in range(random.choice((1, 3, 12))):
        (tree / f"f{number}").write_bytes(document(random))
    world.git(random, "add", "-A", cwd=tree, **options)
    if random.random() < 0.8:
        world.git(random, "commit", "-q", "-m", "m", *random.choice(((), ("--amend",))), cwd=tree, **options)


@step("worktree")
def worktree_add(world: World, random: Random, **options: Any) -> None:
    number = random.randrange(3)
    tree = world.folder / f"tree-{number}"
    if not tree.exists():
        world.git(random, "worktree", "add", "-q", "-f", "-B", f"tree-{number}", str(tree), "base", **options)


@step("worktree", 1)
def worktree_remove(world: World, random: Random, **options: Any) -> None:
    for tree in sorted(world.folder.glob("tree-*"))[:1]:
        world.git(random, "worktree", "remove", "--force", str(tree), **options)
        world.git(random, "worktree", "prune", **options)


# -- Programs that write


def _write(world: World, random: Random, kinds: list[str], **options: Any) -> None:
    """A program writes objects, and may be killed meanwhile: what it acknowledged is promised."""
    if world.object_format == "sha256":
        kinds = [kind for kind in kinds if kind in SHA256]
    kind = random.choice(kinds)
    since = world.ledger.mark()
    kill_after = random.uniform(0.2, 1.5) if random.random() < 0.15 else 0
    argv = [os.sys.executable, "-m", "tests.hunt.writers", kind, str(world.repo), str(random.getrandbits(32))]
    done = world.run(argv, random, kill_after=kill_after, **options)
    for line in done.stdout.decode().splitlines():
        word, *rest = line.split()
        if word == "ref":
            with world.lock:
                world.heads[rest[0]] = rest[1]
        elif word == "shelf":
            world.ledger.promise(rest, "page", since)
            world.shelved.update(rest)
        else:
            world.ledger.promise(rest, word, since)  # type: ignore[arg-type]


@step("writer", 8)
def writer(world: World, random: Random, **options: Any) -> None:
    _write(world, random, sorted(OURS), **options)


@step("stock-writer", 3)
def stock_writer(world: World, random: Random, **options: Any) -> None:
    _write(world, random, sorted(STOCK), **options)


@step("stock-writer")
def old_document(world: World, random: Random, **options: Any) -> None:
    """An unreachable loose object that is forty days old: whoever writes it again makes it young."""
    content = document(random)
    oid = world.git(random, "hash-object", "-w", "--stdin", input=content, **options).stdout.decode().strip()
    path = world.repo / "objects" / oid[:2] / oid[2:]
    if path.exists():
        past = time.time() - 40 * 86400
        os.utime(path, (past, past))
        with world.lock:
            world.old_documents.append(content)


@step("stock-writer")
def old_document_again(world: World, random: Random, **options: Any) -> None:
    """It may be in a pack of git's, from which `git repack -a -d` may drop it: so it counts as packed."""
    if not world.old_documents:
        return
    content = random.choice(world.old_documents)
    # Git's prune looks at the time of a file, and unlinks it a moment later, although it was written again meanwhile.
    with world.pruning:
        since = world.ledger.mark()
        done = world.git(random, "hash-object", "-w", "--stdin", input=content, **options)
        if not done.status:
            oid = done.stdout.decode().strip()
            world.ledger.promise([oid], "again" if _is_in_cruft_pack(world, oid) else "packed", since)


def _is_in_cruft_pack(world: World, oid: str) -> bool:
    packs = (world.repo / "objects" / "pack").glob("*.mtimes")
    return any(oid in idx_objects(world, path.with_suffix(".idx")) for path in packs)


# -- Refs


@step("refs")
def pack_refs(world: World, random: Random, **options: Any) -> None:
    world.git(random, "pack-refs", "--all", *random.choice(((), ("--no-prune",))), **options)


@step("refs")
def reflog_expire(world: World, random: Random, **options: Any) -> None:
    how = random.choice((("--expire=now",), ("--expire=90.days",), ("--expire-unreachable=now",)))
    world.git(random, "reflog", "expire", *how, "--all", **options)


@step("refs")
def branch(world: World, random: Random, **options: Any) -> None:
    """A branch is made of one that stays, or deleted."""
    name = f"refs/heads/made-{random.randrange(4)}"
    if random.random() < 0.5:
        world.git(random, "update-ref", name, "refs/heads/base", **options)
    else:
        world.git(random, "update-ref", "-d", name, **options)


# -- Git's own maintenance: in one lane, since two of these at once lose objects to one another, without ours too


def _maintain(
    world: World, random: Random, *args: str, packs_loose: bool = False, drops: bool = False, **options: Any
) -> None:
    """`packs_loose`, `drops`: what the command may do to unreachable objects, as the ledger calls it."""
    if drops:
        world.traffic.wait_for_packed_writers()
    for _ in range(2):  # before and after it, since writers may be at work meanwhile
        if packs_loose:
            world.ledger.loose_are_packed()
            world.traffic.loose_are_packed()
        if drops:
            world.ledger.packed_are_dropped()
        if args:
            with world.pruning:
                world.ledger.again_are_pruned()
                world.git(random, *args, **options)
            args = ()


@step("git", 4)
def repack_all(world: World, random: Random, **options: Any) -> None:
    extra = random.choice(((), (), ("-f",), ("-l",), ("--write-midx",)))
    _maintain(world, random, "repack", "-q", "-a", "-d", *extra, drops=True, **options)


@step("git", 2)
def repack_loosen(world: World, random: Random, **options: Any) -> None:
    extra = random.choice(((), ("-l",), ("--write-midx",), ("--unpack-unreachable=2.weeks.ago",)))
    _maintain(world, random, "repack", "-q", "-A", "-d", *extra, **options)


@step("git")
def repack_keep(world: World, random: Random, **options: Any) -> None:
    _maintain(world, random, "repack", "-q", "-a", "-d", "-k", packs_loose=True, **options)


@step("git")
def repack_cruft(world: World, random: Random, **options: Any) -> None:
    how = random.choice(("never", "2.weeks.ago"))
    command = ("repack", "-q", "-d", "--cruft", f"--cruft-expiration={how}")
    _maintain(world, random, *command, packs_loose=True, **options)


@step("git", 4)
def repack_geometric(world: World, random: Random, **options: Any) -> None:
    extra = random.choice(((), (), ("--write-midx",), ("-l",)))
    _maintain(world, random, "repack", "-q", "--geometric=2", "-d", *extra, packs_loose=True, **options)


@step("git")
def repack_new(world: World, random: Random, **options: Any) -> None:
    _maintain(world, random, "repack", "-q", "-d", **options)


@step("git", 3)
def gc(world: World, random: Random, **options: Any) -> None:
    how = random.choice(
        (
            (),
            (),
            ("--auto",),
            ("--cruft",),
            ("--no-cruft",),
            ("--prune=2.weeks.ago",),
            ("--cruft", "--prune=2.weeks.ago"),
            ("--keep-largest-pack",),
        )
    )
    if random.random() < 0.05:
        how = ("--aggressive",)
    command = ("-c", "gc.auto=20", "-c", "gc.autoPackLimit=4", "gc", "-q", *how)
    _maintain(world, random, *command, packs_loose=True, **options)


@step("git")
def prune(world: World, random: Random, **options: Any) -> None:
    _maintain(world, random, "prune", "--expire=2.weeks.ago", **options)


@step("git")
def prune_packed(world: World, random: Random, **options: Any) -> None:
    _maintain(world, random, "prune-packed", "-q", **options)


@step("git", 3)
def midx_write(world: World, random: Random, **options: Any) -> None:
    extra = random.choice(((), (), ("--bitmap",)))
    _maintain(world, random, "multi-pack-index", "write", *extra, **options)


@step("git")
def midx_repack(world: World, random: Random, **options: Any) -> None:
    size = random.choice(("0", "2k", "20k"))
    _maintain(world, random, "multi-pack-index", "repack", f"--batch-size={size}", **options)


@step("git", 3)
def midx_expire(world: World, random: Random, **options: Any) -> None:
    _maintain(world, random, "multi-pack-index", "expire", **options)


@step("git", 3)
def maintenance(world: World, random: Random, **options: Any) -> None:
    task = random.choice(
        ("gc", "loose-objects", "loose-objects", "incremental-repack", "pack-refs", "commit-graph", "geometric-repack")
    )
    settings = ("-c", "maintenance.incremental-repack.auto=1", "-c", "gc.auto=20", "-c", "gc.autoPackLimit=4")
    # geometric-repack is a task of newer gits; the older ones refuse it.
    _maintain(world, random, *settings, "maintenance", "run", "--quiet", f"--task={task}", packs_loose=True, **options)


@step("jgit", 1)
def jgit_gc(world: World, random: Random, **options: Any) -> None:
    """JGit's, where it is installed. It knows SHA-1 alone."""
    del random, options
    if world.object_format == "sha1":
        world.traffic.wait_for_packed_writers()
        world.ledger.loose_are_packed()
        with world.pruning, suppress(Unknown):
            world.ledger.packed_are_dropped()
            jgit(world.repo, "gc")


@step("alone", 1)
def prune_now(world: World, random: Random, **options: Any) -> None:
    """What no ref, reflog or index names may go: never beside a writer, as git's manual says."""
    world.ledger.all_may_go()
    command = random.choice(
        (("gc", "-q", "--prune=now"), ("prune", "--expire=now"), ("gc", "-q", "--cruft", "--prune=now"))
    )
    world.git(random, *command, **options)
    world.ledger.all_may_go()


# -- Ours


def _gpa(world: World, random: Random, *args: str, **options: Any) -> None:
    """Killed now and then. In a sequence, where it leaves no loose object, all of them are in pages now."""
    kill_after = random.uniform(0.1, 0.8) if random.random() < 0.1 else 0
    done = world.run(["git-gpa", *args], random, kill_after=kill_after, **options)
    if world.overlapping and done.status == -signal.SIGKILL:
        world.heal()
    if args[0] in ("run", "add-loose") and not (world.overlapping or done.status or _has_loose(world)):
        world.ledger.loose_are_ours()


def _has_loose(world: World) -> bool:
    return any((world.repo / "objects").glob("[0-9a-f][0-9a-f]/*"))


@step("ours", 6)
def gpa_run(world: World, random: Random, **options: Any) -> None:
    _gpa(world, random, "run", *random.choice(((), ("--auto",))), **options)


@step("ours", 4)
def gpa_repack(world: World, random: Random, **options: Any) -> None:
    _gpa(world, random, "repack", *random.choice(((), (), ("--page-objects=5",), ("--batch-size=20k",))), **options)


@step("ours", 4)
def gpa_expire(world: World, random: Random, **options: Any) -> None:
    _gpa(world, random, "expire", *random.choice(((), ("--grace=now",), ("--grace=1",))), **options)


@step("ours", 3)
def gpa_write(world: World, random: Random, **options: Any) -> None:
    _gpa(world, random, "write", *random.choice(((), (), ("--bitmap",))), **options)


@step("ours", 2)
def gpa_add_loose(world: World, random: Random, **options: Any) -> None:
    _gpa(world, random, "add-loose", **options)


@step("ours", 1)
def gpa_repair(world: World, random: Random, **options: Any) -> None:
    """Where nothing is damaged."""
    _gpa(world, random, "repair", **options)


@step("ours", 1)
def gpa_verify(world: World, random: Random, **options: Any) -> None:
    _gpa(world, random, "verify", *random.choice(((), ("--deep",), ("--refs",))), **options)


@step("backup", 2)
def gpa_backup(world: World, random: Random, **options: Any) -> None:
    """A copy that is made or brought up to date. A killed one leaves the refs of the last one, and all they name."""
    backup = world.folder / "backup"
    _gpa(world, random, "backup", str(backup), **options)
    if not (backup / "HEAD").exists():
        return
    for program in world.hunt.programs:
        done = world.run(["git", "rev-list", "--objects", "--all"], random, program=program, cwd=backup, slow=False)
        if done.status or done.stderr:
            world.complain(f"the backup is not whole: {program} rev-list: {done.stderr}")


# -- A repository that borrows from this one


def _borrower(world: World) -> Path:
    repo = world.folder / "borrower.git"
    if not repo.exists():
        world.quick("clone", "-q", "--bare", "--shared", str(world.repo), str(repo), cwd=world.folder)
        for key, value in CONFIG.items():
            world.quick("config", key, value, cwd=repo)
        # Of the branches of the lender only this one is sure to stay.
        for line in world.quick("for-each-ref", "--format=%(refname)", cwd=repo).splitlines():
            if line != "refs/heads/base":
                world.quick("update-ref", "-d", line, cwd=repo)
    return repo


@step("borrower")
def borrow(world: World, random: Random, **options: Any) -> None:
    """Some commits on what is borrowed; then git or git-gpa maintains the borrower."""
    repo = _borrower(world)
    import_commit(world, repo, f"refs/heads/own-{random.randrange(3)}", "refs/heads/base", random, files=4)
    commands = [
        ["git", "repack", "-q", "-a", "-d", "-l"],
        ["git", "gc", "-q"],
        ["git", "multi-pack-index", "write"],
        *([] if world.hunt.stock else [["git-gpa", "run"], ["git-gpa", "repack"], ["git-gpa", "expire"]]),
    ]
    for command in random.sample(commands, 2):
        world.run(command, random, cwd=repo, **options)
    # The world complains when an object is not found.
    world.run(["git", "rev-list", "--objects", "--all"], random, cwd=repo, **options)


@step("alone", 1)
def gpa_install(world: World, random: Random, **options: Any) -> None:
    """From now on pushes and commits start `git gpa run` in the background; or no more."""
    _gpa(world, random, random.choice(("install", "install", "uninstall")), **options)
    for key in ("receive.autogc", "maintenance.auto"):
        world.quick("config", key, "false")


# -- The clock


@step("times", 3)
def pack_times(world: World, random: Random, **options: Any) -> None:
    """The mtimes of some packs go back or forward, by less than the two weeks after which git prunes."""
    del options
    packs = sorted((world.repo / "objects" / "pack").glob("pack-*.pack"))
    for path in random.sample(packs, min(len(packs), random.randint(1, 3))):
        change = random.choice((-1, -1, -2, -3, 1, 2, -60, -3600, -86400))
        try:
            at = path.stat().st_mtime + change
            os.utime(path, (at, at))
        except FileNotFoundError:
            continue
        world.say(f"mtime of {path.name}: {change:+d} s")


@step("keep", 2)
def keep(world: World, random: Random, **options: Any) -> None:
    """Somebody protects a pack, or ends that. Only in sequences: stock git's repack -a -d deletes a pack whose .keep
    appears while it runs."""
    del options
    packs = sorted((world.repo / "objects" / "pack").glob("pack-*.pack"))
    for path in random.sample(packs, min(len(packs), 1)):
        name = path.with_suffix(".keep")
        if not name.exists():
            name.write_text("kept by the hunt\n")
        elif name.read_text() == "kept by the hunt\n":
            name.unlink()


# -- A fault that is planted, so that a test can show that the hunter finds


@step("fault", 0)
def delete_a_pack(world: World, random: Random, **options: Any) -> None:
    """Deletes a pack without asking."""
    del options
    packs = sorted((world.repo / "objects" / "pack").glob("pack-*.pack"))
    if packs:
        path = random.choice(packs)
        for suffix in (".idx", ".keep", ".pack"):
            path.with_suffix(suffix).unlink(missing_ok=True)


@step("fault", 0)
def publish_without_a_pack(world: World, random: Random, **options: Any) -> None:
    """An index is there for a moment whose winner is not."""
    world.git(random, "repack", "-q", "-d", **options)
    world.git(random, "multi-pack-index", "write", **options)
    for path in sorted((world.repo / "objects" / "pack").glob("pack-*.pack"))[:1]:
        away = path.with_suffix(".away")
        try:
            path.rename(away)
            time.sleep(0.5 if world.overlapping else 0)
            if world.overlapping:
                away.rename(path)
        except FileNotFoundError:
            continue
