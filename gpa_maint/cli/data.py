"""The command `git gpa data`: one verb with a word for what is to be done with the keys and values of a branch."""

from __future__ import annotations

import json
import os
import sys
import warnings
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable
from datetime import timedelta

from gpa_maint.cli.parser import Namespace, Parser, new_parser
from gpa_maint.cli.ui import put, say, time_option, warn
from gpa_maint.databranch import DataBranch
from gpa_maint.databranch.inbox import merge_inboxes
from gpa_maint.errors import GpaError


def main(options: list[str]) -> int:
    args = parser().full().parse_intermixed_args(options, Namespace())
    operands = list(args.operands)
    least, most = COUNTS[args.word]
    if not least <= len(operands) <= most:
        parser().error(f"wrong number of operands for '{args.word}'")
    if args.word == "inbox":
        return _inbox(args)
    warnings.showwarning = lambda message, *_: warn(str(message))
    with open_branch(args) as db:
        return ACTIONS[args.word](args, db, operands)


def open_branch(args: Namespace) -> DataBranch:
    if args.object_dir is not None:
        raise GpaError("--object-dir has no branches: run this in the repository")
    return DataBranch(os.getcwd(), args.branch, layout=None if args.word == "relayout" else args.layout)


def _get(args: Namespace, db: DataBranch, keys: list[str]) -> int:
    source = db.at(args.at) if args.at else db
    found = source.get_many(keys)
    if args.json:
        put(json.dumps({key: _as_json(found.get(key)) for key in keys}, ensure_ascii=False), exact=True)
    else:
        _write(found[key] + (b"\0" if args.z else b"") for key in keys if key in found)
    return 0 if len(found) == len(set(keys)) else 1


