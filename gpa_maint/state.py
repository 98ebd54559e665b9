"""Our own record beside the repository: gpa/state.json. Small, and may be deleted without losing an object.

It holds since when a page is superseded (seconds since the epoch), the moves of --preferred-pack (see Move), and the
pages that expire is about to delete, so that the next run finishes what a killed one began. A
file that cannot be read counts as empty: every grace time then starts anew, which is the safe side.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from . import fs
from .git import ObjectDir


class Move(NamedTuple):
    """--preferred-pack gave objects to `to`, a pack that the index named already along with `named`.

    A reader that holds the earlier index cannot find them there (git only adds packs that the index it has loaded does
    not name), so none of `named` may be deleted while `to` still wins one of its objects.
    """

    to: str
    named: frozenset[str]


class State(NamedTuple):
    superseded: dict[str, int]
    moves: tuple[Move, ...] = ()
    doomed: frozenset[str] = frozenset()


def state_path(objdir: ObjectDir) -> str:
    return os.path.join(objdir.gpa_dir, "state.json")


def read_state(objdir: ObjectDir) -> State:
    import json

    try:
        with open(state_path(objdir), encoding="utf-8") as file:
            body = json.load(file)
        superseded = {str(name): int(since) for name, since in body["superseded"].items()}
        doomed = frozenset(str(name) for name in body["doomed"])
        moves = tuple(Move(to=str(move["to"]), named=frozenset(move["named"])) for move in body["moves"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return State(superseded={})
    return State(superseded=superseded, moves=moves, doomed=doomed)


def write_state(objdir: ObjectDir, space: fs.Workspace, state: State) -> None:
    import json

    moves = [{"to": move.to, "named": sorted(move.named)} for move in state.moves]
    body = {"version": 1, "superseded": state.superseded, "moves": moves, "doomed": sorted(state.doomed)}
    fs.replace_file(objdir, space, state_path(objdir), json.dumps(body).encode() + b"\n")
