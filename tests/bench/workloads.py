"""Workloads, made from a seed and kept in the test cache.

Each stands for a server beside whose imported history (`base_objects`) pushes arrive: snapshots of a work tree in which
more than half of some files change, so that a push brings a dozen deltas with the whole bases thin packs are completed
with. About 37 entries and 160 kB a push, as measured on real pushes to a repository of C sources.
"""

from __future__ import annotations

import random
import shutil
import subprocess
from pathlib import Path
from typing import Literal

from histories import HistorySpec, pushed_history

SIZES = {"S": (60, 2_000), "M": (300, 400_000), "L": (1_500, 400_000), "Y": (2_000, 0)}


Traffic = Literal["snapshots", "tree", "documents"]


def pushes(root: Path, size: str, traffic: Traffic = "snapshots") -> Path:
    """Pushed packs beside imported objects: S 60 and 2,000, M 300 and 400,000, L 1,500 and 400,000.
    Y is young: 2,000, and none."""
    count, base = SIZES[size]
    spec = HistorySpec(kind=traffic, seed=11, pushes=count, files=14, longer=18, base_objects=base)
    return pushed_history(root, spec).server


def committed(target: Path, objects: int) -> Path:
    """A bare repository with at least `objects` loose objects: this project's sources, committed again and again after
    an edit of a few lines in each of three files, as somebody at work does.
    """
    root = Path(__file__).resolve().parents[2]
    tree = target.with_name(f"{target.name}-tree")
    for folder in ("csrc", "docs", "gpa_maint", "tests"):
        shutil.copytree(root / folder, tree / folder, ignore=shutil.ignore_patterns("__pycache__", "*.so", "_gpa.c"))
    files = sorted(path for path in tree.rglob("*") if path.suffix in (".c", ".h", ".py", ".md"))
    lines = [line for path in files for line in path.read_text().splitlines(keepends=True)]
    rng = random.Random("committed")
    _git(target.parent, "init", "--quiet", "--bare", str(target))
    _git(target, "config", "gc.auto", "0")
    while int(_git(target, "count-objects").split()[0]) < objects:
        _git(target, f"--work-tree={tree}", "add", "--all")
        _git(target, f"--work-tree={tree}", "commit", "--quiet", "--message", "a change")
        for path in rng.sample(files, 3):
            text = path.read_text().splitlines(keepends=True)
            at = rng.randrange(len(text))
            text[at : at + rng.randrange(4)] = rng.sample(lines, rng.randrange(1, 6))
            path.write_text("".join(text))
    shutil.rmtree(tree)
    return target


def chains(target: Path, count: int) -> Path:
    """A bare repository with one pack: `count` blobs of 20 kB, on each a chain of 49 deltas that change three lines."""
    target.mkdir(parents=True)
    _git(target, "init", "--quiet", "--bare")
    rng = random.Random("chains")
    words = ["".join(rng.choices("eaoinstrhldcumpfgwybvk", k=rng.randint(2, 10))) for _ in range(1500)]

    def line() -> bytes:
        return " ".join(rng.choices(words, k=10)).encode() + b"\n"

    script = bytearray()
    for _ in range(count):
        lines = [line() for _ in range(300)]
        for _ in range(50):
            for place in rng.choices(range(300), k=3):
                lines[place] = line()
            content = b"".join(lines)
            script += b"blob\ndata %d\n%b\n" % (len(content), content)
    _git(target, "-c", "fastimport.unpackLimit=0", "fast-import", "--quiet", "--depth=50", stdin=bytes(script))
    return target


def split(repo: Path, target: Path, parts: int) -> Path:
    """A bare repository with the same objects as `repo`, in `parts` packs of about as many objects each."""
    target.mkdir(parents=True)
    object_format = _git(repo, "rev-parse", "--show-object-format").decode().strip()
    _git(target, "init", "--quiet", "--bare", f"--object-format={object_format}")
    oids = _git(repo, "rev-list", "--objects", "--all", "--no-object-names").split()
    alternate = target / "objects/info/alternates"
    objects = _git(repo, "rev-parse", "--git-path", "objects").decode().strip()
    alternate.write_text(f"{(repo / objects).resolve()}\n")
    for part in range(parts):
        chunk = b"\n".join(oids[len(oids) * part // parts : len(oids) * (part + 1) // parts]) + b"\n"
        _git(target, "pack-objects", "-q", str(target / "objects/pack/pack"), stdin=chunk)
    for line in _git(repo, "for-each-ref", "--format=update %(refname) %(objectname)").splitlines():
        _git(target, "update-ref", "--stdin", stdin=line + b"\n")
    alternate.unlink()
    return target


def _git(repo: Path, *args: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["git", *args], cwd=repo, input=stdin, check=True, capture_output=True).stdout
