"""python -m tests.bench run <question> [--size=S|M|L|Y] [--traffic=<kind>] [--repo=<path> --packs=<n>] [--pairs=<n>]
       [--cold] [--keys=<n>]
   python -m tests.bench simulate [--pushes=<n>] [--chart=<file.svg>]
   python -m tests.bench picture --chart=<file.svg>

Questions: merge, index, push, upkeep, status, clone, loose, read, mapped, libgit2, integrations, archive, write,
deltas, growth, data. Workloads are made of a seed, or of --repo.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[1]))

from oracle import isolated_environment

from gpa_maint import __version__
from tests.bench import (
    archive,
    clone,
    data,
    deltas,
    growth,
    index,
    integrations,
    libgit2,
    loose,
    mapped,
    merge,
    picture,
    push,
    read,
    simulate,
    status,
    upkeep,
    workloads,
    write,
)
from tests.bench.cold import Cache

QUESTIONS: dict[str, Callable[..., None]] = {
    "merge": merge.bench,
    "index": index.bench,
    "push": push.bench,
    "upkeep": upkeep.bench,
    "status": status.bench,
    "clone": clone.bench,
    "loose": loose.bench,
    "read": read.bench,
    "mapped": mapped.bench,
    "integrations": integrations.bench,
    "libgit2": libgit2.bench,
    "archive": archive.bench,
    "write": write.bench,
    "deltas": deltas.bench,
    "growth": growth.bench,
    "data": data.bench,
}

WITH_COLD = ("merge", "index", "status", "clone", "read")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("verb", nargs="?", choices=["run", "simulate", "picture"], default="run")
    parser.add_argument("question", nargs="?", choices=sorted(QUESTIONS), help="default: all")
    parser.add_argument("--size", choices=sorted(workloads.SIZES), default="S")
    parser.add_argument("--traffic", choices=["snapshots", "tree", "documents"], default="snapshots")
    parser.add_argument("--repo", type=Path, help="a repository of yours, split into --packs packs")
    parser.add_argument("--packs", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help=f"drop files from the page cache: {', '.join(WITH_COLD)}")
    parser.add_argument("--keys", type=int, default=20_000, help="of data")
    parser.add_argument("--pushes", type=int, help="simulate so many at most")
    parser.add_argument("--chart", type=Path, help="the file to draw (simulate needs matplotlib)")
    args = parser.parse_args()
    if args.cold and args.question and args.question not in WITH_COLD:
        parser.error(f"--cold is for {', '.join(WITH_COLD)}")
    if args.verb == "simulate":
        simulate.bench(args.chart, args.pushes)
        return
    if args.verb == "picture":
        picture.draw(args.chart or Path("pages.svg"))
        return
    git = subprocess.run(["git", "version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"git-gpa {__version__}, {git}, Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(prefix="gpa-bench-") as scratch:
        root = Path(scratch)
        (root / "home").mkdir()
        os.environ.update(isolated_environment(root / "home"))
        os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        source = workloads.split(args.repo, root / "split", args.packs) if args.repo else _made(root, args)
        packs = len(list((source / "objects/pack").glob("*.pack")))
        cache = Cache(cold=args.cold)
        for question in [args.question] if args.question else WITH_COLD if args.cold else QUESTIONS:
            more: dict[str, object] = {"cache": cache} if question in WITH_COLD else {}
            if question == "data":
                more["keys"] = args.keys
            QUESTIONS[question](source, root / "work", pairs=args.pairs, title=f"{question}, {packs} packs", **more)
        print(f"\n{cache.report()}")


def _made(root: Path, args: argparse.Namespace) -> Path:
    return workloads.pushes(root / "workload", args.size, args.traffic)


if __name__ == "__main__":
    main()
