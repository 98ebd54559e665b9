"""Whether everything that has to be there can be read: by each git, and by PageStore, a new one and an older one."""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass, field
from random import Random
from typing import Any

from .world import World, digest, idx_objects

OID = re.compile(r"\b[0-9a-f]{40}(?:[0-9a-f]{24})?\b")

READER_SEED = 7

TRIES = 5
"""How often git reads anew beside a command of git's that deletes packs, each time in a new process.

`repack --geometric` deletes a small pack and leaves the objects that a large one has, too; any repack leaves those that
a pack with a .keep has. A git process that has loaded an index in which the deleted pack wins does not find them any
more, without git-gpa too: it looks into no other pack that the index names.
"""

DEAD_LOCK = re.compile(r"bad sha1 file: \S*\.lock$")
"""What dulwich leaves of a loose object when it is killed."""

KINDS = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
"""libgit2's numbers."""


@dataclass
class Findings:
    """`lost`: objects that are nowhere. `bad`: what a reader said of objects that are somewhere."""

    lost: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    checked: int = 0

    def __bool__(self) -> bool:
        return bool(self.lost or self.bad)

    @property
    def word(self) -> str:
        return "lost" if self.lost else "bad"


class Checker:
    """The readers of one world. Close it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.old_store: Any = None
        self.old_repository: Any = None
        if not world.hunt.stock:
            self.old_store = self._open_store()
            if world.object_format == "sha1":
                from gpa_maint.integrations import libgit2

                self.old_repository = libgit2.open_repository(world.repo, self.old_store)

    def _open_store(self) -> Any:
        from gpa_maint import PageStore

        return PageStore.open(self.world.repo / "objects", object_format=self.world.object_format)

    def close(self) -> None:
        self.old_repository = None
        if self.old_store is not None:
            self.old_store.close()

    def check(self) -> Findings:
        """While nothing else runs: all that refs and reflogs name, and all that is promised."""
        found, texts = Findings(), []
        promised = self.world.ledger.promised()
        named: list[str] = []
        for program in self.world.hunt.programs:
            named, errors = self._list(program, ["--all", "--reflog"], slow=False)
            texts += errors
            texts += self._heads(program)
            texts += self._read_by_git(program, sorted({*named, *promised}), slow=False)
        wanted = sorted({*named, *promised})
        if not self.world.hunt.stock:
            texts += self._read_by_store("PageStore, opened before", self.old_store, wanted)
            with self._open_store() as store:
                texts += self._read_by_store("PageStore, opened now", store, wanted)
            texts += self._read_by_pygit2(wanted)
            texts += self._shelf()
        found.checked = len(wanted)
        self._sort(found, texts)
        return found

    def check_files(self) -> Findings:
        """At the end: whether each git finds its files in order, and `git gpa verify` too."""
        found = Findings()
        if not self.world.hunt.stock:
            found.bad += self._verify()
        for program in self.world.hunt.programs:
            done = self.world.run(
                ["git", "-c", "core.commitGraph=false", "fsck", "--full", "--no-dangling", "--no-progress"],
                Random(0),
                program=program,
                slow=False,
            )
            lines = (done.stdout.decode(errors="replace") + done.stderr).splitlines()
            lines = [
                line for line in lines if not line.startswith(("notice: ", "dangling ")) and not DEAD_LOCK.match(line)
            ]
            if done.status or lines:
                found.bad += [f"{program} fsck: exit status {done.status}", *lines[:10]]
        return found

    def _verify(self) -> list[str]:
        if self.world.killed:
            self._gpa("write")
        status, text = self._gpa("verify", "--deep")
        no_index = not (self.world.repo / "objects" / "pack" / "multi-pack-index").exists()
        return [] if not status or no_index else [f"git gpa verify: exit status {status}: {text}"]

    def _gpa(self, *args: str) -> tuple[int, str]:
        done = self.world.run(["git-gpa", *args], Random(0), program=self.world.hunt.programs[0], slow=False)
        return done.status, done.stderr

    def check_holds(self) -> Findings:
        """The very end: two weeks later no .keep of ours is left, and everything that refs name is there."""
        world = self.world
        world.ledger.all_may_go()
        # `write --bitmap` lets git write. Killed with it, git leaves its lock, and somebody removes it (docs/faq.md).
        (world.repo / "objects" / "pack" / "multi-pack-index.lock").unlink(missing_ok=True)
        with self._open_store() as store:  # what killed writers left is put into pages when one is opened
            store.writer().close()
        # It says which winners an old reader may still need, for two weeks by the clock.
        (world.repo / "gpa" / "state.json").unlink(missing_ok=True)
        for _ in range(3):
            for path in (world.repo / "objects" / "pack").iterdir():
                past = path.stat().st_mtime - 15 * 86400
                os.utime(path, (past, past))
            self._gpa("run")
        found = self.check()
        for path in sorted((world.repo / "objects" / "pack").glob("*.keep")):
            if path.read_bytes().startswith(b"git-gpa"):
                found.bad.append(f"{path.name} is left after two weeks: {path.read_text()[:200]}")
        return found

    def check_beside(self, random: Random) -> Findings:
        """While everything goes on: what branches that only go forward name, and what is promised before and after."""
        world, found = self.world, Findings()
        with world.lock:
            tips = sorted(world.heads.values())
        before = set(world.ledger.promised())
        program = random.choice(world.hunt.programs)
        for _ in range(TRIES):
            deleting, healing = world.deleting, world.healing
            named, texts = self._list(program, tips, slow=True)
            wanted = sorted({*named, *before})
            texts += self._read_by_git(program, wanted, slow=True)
            if healing != world.healing or healing % 2:
                time.sleep(1)
            elif not texts or (deleting == world.deleting and not deleting % 2):
                break
        if not world.hunt.stock:
            texts += self._read_by_store("PageStore, opened before", self.old_store, wanted)
            with self._open_store() as store:
                texts += self._read_by_store("PageStore, opened now", store, wanted)
            texts += self._read_by_pygit2(wanted)
        gone = before - set(world.ledger.promised())
        texts = [text for text in texts if not gone.intersection(OID.findall(text))]
        found.checked = len(wanted)
        self._sort(found, texts)
        return found

    def _list(self, program: str, revisions: list[str], *, slow: bool) -> tuple[list[str], list[str]]:
        """The ids that git finds from these revisions, and its complaints: a warning is one too.

        Beside other steps (`slow`) git says so when a pack goes that it was about to open, and finds the object in
        another one. That is no complaint.
        """
        text = "".join(f"{revision}\n" for revision in revisions if not revision.startswith("--"))
        options = [revision for revision in revisions if revision.startswith("--")]
        command = ["git", "rev-list", "--objects", *options, *(["--stdin"] if text else [])]
        done = self.world.run(
            command, Random(READER_SEED), program=program, input=text.encode() if text else None, slow=slow
        )
        lines = done.stderr.strip().splitlines() if done.status or not slow else []
        if done.status and not lines:
            lines = [f"exit status {done.status}"]
        oids = [line.split()[0] for line in done.stdout.decode(errors="replace").splitlines()]
        return oids, [f"{program} rev-list: {line}" for line in lines]

    def _heads(self, program: str) -> list[str]:
        """Acknowledged branches that only go forward: the tip is where it was, or a later one."""
        done = self.world.run(
            ["git", "for-each-ref", "--format=%(refname) %(objectname)"], Random(0), program=program, slow=False
        )
        refs = dict(line.split() for line in done.stdout.decode().splitlines())
        with self.world.lock:
            missing = [ref for ref in self.world.heads if ref not in refs]
        return [f"{program} for-each-ref: no {ref}, which was acknowledged" for ref in missing]

    def _read_by_git(self, program: str, oids: list[str], *, slow: bool) -> list[str]:
        """Complaints of one `git cat-file --batch` over all of them, whose contents are hashed here."""
        done = self.world.run(
            ["git", "cat-file", "--batch"],
            Random(READER_SEED),
            program=program,
            input="".join(f"{oid}\n" for oid in oids).encode(),
            slow=slow,
        )
        said = done.stderr.strip().splitlines() if done.status or not slow else []
        texts = [f"{program} cat-file: {line}" for line in said]
        out, at = done.stdout, 0
        for oid in oids:
            end = out.find(b"\n", at)
            if end < 0:
                return [*texts, f"{program} cat-file: ends with {done.status} before {oid}"]
            words = out[at:end].decode().split()
            at = end + 1
            if len(words) != 3:
                texts.append(f"{program} cat-file: {' '.join(words)}")
                continue
            content = out[at : at + int(words[2])]
            at += int(words[2]) + 1
            if oid != digest(self.world.object_format, words[1], content):
                texts.append(f"{program} cat-file: {oid} has another content")
        return texts

    def _read_by_store(self, who: str, store: Any, oids: list[str]) -> list[str]:
        from gpa_maint import GpaError

        try:
            answers = store.read_many(oids)
        except (GpaError, KeyError, OSError) as error:
            return [f"{who}: {type(error).__name__}: {error}"]
        return [
            f"{who}: {oid} has another content"
            for oid, (kind, content) in zip(oids, answers, strict=True)
            if oid != digest(self.world.object_format, kind, content)
        ]

    def _read_by_pygit2(self, oids: list[str]) -> list[str]:
        """By a repository of pygit2's that has been open from the beginning."""
        if self.old_repository is None:
            return []
        import pygit2

        texts = []
        for oid in oids:
            try:
                kind, content = self.old_repository.read(oid)
            except (KeyError, pygit2.GitError) as error:
                texts.append(f"pygit2, opened before: {oid}: {error!r}")
                continue
            if oid != digest(self.world.object_format, KINDS[kind], content):
                texts.append(f"pygit2, opened before: {oid} has another content")
        return texts

    def _shelf(self) -> list[str]:
        """What the uploaded pages lack."""
        wanted = self.world.shelved & set(self.world.ledger.promised())
        if not wanted:
            return []
        there: set[str] = set()
        for idx in (self.world.folder / "shelf").glob("*.idx"):
            there |= idx_objects(self.world, idx)
        return [f"the uploaded pages lack {oid}, which was acknowledged" for oid in sorted(wanted - there)]

    def _sort(self, found: Findings, texts: list[str]) -> None:
        """Into what is lost and what is bad: an object that no pack and no file has is lost."""
        if not texts:
            return
        here = objects_here(self.world)
        tips = self.world.quick("for-each-ref", "--format=%(objectname)").split()
        oids = {oid for text in texts for oid in OID.findall(text)} | set(tips)
        found.lost = sorted(oids - here)
        found.bad = texts


def objects_here(world: World) -> set[str]:
    """The ids of all objects in the files of the repository, whatever git thinks of these."""
    objects = world.repo / "objects"
    here = {path.parent.name + path.name for path in objects.glob("[0-9a-f][0-9a-f]/*")}
    for idx in objects.glob("pack/*.idx"):
        if idx.with_suffix(".pack").exists():
            here |= idx_objects(world, idx)
    return here
