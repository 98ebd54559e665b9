"""Where a key lies in the tree of a data branch: hash/N, path, table/N and git-annex (docs/formats/data-branch.md).

Pure functions of the key, so that every clone finds it at the same place. No disk, any thread.
"""

from __future__ import annotations

import hashlib
import re

from ..errors import GpaError

SETTINGS = ".gpa-data"
"""The file in the root of the branch with its layout and its rules; no key lies there."""

PART_BYTES = 200
DEPTH_MOST = 8
PLAIN = re.compile(r"[A-Za-z0-9_@+=,-][A-Za-z0-9_@+=,.-]*")
SPECIAL = re.compile('[\0-\x1f\x7f/\\\\%:*?"<>|~\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]')
IGNORED = re.compile("[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]")
GIT_NAME = re.compile(r"(\.git|git~[0-9]+)[ .]*(:.*)?", re.IGNORECASE | re.DOTALL)

ANNEX_LOG = re.compile(r"(.+)\.log(\.(?:web|rmt|met|rmet|cnk|cid|ali|lib))?", re.DOTALL)
ANNEX_DIRS = re.compile(rb"[0-9a-f]{3}/[0-9a-f]{3}/([^/]+)", re.DOTALL)
ANNEX_NAMES = """
uuid remote trust group numcopies mincopies config schedule activity difference multicast export transitions
preferred-content required-content group-preferred-content migrate maxsize cluster
"""
ANNEX_GLOBAL = frozenset(f"{name}.log" for name in ANNEX_NAMES.split())
"""The files in the root of git-annex's branch."""


class Layout:
    """How keys become paths. `is_table` when a blob holds many keys; `fan_out` is the number of leaves, 0 if fixed."""

    name: str
    is_table = False
    fan_out = 0

    def path(self, key: str) -> list[bytes]:
        """Return the names from the root to the blob. Raises GpaError for a key that this layout cannot hold."""
        raise NotImplementedError

    def key(self, path: bytes) -> str | None:
        """Return the key at a path, or None if no key can lie there. For a table: "" for each of its blobs."""
        raise NotImplementedError

    def folder(self, prefix: str) -> bytes:
        """Return the folder below which all keys that begin with `prefix` lie, with a slash at its end; or nothing."""
        return b""


class HashLayout(Layout):
    """N folders, each one hex digit of the key's SHA-256; the blob's name is the key, percent-encoded."""

    def __init__(self, depth: int) -> None:
        self.name = f"hash/{depth}"
        self.fan_out = 16**depth
        self._depth = depth

    def path(self, key: str) -> list[bytes]:
        data = key.encode()
        digits = hashlib.sha256(data).hexdigest()
        found = [digit.encode() for digit in digits[: self._depth]]
        if len(data) <= PART_BYTES and PLAIN.fullmatch(key):
            found.append(data)
        else:
            found += _encoded(key)
        return found

    def key(self, path: bytes) -> str | None:
        parts = path.split(b"/")
        names = parts[self._depth :]
        if not names or any(len(part) != 1 for part in parts[: self._depth]):
            return None
        return names[0].decode("utf-8", "replace") if len(names) == 1 and b"%" not in names[0] else _decoded(names)


class TableLayout(Layout):
    """N hex digits of the key's SHA-256, the last of them a blob with all keys that begin so."""

    is_table = True

    def __init__(self, depth: int) -> None:
        self.name = f"table/{depth}"
        self.fan_out = 16**depth
        self._depth = depth

    def path(self, key: str) -> list[bytes]:
        digits = hashlib.sha256(key.encode()).hexdigest()
        return [digit.encode() for digit in digits[: self._depth]]

    def key(self, path: bytes) -> str | None:
        return "" if re.fullmatch(rb"[0-9a-f](/[0-9a-f])*", path) and len(path) == 2 * self._depth - 1 else None


class PathLayout(Layout):
    """A key is its path."""

    name = "path"

    def path(self, key: str) -> list[bytes]:
        data = key.encode()
        parts = data.split(b"/")
        if key == SETTINGS or "\0" in key or any(not _is_part(part) for part in parts):
            raise GpaError(f"key '{key}' cannot be a path in git", hint="the layout hash/N takes any text as a key")
        return parts

    def key(self, path: bytes) -> str | None:
        try:
            key = path.decode()
            self.path(key)
        except (UnicodeDecodeError, GpaError):
            return None
        return key

    def folder(self, prefix: str) -> bytes:
        return prefix.rpartition("/")[0].encode() + b"/" if "/" in prefix else b""


class AnnexLayout(Layout):
    """As git-annex: `<3 digits>/<3 digits>/<key>.log`, of the MD5 of its key; its few other files in the root.

    A key here is the file's name, such as `SHA256E-s5--2cf2...txt.log` or `uuid.log`; `log_of()` makes it of the key of
    git-annex.
    """

    name = "git-annex"

    def path(self, key: str) -> list[bytes]:
        if key in ANNEX_GLOBAL or "/" in key:
            parts = key.encode().split(b"/")
            if "\0" not in key and all(_is_part(part) for part in parts):
                return parts
        found = ANNEX_LOG.fullmatch(key)
        if found is None or not _is_part(key.encode()):
            raise GpaError(
                f"key '{key}' is no file of git-annex's branch", hint="its names are <key>.log, uuid.log, ..."
            )
        digits = hashlib.md5(_annex_key(found[1]).encode(), usedforsecurity=False).hexdigest()
        return [digits[:3].encode(), digits[3:6].encode(), key.encode()]

    def key(self, path: bytes) -> str | None:
        found = ANNEX_DIRS.fullmatch(path)
        return (found[1] if found else path).decode("utf-8", "surrogateescape")


