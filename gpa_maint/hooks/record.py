"""gpa/install.json: what install is about to change, written before it changes anything, and removed by uninstall."""

from __future__ import annotations

import json
import os

from gpa_maint.errors import Corrupt
from gpa_maint.fs.installing import put_file, read_bytes
from gpa_maint.git import ObjectDir
from gpa_maint.tuples import NamedTuple


class Record(NamedTuple):
    """`config_before` is the whole configuration file without our settings, `configs_after` what install made of it,
    the last one last: one that is being changed into another, as for the other way, has two.

    Scripts of ours may lie in `hooks_dirs`, of which install made those in `made_dirs`.
    """

    way: str
    hooks_dirs: tuple[str, ...]
    made_dirs: tuple[str, ...]
    config_before: bytes
    configs_after: tuple[bytes, ...]


def record_path(objdir: ObjectDir) -> str:
    return os.path.join(objdir.gpa_dir, "install.json")


def read_record(objdir: ObjectDir) -> Record | None:
    """None when nothing is installed; Corrupt when the file is not one of ours."""
    path = record_path(objdir)
    content = read_bytes(path)
    if not content:
        return None
    try:
        body = json.loads(content)
        return Record(
            way=str(body["way"]),
            hooks_dirs=tuple(map(str, body["hooks_dirs"])),
            made_dirs=tuple(map(str, body["made_dirs"])),
            config_before=_bytes(body["config_before"]),
            configs_after=tuple(map(_bytes, body["configs_after"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Corrupt(path, "not what install writes") from None


def write_record(objdir: ObjectDir, config: str, record: Record) -> None:
    """Readable for whom the configuration file is, since it holds copies of that."""
    afters = [_text(content) for content in record.configs_after]
    texts = {"config_before": _text(record.config_before), "configs_after": afters}
    body = {"version": 1, **record._asdict(), **texts}
    put_file(record_path(objdir), json.dumps(body, indent=1).encode() + b"\n", like=config)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
