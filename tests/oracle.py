"""Git as the judge: what a repository holds, and whether git is content with it.

Everything here asks a real git, or parses git's formats by itself; nothing comes from gpa_maint. The checks raise
AssertionError with git's own words.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

ObjectFormat = Literal["sha1", "sha256"]

READ_SIZE = 1 << 20
MIDX_HASHES = {1: "sha1", 2: "sha256"}

# What git fsck says about a healthy repository: unreachable objects are the work of forced pushes.
FSCK_NOTES = ("dangling ", "unreachable ", "notice: ")

GITCONFIG = """\
[user]
\tname = Test Author
\temail = author@example.com
[init]
\tdefaultBranch = main
[core]
\tfsync = none
[pack]
\tthreads = 1
[protocol "file"]
\tallow = always
[safe]
\tdirectory = *
[advice]
\tdetachedHead = false
"""


def isolated_environment(home: Path) -> dict[str, str]:
    """An environment in which git sees no settings of the machine or the user: the tests' own are written to `home`.

    GPA_TEST_GIT, the path of a git, makes it the git that PATH finds first.
    """
    home.mkdir(parents=True, exist_ok=True)
    gitconfig = home / ".gitconfig"
    gitconfig.write_text(GITCONFIG)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "XDG_", "LC_"))}
    if chosen := os.environ.get("GPA_TEST_GIT"):
        kept["PATH"] = os.pathsep.join([os.path.dirname(chosen), os.environ.get("PATH", os.defpath)])
    return kept | {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(gitconfig),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
        "TZ": "UTC",
    }


def _version(program: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", program.parents[1].name)]


def _newest_git() -> list[str]:
    """Return the path of the git that `make gits` built, the newest if there are several; nothing if there is none."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "gpa-gits")
    return [str(program) for program in sorted(cache.glob("[0-9]*/bin/git"), key=_version)[-1:]]


# Found at import, because the tests get a HOME of their own.
GITS = [
    os.environ.get("GPA_TEST_GIT") or "git",
    *(filter(None, os.environ["GPA_TEST_GITS"].split(":")) if "GPA_TEST_GITS" in os.environ else _newest_git()),
]


def gits() -> list[str]:
    """Return the git programs to test with: the first in PATH, then those of GPA_TEST_GITS (paths with colons between).

    Without GPA_TEST_GITS, the one that `make gits` built.
    """
    return list(dict.fromkeys(GITS))


def git(
    repo: Path,
    *args: str | Path,
    input: str | bytes | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    program: str = "git",
) -> subprocess.CompletedProcess[str]:
    """Run git in `repo`; `env` is added to the environment. Output is text (bytes that are no UTF-8 are escaped).

    With `check`, an exit status other than 0 is an AssertionError that shows stderr.
    """
    done = subprocess.run(
        [program, "-C", str(repo), *map(str, args)],
        input=input.encode() if isinstance(input, str) else input,
        stdin=subprocess.DEVNULL if input is None else None,
        env={**os.environ, **env} if env else None,
        capture_output=True,
        check=False,
    )
    stdout, stderr = (text.decode(errors="surrogateescape") for text in (done.stdout, done.stderr))
    if check and done.returncode:
        raise AssertionError(f"git {' '.join(map(str, args))}: exit status {done.returncode}\n{stderr}{stdout}")
    return subprocess.CompletedProcess(done.args, done.returncode, stdout, stderr)


def git_line(repo: Path, *args: str | Path) -> str:
    """The one line a git command answers with."""
    return git(repo, *args).stdout.strip()


def object_format(repo: Path) -> ObjectFormat:
    return cast(ObjectFormat, git_line(repo, "rev-parse", "--show-object-format"))


def objects_dir(repo: Path) -> Path:
    return (repo / git_line(repo, "rev-parse", "--git-path", "objects")).resolve()


def pack_dir(repo: Path) -> Path:
    return objects_dir(repo) / "pack"


# -- What a repository holds


