"""tests/mutants: each patch says what it breaks and which test notices; `make mutants` tries them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT))

from tests.mutants.__main__ import Mutant, all_mutants, read_mutant, report  # noqa: E402

MUTANTS = all_mutants()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_named_tests_and_the_broken_files_exist(mutant: Mutant) -> None:
    assert mutant.files
    assert [] == [name for name in mutant.files if not (ROOT / name).is_file()]
    for name in mutant.tests:
        path, _, function = name.partition("::")
        tree = ast.parse((ROOT / path).read_text())
        assert function.partition("[")[0] in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_each_patch_fits_the_files_as_they_are() -> None:
    environ = {**os.environ, "GIT_CEILING_DIRECTORIES": str(ROOT.parent)}
    misfits = []
    for mutant in MUTANTS:
        done = subprocess.run(
            ["git", "apply", "--check", mutant.path], cwd=ROOT, env=environ, capture_output=True, check=False
        )
        if done.returncode:
            misfits.append(mutant.name)
    assert [] == misfits


def test_at_least_95_percent_can_be_noticed() -> None:
    assert len([mutant for mutant in MUTANTS if mutant.tests]) >= 0.95 * len(MUTANTS)


def test_the_promises_say_how_many_there_are() -> None:
    noticed = len([mutant for mutant in MUTANTS if mutant.tests])
    said = f"Of {len(MUTANTS)} faults {noticed} are noticed. The other {len(MUTANTS) - noticed} change nothing"
    assert said in (ROOT / "docs" / "promises.md").read_text()


@pytest.mark.parametrize(
    "head",
    [
        "Broken: x\n",
        "Noticed by: y\n",
        "Broken: x\nNoticed by: y\nEquivalent: z\n",
        "Broken: x\nSeen by: y\n",
        "Broken: x\nBroken: x\nNoticed by: y\n",
    ],
)
def test_a_head_that_does_not_say_all_is_refused(tmp_path: Path, head: str) -> None:
    path = tmp_path / "one.patch"
    path.write_text(f"{head}\n--- a/x\n+++ b/x\n")
    with pytest.raises(ValueError, match=r"'one\.patch': its head must say"):
        read_mutant(path)


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        (["noticed", "equivalent"], 0),
        (["noticed", "SURVIVED"], 1),
        (["noticed", "ERROR: the patch does not apply"], 1),
    ],
)
def test_a_survivor_and_a_patch_that_does_not_apply_fail(
    verdicts: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status == report(verdicts, 1.0)
    assert "1 noticed" in capsys.readouterr().out
