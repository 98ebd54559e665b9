"""Who else works in a repository: each command of stock git that writes or deletes, JGit, dulwich and libgit2.

Nothing here uses gpa_maint. `tests/git/test_neighbours.py` lets each of them at a repository that we keep.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from histories import Push, send_push
from jgit import Unknown, jgit
from oracle import git

STOCK = {
    "repack -d": ["repack", "-q", "-d"],
    "repack -a -d": ["repack", "-q", "-a", "-d"],
    "repack -A -d": ["repack", "-q", "-A", "-d"],
    "repack -a -d -l": ["repack", "-q", "-a", "-d", "-l"],
    "repack -a -d -f": ["repack", "-q", "-a", "-d", "-f"],
    "repack -a -d -k": ["repack", "-q", "-a", "-d", "-k"],
    "repack --cruft -d": ["repack", "-q", "--cruft", "-d"],
    "repack --geometric": ["repack", "-q", "--geometric=2", "-d"],
    "repack --write-midx": ["repack", "-q", "-a", "-d", "--write-midx"],
    "repack -a -d -b": ["repack", "-q", "-a", "-d", "-b"],
    "gc": ["gc", "-q"],
    "gc --cruft": ["gc", "-q", "--cruft"],
    "gc --prune=now": ["gc", "-q", "--prune=now"],
    "gc --aggressive": ["gc", "-q", "--aggressive"],
    "prune": ["prune", "--expire=2.weeks.ago"],
    "prune now": ["prune", "--expire=now"],
    "prune-packed": ["prune-packed"],
    "multi-pack-index write": ["multi-pack-index", "write"],
    "multi-pack-index repack": ["multi-pack-index", "repack"],
    "multi-pack-index expire": ["multi-pack-index", "expire"],
    "maintenance gc": ["maintenance", "run", "--quiet", "--task=gc"],
    "maintenance loose-objects": ["maintenance", "run", "--quiet", "--task=loose-objects"],
    "maintenance incremental-repack": ["maintenance", "run", "--quiet", "--task=incremental-repack"],
    "maintenance geometric-repack": ["maintenance", "run", "--quiet", "--task=geometric-repack"],
    "maintenance pack-refs": ["maintenance", "run", "--quiet", "--task=pack-refs"],
    "maintenance commit-graph": ["maintenance", "run", "--quiet", "--task=commit-graph"],
}
"""Each stock command that writes or deletes packs; a git that does not know one says so and changes nothing."""

BESIDE_PACKS = {
    "maintenance prefetch": ["maintenance", "run", "--quiet", "--task=prefetch"],
    "maintenance reflog-expire": ["maintenance", "run", "--quiet", "--task=reflog-expire"],
    "maintenance worktree-prune": ["maintenance", "run", "--quiet", "--task=worktree-prune"],
    "maintenance rerere-gc": ["maintenance", "run", "--quiet", "--task=rerere-gc"],
    "multi-pack-index write --bitmap": ["multi-pack-index", "write", "--bitmap"],
    "commit-graph write": ["commit-graph", "write", "--reachable"],
    "pack-refs": ["pack-refs", "--all", "--prune"],
    "reflog expire": ["reflog", "expire", "--all", "--expire=now", "--expire-unreachable=now"],
    "worktree prune": ["worktree", "prune", "--expire=now"],
}
"""Commands that write, but should neither add nor delete a pack or a loose object."""

UNKNOWN = ("is not a valid task", "unknown option", "usage: ")


class Scene(NamedTuple):
    """What a neighbour is let at: a bare repository, and where pushes to it come from."""

    repo: Path
    client: Path
    push: Push
    pack: bytes
    """Some objects that the repository lacks, as a pack."""


Neighbour = Callable[[Scene], None]


def _stock(words: list[str], scene: Scene) -> None:
    done = git(scene.repo, *words, check=False)
    if done.returncode and any(text in done.stderr for text in UNKNOWN):
        raise Unknown(done.stderr)
    # `multi-pack-index repack` and `expire` end with 1 where there is no index, for example.


def _push(scene: Scene) -> None:
    send_push(scene.client, scene.repo, scene.push)


def _fetch(scene: Scene) -> None:
    git(scene.client, "config", "uploadpack.allowAnySHA1InWant", "true")
    wanted = [f"{update.oid}:refs/fetched/{number}" for number, update in enumerate(scene.push) if update.oid]
    git(scene.repo, "fetch", "-q", scene.client.resolve(), *wanted)


def _with_pack(words: list[str], scene: Scene) -> None:
    git(scene.repo, *words, input=scene.pack)


def _fast_import(scene: Scene) -> None:
    commit = "commit refs/heads/imported\ncommitter a <a@e> 1 +0000\ndata 2\nm\n"
    git(scene.repo, "fast-import", "--quiet", input=f"{commit}M 100644 inline name\ndata 9\nimported\n\n")


def _commit(scene: Scene) -> None:
    blob = git(scene.repo, "hash-object", "-w", "--stdin", input="committed by git\n").stdout.strip()
    tree = git(scene.repo, "mktree", input=f"100644 blob {blob}\tfile\n").stdout.strip()
    commit = git(scene.repo, "commit-tree", "-m", "by git", tree).stdout.strip()
    git(scene.repo, "update-ref", "refs/heads/committed", commit)


# -- JGit


def _jgit_gc(settings: Mapping[str, str], scene: Scene) -> None:
    for name, value in settings.items():
        git(scene.repo, "config", name, value)
    try:
        jgit(scene.repo, "gc")
    finally:
        for name in settings:
            git(scene.repo, "config", "--unset", name)


# -- dulwich


def _dulwich(work: str, scene: Scene) -> None:
    try:
        from dulwich import gc
        from dulwich.repo import Repo
    except ImportError as error:
        raise Unknown(str(error)) from error
    with Repo(str(scene.repo)) as opened:
        match work:
            case "repack":
                opened.object_store.repack()
            case "gc":
                gc.garbage_collect(opened)
            case "gc, prune now":
                gc.garbage_collect(opened, grace_period=None)
            case "pack_loose_objects":
                opened.object_store.pack_loose_objects()
            case _:
                _write_with_dulwich(opened)


def _write_with_dulwich(opened: object) -> None:
    from dulwich.objects import Blob, Commit, Tree
    from dulwich.repo import Repo

    assert isinstance(opened, Repo)
    blob = Blob.from_string(b"by dulwich\n")
    tree = Tree()
    tree.add(b"file", 0o100644, blob.id)
    commit = Commit()
    commit.tree, commit.author, commit.committer = tree.id, b"a <a@e>", b"a <a@e>"
    commit.author_time = commit.commit_time = 1
    commit.author_timezone = commit.commit_timezone = 0
    commit.message = b"m"
    opened.object_store.add_object(blob)
    opened.object_store.add_objects([(tree, None), (commit, None)])
    opened.refs[b"refs/heads/dulwich"] = commit.id  # type: ignore[index]


# -- libgit2


def _pygit2(work: str, scene: Scene) -> None:
    try:
        import pygit2
    except ImportError as error:
        raise Unknown(str(error)) from error
    opened = pygit2.Repository(str(scene.repo))
    if work == "pack":
        opened.pack()
        return
    builder = opened.TreeBuilder()
    builder.insert("file", opened.create_blob(b"by pygit2\n"), pygit2.enums.FileMode.BLOB)
    who = pygit2.Signature("a", "a@e", 1, 0)
    opened.create_commit("refs/heads/pygit2", who, who, "m", builder.write(), [])


NEIGHBOURS: dict[str, Neighbour] = {
    **{f"git {name}": partial(_stock, words) for name, words in STOCK.items()},
    **{f"git {name}": partial(_stock, words) for name, words in BESIDE_PACKS.items()},
    "git receive-pack (a push)": _push,
    "git fetch": _fetch,
    "git fast-import": _fast_import,
    "git index-pack --stdin": partial(_with_pack, ["index-pack", "--stdin"]),
    "git unpack-objects": partial(_with_pack, ["unpack-objects", "-q"]),
    "git hash-object, commit-tree": _commit,
    "JGit gc": partial(_jgit_gc, {}),
    "JGit gc, prune now": partial(_jgit_gc, {"gc.pruneExpire": "now", "gc.prunePackExpire": "now"}),
    "dulwich gc": partial(_dulwich, "gc"),
    "dulwich gc, prune now": partial(_dulwich, "gc, prune now"),
    "dulwich repack": partial(_dulwich, "repack"),
    "dulwich pack_loose_objects": partial(_dulwich, "pack_loose_objects"),
    "dulwich add_objects": partial(_dulwich, "add_objects"),
    "libgit2 create_commit": partial(_pygit2, "create_commit"),
    "libgit2 pack": partial(_pygit2, "pack"),
}


# -- Those who read, and were there before


class LongReader(NamedTuple):
    """Somebody who has the repository open: `read` gives an object's content."""

    read: Callable[[str], bytes]
    close: Callable[[], None]


def _dulwich_reader(repo: Path) -> LongReader:
    from dulwich.repo import Repo

    opened = Repo(str(repo))
    return LongReader(lambda oid: bytes(opened[oid.encode()].as_raw_string()), opened.close)


def _libgit2_reader(repo: Path) -> LongReader:
    import pygit2

    opened = pygit2.Repository(str(repo))

    def read(oid: str) -> bytes:
        try:
            return opened.odb.read(oid)[1]
        except (KeyError, pygit2.GitError):  # once, on a pack whose idx it had mapped: docs/promises.md, I2
            return opened.odb.read(oid)[1]

    return LongReader(read, opened.free)


READERS: dict[str, Callable[[Path], LongReader]] = {
    "dulwich, open meanwhile": _dulwich_reader,
    "libgit2, open meanwhile": _libgit2_reader,
}