def all_objects(repo: Path, *, program: str = "git") -> dict[str, tuple[str, int, str]]:
    """oid -> (type, size, sha256 of the content), of all objects, reachable or not, alternates included.

    Contents are read in pieces, so objects may be larger than memory.
    """
    command = [program, "-C", str(repo), "cat-file", "--batch-all-objects", "--batch", "--unordered"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=READ_SIZE) as process:
        assert process.stdout
        found = {oid: (kind, size, digest) for oid, kind, size, digest in _batch_objects(process.stdout)}
    assert process.returncode == 0, f"git cat-file: exit status {process.returncode}"
    return found


def _batch_objects(stream: IO[bytes]) -> Iterator[tuple[str, str, int, str]]:
    while header := stream.readline():
        fields = header.decode().split()
        assert len(fields) == 3, f"git cat-file: {header!r}"
        oid, kind, size = fields[0], fields[1], int(fields[2])
        yield oid, kind, size, _digest(stream, size)
        assert stream.read(1) == b"\n", f"git cat-file: '{oid}' is longer than its size, {size}"


def _digest(stream: IO[bytes], size: int) -> str:
    digest = hashlib.sha256()
    left = size
    while left:
        piece = stream.read(min(left, READ_SIZE))
        assert piece, f"git cat-file: output ends {left} bytes early"
        digest.update(piece)
        left -= len(piece)
    return digest.hexdigest()


def content_digest(repo: Path, *, program: str = "git") -> str:
    """One digest of `all_objects`: equal exactly when two repositories hold the same objects, byte for byte."""
    digest = hashlib.sha256()
    for oid, fields in sorted(all_objects(repo, program=program).items()):
        digest.update(f"{oid} {fields}\n".encode())
    return digest.hexdigest()


def refs(repo: Path) -> dict[str, str]:
    """ref -> oid (hex)"""
    lines = git(repo, "for-each-ref", "--format=%(refname) %(objectname)").stdout.splitlines()
    return dict(cast(tuple[str, str], tuple(line.rsplit(" ", 1))) for line in lines)


def packs(repo: Path) -> dict[str, int]:
    """Pack name -> objects by the pack's header, for the local packs that have an .idx, sorted by name."""
    found = {}
    for idx in sorted(pack_dir(repo).glob("*.idx")):
        with idx.with_suffix(".pack").open("rb") as pack:
            signature, _version, count = struct.unpack(">4sII", pack.read(12))
        assert signature == b"PACK", f"'{idx.stem}.pack' begins with {signature!r}"
        found[idx.stem] = count
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedObject:
    """A line of `git verify-pack -v`. `depth` is 0 and `base_oid` empty for an object stored whole."""

    oid: str
    kind: str
    packed_size: int
    offset: int
    depth: int
    base_oid: str


def packed_objects(repo: Path, pack: str) -> list[PackedObject]:
    """The entries of one pack, in pack order."""
    text = git(repo, "verify-pack", "-v", pack_dir(repo) / f"{pack}.idx").stdout
    hex_size = 40 if object_format(repo) == "sha1" else 64
    rows = (line.split() for line in text.splitlines())
    entries = [
        PackedObject(
            oid=row[0],
            kind=row[1],
            packed_size=int(row[3]),
            offset=int(row[4]),
            depth=int(row[5]) if len(row) > 5 else 0,
            base_oid=row[6] if len(row) > 5 else "",
        )
        for row in rows
        if len(row) in (5, 7) and len(row[0]) == hex_size
    ]
    return sorted(entries, key=lambda entry: entry.offset)


# -- Whether git is content


def fsck(repo: Path, *, program: str = "git") -> str:
    """Assert that `git fsck` finds nothing wrong. Gives what it said, which may name dangling objects."""
    done = git(repo, "fsck", "--full", "--strict", "--no-progress", check=False, program=program)
    text = done.stdout + done.stderr
    complaints = [line for line in text.splitlines() if not line.startswith(FSCK_NOTES)]
    assert (done.returncode, complaints) == (0, []), f"git fsck: exit status {done.returncode}\n{text}"
    return text


def verify_midx(repo: Path, *, program: str = "git") -> None:
    """Assert that there is a multi-pack-index and that git finds nothing wrong with it."""
    assert (pack_dir(repo) / "multi-pack-index").exists(), "no multi-pack-index"
    done = git(repo, "multi-pack-index", "verify", check=False, program=program)
    text = done.stdout + done.stderr
    assert (done.returncode, text) == (0, ""), f"git multi-pack-index verify: exit status {done.returncode}\n{text}"


