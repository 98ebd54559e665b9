"""gpa/install.json: the changes of install, written before it makes any, and removed by uninstall."""

from __future__ import annotations

import errno
import json
import os

from gpa_maint import fs
from gpa_maint.base import safe_open
from gpa_maint.base.tuples import NamedTuple
from gpa_maint.errors import Corrupt, Refused
from gpa_maint.fs.installing import put_file
from gpa_maint.repo.objdir import ObjectDir
from gpa_maint.state.paths import INSTALL, path_of


class Record(NamedTuple):
    """Record of an installation.

    `config_before` is the whole configuration file without our settings. `configs_after` are the files that install
    made of it, the latest last; there are two while one installation is replaced by another. Our scripts may be in
    `hooks_dirs`; install created those in `made_dirs`.
    """

    way: str
    hooks_dirs: tuple[str, ...]
    made_dirs: tuple[str, ...]
    config_before: bytes
    configs_after: tuple[bytes, ...]


def record_path(objdir: ObjectDir) -> str:
    return path_of(objdir, INSTALL)


MOST_BYTES = 16 << 20
"""Bytes; more than any record, because configuration files have some kilobytes."""


def read_record(objdir: ObjectDir, config: str) -> Record | None:
    """Return the record; None if nothing is installed. Raise Corrupt if the file is not ours.

    Raises Refused if a user who may not write the file `config` could have written it, because uninstall restores that
    file from the record.
    """
    path = record_path(objdir)
    try:
        content, status = safe_open.read_whole(path, MOST_BYTES)
    except FileNotFoundError:
        return None
    except safe_open.IsLink as error:
        raise fs.door.failed("read", path, error) from None
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EINVAL, errno.EFBIG):
            raise
        raise Corrupt(path, "not what install writes", hint=REMOVE) from None
    if not content:
        return None
    if not _is_trustworthy(objdir, status, config):
        raise Refused(
            f"'{path}' belongs to user {status.st_uid}, who may not write '{config}'; it is not believed", hint=REMOVE
        )
    try:
        body = json.loads(content)
        return Record(
            way=str(body["way"]),
            hooks_dirs=_dirs(body["hooks_dirs"]),
            made_dirs=_dirs(body["made_dirs"]),
            config_before=_bytes(body["config_before"]),
            configs_after=tuple(map(_bytes, body["configs_after"])),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Corrupt(path, "not what install writes", hint=REMOVE) from None


REMOVE = "remove it to go on; uninstall then takes the hooks away, and leaves the settings as they are"


def _is_trustworthy(objdir: ObjectDir, record: os.stat_result, config: str) -> bool:
    """Return whether only users who may write the configuration file can have written the record.

    In a shared repository the group may be able to write to the record's folder, but not the configuration.
    """
    folder = os.stat(objdir.gpa_dir)
    try:
        settings = os.stat(config)
    except FileNotFoundError:
        return record.st_uid in (0, os.geteuid())
    group_may = bool(settings.st_mode & 0o020) and settings.st_gid == folder.st_gid
    if group_may and not folder.st_mode & 0o002:
        return True
    more = record.st_mode & ~settings.st_mode & 0o022
    is_same_group = record.st_gid in (0, settings.st_gid) or not record.st_mode & 0o020
    return record.st_uid in (0, os.geteuid(), settings.st_uid) and not more and is_same_group and record.st_nlink == 1


def _dirs(names: list[str]) -> tuple[str, ...]:
    if not all(isinstance(name, str) and "\0" not in name for name in names):
        raise ValueError
    return tuple(names)


def write_record(objdir: ObjectDir, config: str, record: Record) -> None:
    """Write the record, readable for the users who may read the configuration file, because it has copies of that."""
    afters = [_text(content) for content in record.configs_after]
    texts = {"config_before": _text(record.config_before), "configs_after": afters}
    body = {"version": 1, **record._asdict(), **texts}
    put_file(record_path(objdir), json.dumps(body, indent=1).encode() + b"\n", like=config)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
