"""JGit, where Debian's package jgit-cli is installed."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path


class Unknown(Exception):
    """This git has no such command, or the library is not installed here."""


JARS = Path("/usr/share/java")


def _lfs_class() -> bytes:
    """A class with an empty `static void register()`. JGit's main program calls it, and Debian's package lacks it."""

    def utf8(text: str) -> bytes:
        return b"\x01" + struct.pack(">H", len(text)) + text.encode()

    pool = [
        utf8("org/eclipse/jgit/lfs/BuiltinLFS"),
        b"\x07\0\x01",
        utf8("java/lang/Object"),
        b"\x07\0\x03",
        *map(utf8, ("register", "()V", "Code")),
    ]
    code = struct.pack(">HHI", 0, 0, 1) + b"\xb1" + struct.pack(">HH", 0, 0)
    method = struct.pack(">HHHHHI", 9, 5, 6, 1, 7, len(code)) + code
    head = struct.pack(">IHHH", 0xCAFEBABE, 0, 49, len(pool) + 1)
    return head + b"".join(pool) + struct.pack(">HHHHHH", 0x21, 2, 4, 0, 0, 1) + method + b"\0\0"


def is_there() -> bool:
    return shutil.which("java") is not None and (JARS / "org.eclipse.jgit.pgm.jar").exists()


def jgit(repo: Path, *words: str) -> str:
    """Run JGit's command line program, which Debian's package jgit-cli has; raise Unknown where it is not there."""
    if not is_there():
        raise Unknown("no JGit")
    lacking = repo.parent / "lacking" / "org" / "eclipse" / "jgit" / "lfs" / "BuiltinLFS.class"
    lacking.parent.mkdir(parents=True, exist_ok=True)
    lacking.write_bytes(_lfs_class())
    classes = f"{JARS}/*:{repo.parent}/lacking"
    options = ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes]
    command = ["java", *options, "org.eclipse.jgit.pgm.Main", "--git-dir", str(repo), *words]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    # The program says "fatal:" and ends with 0, too.
    assert done.returncode == 0 and "fatal:" not in done.stderr, f"jgit {words}: {done.returncode}\n{done.stderr}"
    return done.stdout