def _set(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    with db.transaction(args.message or "") as change:
        change.set(operands[0], _value(operands))
    return 0


def _append(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    with db.transaction(args.message or "") as change:
        change.append(operands[0], _value(operands))
    return 0


def _delete(args: Namespace, db: DataBranch, keys: list[str]) -> int:
    known = [key for key in keys if key in db]
    with db.transaction(args.message or "") as change:
        for key in known:
            change.delete(key)
    return 0 if len(known) == len(keys) else 1


def _list(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    source = db.at(args.at) if args.at else db
    prefix = operands[0] if operands else ""
    if args.json:
        for key, value in source.items(prefix):
            put(json.dumps({"key": key, "value": _as_json(value)}, ensure_ascii=False), exact=True)
    else:
        end = b"\0" if args.z else b"\n"
        _write(
            (key if args.z else _one_line(key)).encode("utf-8", "surrogateescape") + end for key in source.keys(prefix)
        )
    return 0


def _log(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    for oid, value in db.history(operands[0]):
        if args.json:
            put(json.dumps({"commit": oid, "value": _as_json(value)}, ensure_ascii=False), exact=True)
        else:
            put(f"{oid} {'deleted' if value is None else f'{len(value)} bytes'}")
    return 0


def _merge(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    before = db.head
    heads = [db.at(name).commit for name in operands]
    report = db.merge_commits(heads) if heads else db.merge()
    return _tell_head(args, before, report.commit)


def _inbox(args: Namespace) -> int:
    heads = merge_inboxes(os.getcwd())
    if args.json:
        put(json.dumps(heads), exact=True)
    else:
        say(args, "\n".join(f"{ref} is at {head}" for ref, head in heads.items()) or "nothing to do")
    return 0


def _sync(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    before = db.head
    report = db.sync(operands[0] if operands else "origin", inbox=args.inbox or "")
    if args.json:
        return _tell_head(args, before, report.commit)
    say(args, f"in sync at {report.commit}" if report.commit else "nothing to do: there is no such branch")
    return 0


def _forget(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    before = db.head
    return _tell_head(args, before, db.forget(None if args.keep is None else timedelta(seconds=args.keep)))


def _relayout(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    before = db.head
    db.relayout(operands[0])
    return _tell_head(args, before, db.head)


def _check(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    found = db.check()
    if args.json:
        put(json.dumps({"findings": found}, ensure_ascii=False), exact=True)
    elif found:
        put("\n".join(found))
    else:
        say(args, f"the branch is sound: layout {db.settings.layout}, {len(db)} keys")
    return 1 if found else 0


def _batch(args: Namespace, db: DataBranch, operands: list[str]) -> int:
    """Answer each request in order. A set survives kill -9 when its answer is printed; `commit` makes a commit."""
    end = b"\0" if args.z else b"\n"
    for line in _requests(end):
        try:
            answer = answer_request(db, json.loads(line))
        except (GpaError, ValueError, TypeError, KeyError) as error:
            answer = {"error": f"missing {error}" if type(error) is KeyError else str(error)}
        sys.stdout.buffer.write(json.dumps(answer, ensure_ascii=False).encode("utf-8", "surrogatepass") + end)
        sys.stdout.buffer.flush()
    return 0


def _requests(end: bytes) -> Iterable[bytes]:
    left = b""
    while block := os.read(sys.stdin.fileno(), 1 << 16):
        *lines, left = (left + block).split(end)
        yield from (line for line in lines if line.strip())
    if left.strip():
        yield left


def answer_request(db: DataBranch, request: object) -> dict[str, object]:
    """Return the answer to one request of batch, an object with `do` and what that needs."""
    if not isinstance(request, dict) or request.get("do") not in REQUESTS:
        raise ValueError(f"a request is an object whose 'do' is one of {', '.join(REQUESTS)}")
    return REQUESTS[request["do"]](db, request)


def _do_set(db: DataBranch, request: dict[str, object]) -> dict[str, object]:
    db.set(_text(request, "key"), _bytes(request))
    return {}


def _do_append(db: DataBranch, request: dict[str, object]) -> dict[str, object]:
    db.append(_text(request, "key"), _bytes(request))
    return {}


def _do_delete(db: DataBranch, request: dict[str, object]) -> dict[str, object]:
    db.delete(_text(request, "key"))
    return {}


REQUESTS: dict[str, Callable[[DataBranch, dict[str, object]], dict[str, object]]] = {
    "get": lambda db, request: {"value": _as_json(db.get(_text(request, "key")))},
    "set": _do_set,
    "append": _do_append,
    "delete": _do_delete,
    "list": lambda db, request: {"keys": list(db.keys(_text(request, "prefix") if "prefix" in request else ""))},
    "commit": lambda db, request: {"head": db.commit(_text(request, "message") if "message" in request else "")},
    "merge": lambda db, request: {"head": db.merge().commit},
}


def _text(request: dict[str, object], name: str) -> str:
    value = request[name]
    if not isinstance(value, str):
        raise TypeError(f"'{name}' is not a text")
    return value


def _bytes(request: dict[str, object]) -> bytes:
    if "base64" in request:
        return b64decode(_text(request, "base64"), validate=True)
    return _text(request, "value").encode()


def _as_json(value: bytes | None) -> object:
    """Return text, {"base64": ...} for bytes that are none, or None."""
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return {"base64": b64encode(value or b"").decode()}


def _value(operands: list[str]) -> bytes:
    return operands[1].encode("utf-8", "surrogateescape") if len(operands) > 1 else sys.stdin.buffer.read()


def _write(pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _one_line(key: str) -> str:
    return json.dumps(key, ensure_ascii=False) if any(not letter.isprintable() for letter in key) else key


def _tell_head(args: Namespace, before: str, head: str) -> int:
    if args.json:
        put(json.dumps({"before": before, "head": head}), exact=True)
    else:
        say(args, "nothing to do" if before == head else f"the branch is at {head}")
    return 0


MANY = 1 << 30
ACTIONS: dict[str, Callable[[Namespace, DataBranch, list[str]], int]] = {
    "get": _get,
    "set": _set,
    "append": _append,
    "delete": _delete,
    "list": _list,
    "log": _log,
    "merge": _merge,
    "sync": _sync,
    "forget": _forget,
    "relayout": _relayout,
    "check": _check,
    "batch": _batch,
}
COUNTS = {
    "get": (1, MANY),
    "set": (1, 2),
    "append": (1, 2),
    "delete": (1, MANY),
    "list": (0, 1),
    "log": (1, 1),
    "merge": (0, MANY),
    "sync": (0, 1),
    "forget": (0, 0),
    "relayout": (1, 1),
    "check": (0, 0),
    "batch": (0, 0),
    "inbox": (0, 0),
}


def parser() -> Parser:
    made = new_parser("data", f"Words: {' '.join(COUNTS)}.")
    made.add_argument("word", choices=tuple(COUNTS), metavar="<word>", help="what to do")
    made.add_argument("operands", nargs="*", metavar="<operand>", help="keys, a value, a remote, ...")
    made.add_argument("--branch", metavar="<branch>", default="meta", help="default: meta")
    made.add_argument("--layout", metavar="<layout>", help="hash/<n>, table/<n>, path or git-annex, of a new branch")
    made.add_argument("--at", metavar="<revision>", help="read that commit")
    made.add_argument("--message", metavar="<text>", help="of the commit")
    made.add_argument("--keep", type=time_option, metavar="<time>", help="forget: not what is younger, as 90d")
    made.add_argument("--inbox", metavar="<name>", help="sync: push to refs/data-inbox/<name>")
    made.add_argument("-z", action="store_true", help="NUL bytes end values, keys or requests")
    made.add_argument("--json", action="store_true", help="answer in JSON")
    return made
