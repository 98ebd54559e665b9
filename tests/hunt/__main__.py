"""python -m tests.hunt [--seconds=<n>] [--seed=<n>] [--stock] [--keep-going] [--only=sequences|overlaps]

Hunts for that many seconds, in sequences of steps and in overlaps of them. Exit status 1, with the seed, the steps and
the folder of the repository, when an object was lost or a reader was refused one.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[1]))

from tests.hunt.hunter import Options, hunt
from tests.hunt.steps import KINDS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hunt", description="hunt for steps that lose objects")
    parser.add_argument("--seconds", type=float, default=60, help="how long")
    parser.add_argument("--seed", type=int, default=1, help="everything follows from it but what the system does")
    parser.add_argument("--stock", action="store_true", help="without anything of ours, to compare")
    parser.add_argument("--keep-going", action="store_true", help="go on after a finding")
    parser.add_argument("--only", choices=("sequences", "overlaps"), help="only one of the two")
    parser.add_argument("--delay", type=int, default=30, help="the longest ordinary delay of a call, in milliseconds")
    faults = sorted(name for name, kind in KINDS.items() if kind.lane == "fault")
    parser.add_argument("--fault", choices=faults, help="a fault that is to be found")
    parser.add_argument("--shorten", type=float, default=90, help="for how many seconds a sequence is shortened")
    parser.add_argument("--folder", type=Path, help="where repositories are made (default: a temporary folder)")
    args = parser.parse_args()
    folder = args.folder or Path(tempfile.mkdtemp(prefix="gpa-hunt-"))
    options = Options(
        seconds=args.seconds,
        seed=args.seed,
        stock=args.stock,
        keep_going=args.keep_going,
        only=args.only or "",
        delay_ms=args.delay,
        fault=args.fault or "",
        shorten_seconds=args.shorten,
    )
    return hunt(folder, options)


if __name__ == "__main__":
    sys.exit(main())
