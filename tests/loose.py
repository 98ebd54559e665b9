"""Loose objects: repositories full of them, single files written by hand, and packing them all at once."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from oracle import ObjectFormat, git, git_line, objects_dir
from packwriter import Kind, oid_hex

from gpa_maint import fs
from gpa_maint.apply.add_loose import pack_loose
from gpa_maint.base.progress import Progress
from gpa_maint.look.inventory import loose_objects
from gpa_maint.model.plans import LoosePlan
from gpa_maint.model.results import LooseResult
from gpa_maint.repo.discover import find_object_dir

MIB = 1 << 20


def pack_all_loose(repo: Path, **options: Any) -> LooseResult:
    """pack_planned() with every loose object."""
    return pack_planned(repo, [one.oid for one in loose_objects(find_object_dir(str(repo)))], **options)


def pack_planned(
    repo: Path,
    oids: Iterable[str],
    *,
    page_objects: int = 2000,
    page_bytes: int = 512 << 20,
    stop: Progress | None = None,
) -> LooseResult:
    """pack_loose() with the lock of a run."""
    objdir = find_object_dir(str(repo))
    with fs.maintenance_lock(objdir), fs.workspace(objdir) as space:
        plan = LoosePlan(objects=tuple(oids), page_objects=page_objects, page_bytes=page_bytes)
        return pack_loose(objdir, space, plan, progress=stop, now=int(time.time()))


def loose_path(repo: Path, oid: str) -> Path:
    return objects_dir(repo) / oid[:2] / oid[2:]


def loose_oids(repo: Path) -> set[str]:
    """The loose objects there are, by the names of their files."""
    return {path.parent.name + path.name for path in objects_dir(repo).glob("[0-9a-f][0-9a-f]/*")}


def write_loose(
    objects: Path, kind: Kind, content: bytes, *, object_format: ObjectFormat = "sha1", level: int = 1
) -> str:
    """A loose object file below `objects`, as git writes it; gives its id."""
    oid = oid_hex(kind, content, object_format=object_format)
    path = objects / oid[:2] / oid[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(zlib.compress(b"%b %d\0%b" % (kind.encode(), len(content), content), level))
    path.chmod(0o444)
    return oid


def loose_repo(root: Path, *, object_format: ObjectFormat = "sha1", commits: int = 12) -> Path:
    """A work tree's repository in which everything is loose: commits, annotated tags, a link, files of up to 3 MiB, and
    objects that nothing refers to.
    """
    root.mkdir(parents=True)
    git(root, "init", "--quiet", f"--object-format={object_format}")
    git(root, "config", "gc.auto", "0")
    rng = random.Random("loose")
    (root / "folder").mkdir()
    (root / "link").symlink_to("folder")
    (root / "empty").write_bytes(b"")
    (root / "random.bin").write_bytes(rng.randbytes(2 * MIB))
    (root / "repeated.txt").write_bytes(b"the same words over and over again\n" * (3 * MIB // 35))
    for number in range(commits):
        for name in ("first.txt", "folder/second.txt"):
            with (root / name).open("a") as file:
                file.write(f"line {number} with {rng.randbytes(20).hex()}\n" * 5)
        git(root, "add", "--all")
        git(root, "commit", "--quiet", "--message", f"change {number}")
        if number % 4 == 0:
            git(root, "tag", "--annotate", "--message", f"tag {number}", f"v{number}")
    git(root, "hash-object", "-w", "--stdin", input=b"nothing refers to this\n")
    (root / "staged").write_bytes(b"staged, then forgotten\n")
    git(root, "add", "staged")
    git(root, "reset", "--quiet")
    assert git_line(root, "count-objects").split()[0] == str(len(loose_oids(root)))
    return root