def verify_packs(repo: Path, *, program: str = "git") -> None:
    """Assert that git finds nothing wrong with any local pack or its .idx."""
    indexes = sorted(pack_dir(repo).glob("*.idx"))
    for at in range(0, len(indexes), 500):
        git(repo, "verify-pack", *indexes[at : at + 500], program=program)


def clone_works(repo: Path, tmp: Path, *, program: str = "git") -> None:
    """Assert that a mirror clone through the pack protocol gets the same refs and is whole. Uses a folder of `tmp`."""
    clone = tmp.resolve() / "clone"
    shutil.rmtree(clone, ignore_errors=True)
    git(tmp, "clone", "--quiet", "--mirror", f"file://{repo.resolve()}", clone, program=program)
    assert refs(clone) == refs(repo)
    fsck(clone, program=program)
    shutil.rmtree(clone)


# -- The multi-pack-index, parsed here


@dataclass(frozen=True, slots=True, kw_only=True)
class Midx:
    """A multi-pack-index as written: `packs` in the order of PNAM, `winners` oid -> (pack, offset)."""

    version: int
    object_format: ObjectFormat
    chunks: dict[str, bytes]
    packs: list[str]
    winners: dict[str, tuple[str, int]]


def read_midx(repo: Path) -> Midx:
    """The single-file multi-pack-index of `repo`. FileNotFoundError when there is none."""
    return parse_midx((pack_dir(repo) / "multi-pack-index").read_bytes())


def parse_midx(data: bytes) -> Midx:
    """Parse a multi-pack-index and check its trailer, its table and the names' suffix."""
    signature, version, hash_id, chunk_count, _bases, pack_count = struct.unpack_from(">4sBBBBI", data)
    assert signature == b"MIDX", f"multi-pack-index begins with {signature!r}"
    digest = hashlib.new(MIDX_HASHES[hash_id])
    hash_size = digest.digest_size
    digest.update(data[:-hash_size])
    assert digest.digest() == data[-hash_size:], "multi-pack-index: the trailer is not the hash of the file"

    table = [struct.unpack_from(">4sQ", data, 12 + 12 * row) for row in range(chunk_count + 1)]
    assert table[-1] == (bytes(4), len(data) - hash_size), f"multi-pack-index: table ends with {table[-1]}"
    chunks = {table[i][0].decode(): data[table[i][1] : table[i + 1][1]] for i in range(chunk_count)}
    names = [name.decode() for name in chunks["PNAM"].split(b"\0")[:pack_count]]
    assert all(name.endswith(".idx") for name in names), f"multi-pack-index: names {names}"
    pack_names = [name.removesuffix(".idx") for name in names]
    return Midx(
        version=version,
        object_format=cast(ObjectFormat, MIDX_HASHES[hash_id]),
        chunks=chunks,
        packs=pack_names,
        winners=_winners(chunks, pack_names, hash_size),
    )


def _winners(chunks: Mapping[str, bytes], pack_names: list[str], hash_size: int) -> dict[str, tuple[str, int]]:
    oids, large = chunks["OIDL"], chunks.get("LOFF")
    count = struct.unpack(">256I", chunks["OIDF"])[255]
    assert len(oids) == count * hash_size, f"multi-pack-index: OIDL is {len(oids)} bytes for {count} objects"
    winners = {}
    for position, (pack, offset) in enumerate(struct.iter_unpack(">II", chunks["OOFF"])):
        # Without LOFF bit 31 is a plain bit of the offset.
        if large is not None and offset & 0x80000000:
            (offset,) = struct.unpack_from(">Q", large, 8 * (offset & 0x7FFFFFFF))
        oid = oids[position * hash_size : (position + 1) * hash_size].hex()
        winners[oid] = (pack_names[pack], offset)
    assert len(winners) == count, f"multi-pack-index: {len(winners)} different objects, expected {count}"
    return winners


def midx_names(repo: Path) -> list[str]:
    """The packs the multi-pack-index names, without suffix, in its order."""
    return read_midx(repo).packs


def midx_winners(repo: Path) -> dict[str, tuple[str, int]]:
    """oid -> (pack, offset) as the multi-pack-index says."""
    return read_midx(repo).winners