def log_of(annex_key: str) -> str:
    """Return the name of the location log of a key of git-annex."""
    name = annex_key.replace("&", "&a").replace("%", "&s").replace(":", "&c").replace("/", "%")
    return f"{name}.log"


def _annex_key(name: str) -> str:
    name = name.replace("%", "/").replace("&c", ":").replace("&s", "%")
    return name.replace("&a", "&")


def layout_named(name: str) -> Layout:
    """Return the layout with this name. Raises GpaError if there is none."""
    kind, _, digits = name.partition("/")
    if name == "path":
        return PathLayout()
    if name == "git-annex":
        return AnnexLayout()
    if kind in ("hash", "table") and digits.isascii() and digits.isdigit() and 1 <= int(digits) <= DEPTH_MOST:
        return HashLayout(int(digits)) if kind == "hash" else TableLayout(int(digits))
    raise GpaError(f"unknown layout '{name}'", hint="layouts are hash/<N>, table/<N>, path and git-annex")


def fitting(count: int) -> str:
    """Return the layout hash/N for so many keys: 8 to 60 of them in a leaf wherever N can achieve that."""
    depth = 1
    while depth < DEPTH_MOST and count > 60 * 16**depth:
        depth += 1
    return f"hash/{depth}"


def _encoded(key: str) -> list[bytes]:
    """Percent-encode what git or file systems refuse; cut long names, where a folder's name ends in `%-`."""
    text = SPECIAL.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), key)
    if text.startswith((".", " ")) or text[:3].lower() == "git" or not text:
        text = f"%{ord(text[0]):02X}{text[1:]}" if text else "%"
    if text.endswith((".", " ")):
        text = f"{text[:-1]}%{ord(text[-1]):02X}"
    data, parts = text.encode(), []
    while len(data) > PART_BYTES:
        parts.append(data[:PART_BYTES] + b"%-")
        data = data[PART_BYTES:]
    return [*parts, data]


def _decoded(names: list[bytes]) -> str | None:
    if names == [b"%"]:
        return ""
    if any(not name.endswith(b"%-") for name in names[:-1]):
        return None
    data = b"".join([*(name[:-2] for name in names[:-1]), names[-1]])
    try:
        return re.sub(rb"%([0-9A-F]{2})", lambda found: bytes.fromhex(found[1].decode()), data).decode()
    except UnicodeDecodeError:
        return None


def _is_part(part: bytes) -> bool:
    try:
        text = IGNORED.sub("", part.decode())
    except UnicodeDecodeError:
        return False
    return (
        bool(text)
        and len(part) <= 255
        and text not in (".", "..")
        and not GIT_NAME.fullmatch(text)
        and "\\" not in text
    )


# ---- the blobs of a table ----

ESCAPES = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n"}
UNESCAPES = {value: key for key, value in ESCAPES.items()}
NO_MARKS = bytes(set(range(256)) - set(b"\t\n"))
_ESCAPE = re.compile(rb"[\\\t\n]")
_UNESCAPE = re.compile(rb"\\[\\tn]")


def escape(data: bytes) -> bytes:
    """Return `data` without tabs and newlines."""
    return _ESCAPE.sub(lambda found: ESCAPES[found[0]], data)


def unescape(data: bytes) -> bytes:
    if b"\\" not in data:
        return data
    if b"\\\\" in data:
        return _UNESCAPE.sub(lambda found: UNESCAPES[found[0]], data)
    return data.replace(b"\\n", b"\n").replace(b"\\t", b"\t")


def table_of(records: dict[str, bytes]) -> bytes:
    """Return the blob of a table: a line `<key> TAB <value>` for each key, sorted."""
    lines = [escape(key.encode()) + b"\t" + escape(value) + b"\n" for key, value in records.items()]
    return b"".join(sorted(lines))


def records_of(blob: bytes) -> dict[str, bytes]:
    """Return the keys and values of a table's blob. Lines without a tab are skipped."""
    count = blob.count(b"\n")
    if blob.translate(None, NO_MARKS) == b"\t\n" * count:
        # Each line is a key and a value: all are cut at once, and all keys decoded at once.
        parts = blob.replace(b"\n", b"\t").split(b"\t")
        keys, values = parts[:-1:2], parts[1::2]
        if b"\\" in blob:
            keys, values = [*map(unescape, keys)], [*map(unescape, values)]
            return {key.decode("utf-8", "replace"): value for key, value in zip(keys, values, strict=False)}
        return dict(zip(b"\n".join(keys).decode("utf-8", "replace").split("\n"), values, strict=False))
    rows = [line.partition(b"\t") for line in blob.split(b"\n")]
    return {unescape(key).decode("utf-8", "replace"): unescape(value) for key, tab, value in rows if tab}


def record_in(blob: bytes, key: str) -> bytes | None:
    """Return the value of one key in a table's blob."""
    start = escape(key.encode()) + b"\t"
    if blob.startswith(start):
        at = len(start)
    else:
        at = blob.find(b"\n" + start)
        if at < 0:
            return None
        at += len(start) + 1
    return unescape(blob[at:].partition(b"\n")[0])
