"""How much memory packs may take by default: the machine, control groups of both versions, RLIMIT_AS."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from gpa_maint.store import memory
from gpa_maint.store.memory import MAP_LEAST, MAP_MOST, default_map_bytes, memory_bytes

GIB = 1 << 30
MACHINE = 12 * GIB


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = MACHINE // os.sysconf("SC_PAGE_SIZE")
    real = os.sysconf
    monkeypatch.setattr(os, "sysconf", lambda name: pages if name == "SC_PHYS_PAGES" else real(name))
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def found(root: Path, groups: str, files: dict[str, str]) -> int:
    (root / "cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return memory_bytes(root=str(root / "fs"), process=str(root / "cgroup"))


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("", {}, MACHINE),
        ("0::/\n", {"memory.max": f"{GIB}\n"}, GIB),
        ("0::/a/b\n", {"memory.max": "max\n", "a/memory.max": f"{2 * GIB}\n", "a/b/memory.max": "max\n"}, 2 * GIB),
        ("0::/a/b\n", {"a/memory.max": f"{2 * GIB}\n", "a/b/memory.high": f"{GIB}\n"}, GIB),
        ("0::/../x\n", {"x/memory.max": f"{GIB}\n"}, GIB),
        ("9:memory:/a\n", {"memory/a/memory.limit_in_bytes": f"{GIB}\n"}, GIB),
        ("9:cpu:/a\n", {"memory/a/memory.limit_in_bytes": f"{GIB}\n"}, MACHINE),
        ("9:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE),
        ("0::/\n", {"memory.max": "\n"}, MACHINE),
        ("0::/\n", {"memory.max": f"{100 * GIB}\n"}, MACHINE),
    ],
)
def test_the_least_limit_counts(tmp_path: Path, groups: str, files: dict[str, str], expected: int) -> None:
    assert expected == found(tmp_path, groups, files)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(64 << 20, MAP_LEAST), (GIB, GIB // 2), (MACHINE, MACHINE // 2), (64 * GIB, MACHINE // 2)],
)
def test_packs_may_take_half_of_the_memory(tmp_path: Path, limit: int, expected: int) -> None:
    assert min(limit, MACHINE) == found(tmp_path, "0::/\n", {"memory.max": f"{limit}\n"})
    assert expected == default_map_bytes(root=str(tmp_path / "fs"), process=str(tmp_path / "cgroup"))


def test_packs_take_a_quarter_of_a_small_address_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (GIB // 2, GIB))
    assert GIB // 8 == default_map_bytes(root=str(tmp_path), process=str(tmp_path / "none"))


def test_there_is_a_bound_on_large_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda **_: 1 << 40)
    assert MAP_MOST == default_map_bytes(root=str(tmp_path), process=str(tmp_path / "none"))
