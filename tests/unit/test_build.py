"""The build finds libdeflate wherever it is, and says whether it did."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from gpa_maint._core import build

WITH = ["-DGPA_LIBDEFLATE"]
PREFIX = "/opt/libdeflate 1"


def add_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH, whose pkg-config knows nothing and whose compiler finds nothing."""
    for name in ("CPPFLAGS", "CFLAGS", "LDFLAGS", "GPA_NO_LIBDEFLATE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    monkeypatch.setenv("CC", str(tmp_path / "compiler"))
    add_program(tmp_path, "pkg-config", "exit 1")
    add_program(tmp_path, "compiler", "exit 1")
    return tmp_path


def add_pkg_config(folder: Path, cflags: str, libs: str) -> None:
    script = f'case "$*" in *--cflags*) echo {shlex.quote(cflags)} ;; *) echo {shlex.quote(libs)} ;; esac'
    add_program(folder, "pkg-config", script)


def test_a_prefix_of_its_own_reaches_compiler_linker_and_loader(tools: Path) -> None:
    add_pkg_config(tools, f"-I'{PREFIX}/include'", f"-L'{PREFIX}/lib' -Wl,--as-needed -ldeflate")
    found = build.libdeflate_flags()
    libs = [f"-L{PREFIX}/lib", "-Wl,--as-needed", "-ldeflate", f"-Wl,-rpath,{PREFIX}/lib"]
    assert ([*WITH, f"-I{PREFIX}/include"], libs) == found


def test_a_folder_that_the_linker_knows_is_not_named(tools: Path) -> None:
    add_pkg_config(tools, "", "-ldeflate")
    assert (WITH, ["-ldeflate"]) == build.libdeflate_flags()


@pytest.mark.parametrize("variable", ["CPPFLAGS", "CFLAGS", "LDFLAGS"])
def test_without_pkg_config_the_compiler_is_asked(tools: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    add_program(tools, "compiler", 'case "$*" in *-here*-ldeflate*) exit 0 ;; esac; exit 1')
    assert build.libdeflate_flags() is None
    monkeypatch.setenv(variable, "-here")
    assert (WITH, ["-ldeflate"]) == build.libdeflate_flags()


def test_without_a_compiler_nothing_is_found(tools: Path) -> None:
    (tools / "compiler").unlink()
    assert build.libdeflate_flags() is None


def test_libdeflate_can_be_left_out(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_pkg_config(tools, "", "-ldeflate")
    monkeypatch.setenv("GPA_NO_LIBDEFLATE", "1")
    assert build.libdeflate_flags() is None


@pytest.mark.parametrize(("found", "said"), [(True, "built with libdeflate"), (False, "built without libdeflate")])
def test_a_build_says_which_it_was(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], found: bool, said: str
) -> None:
    monkeypatch.setattr("sys.argv", ["setup.py", "egg_info"])
    build.say_which(found)
    assert "" == capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["setup.py", "-q", "bdist_wheel"])
    build.say_which(found)
    assert said in capsys.readouterr().err
