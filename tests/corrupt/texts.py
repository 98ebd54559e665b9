"""Every text that is read from a repository or an archive, and random changes of it: settings, gpa/'s own files, lists.

The counterpart in Python of csrc/fuzz: `python tests/corrupt/texts.py <changes> <seed>` says how many it made. An input
is answered with a value or with a GpaError; anything else is a finding, and its bytes are left in `crash-input`.
"""

from __future__ import annotations

import contextlib
import os
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from gpa_maint.archive_v1.listing import parse_list
from gpa_maint.archive_v1.refs import read_packed_refs
from gpa_maint.errors import GpaError
from gpa_maint.pictures.history import draw_history
from gpa_maint.pictures.terminal import describe_history
from gpa_maint.repo.config import Settings, settings_from
from gpa_maint.repo.discover import alternates_of
from gpa_maint.repo.git import parse_config, version_in
from gpa_maint.repo.objdir import ObjectDir
from gpa_maint.state.runs import read_history, read_last_run, read_totals
from gpa_maint.state.superseded import read_state
from gpa_maint.store.import_stream import import_stream
from gpa_maint.store.page_store import PageStore

INPUT_MOST = 1 << 16


class Place:
    """A folder that looks like a repository, for targets that read files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for part in ("objects/info", "objects/pack", "gpa"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        self.objdir = ObjectDir(
            objects=os.fspath(folder / "objects"),
            common_dir=os.fspath(folder),
            object_format="sha1",
            settings=Settings(),
            is_own=True,
        )

    def write(self, name: str, data: bytes) -> str:
        (self.folder / name).write_bytes(data)
        return os.fspath(self.folder / name)


def _config(place: Place, data: bytes) -> None:
    values = parse_config(os.fsdecode(data))
    settings = settings_from({key: several[-1] for key, several in values.items()})
    assert 1 <= settings.page_objects < 1 << 31 and settings.expire_grace >= 0 and -1 <= settings.compression <= 9


def _state(place: Place, data: bytes) -> None:
    place.write("gpa/state.json", data)
    read_state(place.objdir)


def _totals(place: Place, data: bytes) -> None:
    place.write("gpa/totals.json", data)
    read_totals(place.objdir)


def _last_run(place: Place, data: bytes) -> None:
    place.write("gpa/last-run.json", data)
    read_last_run(place.objdir)


def _history(place: Place, data: bytes) -> None:
    place.write("gpa/history", data)
    if moments := read_history(place.objdir):
        draw_history(moments, "title")
        describe_history(moments, "title", columns=80)


def _alternates(place: Place, data: bytes) -> None:
    place.write("objects/info/alternates", data)
    assert all(os.path.isabs(path) for path in alternates_of(place.objdir.objects))
    (place.folder / "objects/info/alternates").unlink()


def _packed_refs(place: Place, data: bytes) -> None:
    for ref, oid in read_packed_refs(place.write("packed-refs", data)).items():
        assert ref and int(oid, 16) >= 0


def _pages(place: Place, data: bytes) -> None:
    for name in parse_list(data, "pages"):
        assert os.path.basename(name) == name and name not in (".", "..")


def _objects(place: Place, data: bytes) -> None:
    """What is added has the id that its content has."""
    path = place.write("stream", data)
    with contextlib.suppress(GpaError), open(path, "rb") as stream:
        import_stream(place.objdir, stream, durability="none")
    with PageStore.open(place.objdir.objects, object_format="sha1", verify=True) as store:
        store.read_many(list(store), threads=1)
    for pack in (place.folder / "objects/pack").iterdir():
        pack.unlink()


def _version(place: Place, data: bytes) -> None:
    major, minor = version_in(os.fsdecode(data))
    assert major >= 0 and minor >= 0


TARGETS: dict[str, Callable[[Place, bytes], None]] = {
    "config": _config,
    "state": _state,
    "totals": _totals,
    "last-run": _last_run,
    "history": _history,
    "alternates": _alternates,
    "packed-refs": _packed_refs,
    "pages": _pages,
    "objects": _objects,
    "version": _version,
}

OID = b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
CORPUS: dict[str, list[bytes]] = {
    "config": [
        b"core.bare\ntrue\0gpa.pageobjects\n2000\0gpa.pagebytes\n512m\0gpa.expiregrace\n2.weeks.ago\0",
        b"gpa.autoloose\0core.compression\n-1\0core.fsync\nnone,pack,-pack-metadata\0core.fsyncmethod\nbatch\0core.sharedrepository\n0660\0",
        b"gpa.pageobjects\n99999999999999999999k\0pack.compression\n1_0\0gpa.expiregrace\nnever\0gpa.depth\n\xd9\xa1\0",
    ],
    "state": [
        b'{"version": 1, "superseded": {"pack-1": 1700000000}, "merged": {}, "moves": [{"at": 1700000000, "to": null,'
        b' "named": ["pack-2"]}], "doomed": ["pack-3"], "dropped": {"pack-4": 1}}',
        b"[" * 3000 + b"]" * 3000,
    ],
    "totals": [
        b'{"since": 1700000000, "runs": 1, "pushed_packs": 1, "pushed_bytes": 9, "pack_bytes": 5, "index_bytes": 5,'
        b' "freed_bytes": 3, "known": ["pack-1"]}'
    ],
    "last-run": [
        b'{"started": 1700000000, "seconds": 0.5, "steps": [{"verb": "repack", "text": "merged", "seconds": 0.25,'
        b' "pack_bytes": 1, "index_bytes": 2, "freed_bytes": 3}], "reason": "done", "status": 0, "left": []}'
    ],
    "history": [
        b'{"at": 1700000000, "packs": 3, "bytes": 4, "pushed_bytes": 5, "written_bytes": 6, "freed_bytes": 7}\n'
        b'{"at": 1700000600, "packs": 2, "bytes": 1e9, "pushed_bytes": NaN, "written_bytes": 60, "freed_bytes": 70}\n'
    ],
    "alternates": [b'# a comment\n../../other/objects\n/absolute\n"quoted\\n\\303\\251"\n\n'],
    "packed-refs": [b"# pack-refs with: peeled fully-peeled sorted \n%b refs/heads/main\n^%b\n" % (OID, OID)],
    "pages": [b"0123456789abcdef0123456789abcdef01234567\n\nfedcba9876543210fedcba9876543210fedcba98\n"],
    "objects": [
        b"%b blob 0\n\n%b missing\nce013625030ba8dba906f756967f9e9ca394464a blob 6\nhello\n\n" % (OID, OID),
        b"%b blob 99999999999999999999\n\n" % OID,
    ],
    "version": [b"git version 2.39.5 (Apple Git-154)\n"],
}

TOKENS = [
    *(
        b"\0",
        b"\n",
        b"\r\n",
        b" ",
        b"=",
        b",",
        b"-",
        b'"',
        b"\\",
        b"../",
        b"/",
        b"{}",
        b"[]",
        b"true",
        b"null",
        b"k",
        b".weeks",
    ),
    *(b"-1", b"0", b"9" * 30, b"9" * 5000, b"1e999", b"NaN", b"Infinity"),
    *(b"\xff\xfe", b"\xed\xa0\x80", b"\xd9\xa1", b"[" * 20000),
]
"""What parsers like least."""


def changed(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: bytes, pieces taken out, doubled or moved, and what parsers like least put in."""
    for _ in range(rng.randint(1, 4)):
        start, end = sorted(rng.randrange(len(data) + 1) for _ in range(2))
        piece = data[start:end]
        match rng.randrange(5):
            case 0:
                data = data[:start] + bytes([rng.randrange(256)]) + data[start + 1 :]
            case 1:
                data = data[:start] + data[end:]
            case 2:
                data = data[:end] + piece + data[end:]
            case 3:
                data = data[:start] + rng.choice(TOKENS) + data[start:]
            case _:
                data = data[:start] + rng.choice(TOKENS) + data[end:]
    return data[:INPUT_MOST]


def inputs(target: str, changes: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(f"{target} {seed}")
    for data in CORPUS[target]:
        yield data
        for _ in range(changes):
            yield changed(data, rng)


def fuzz(target: str, place: Place, changes: int, seed: int) -> int:
    """How many inputs were answered as they have to be."""
    count = 0
    for data in inputs(target, changes, seed):
        try:
            TARGETS[target](place, data)
        except GpaError:
            pass
        except BaseException:
            Path("crash-input").write_bytes(data)
            raise
        count += 1
    return count


def main(changes: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for target in TARGETS:
            print(f"texts, {target}: {fuzz(target, Place(Path(folder)), changes, seed)} inputs")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
