"""An incremental chain of indexes on which a newer git would die: verify, status, repair -n say so, repair ends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import damage as d
import pytest
from histories import HistorySpec, pushed_history
from oracle import content_digest, fsck, git, pack_dir, verify_midx
from running import all_files, gpa, gpa_any, gpa_json, index_path


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pushes under a chain of one layer; not to be changed."""
    repo = pushed_history(tmp_path_factory.mktemp("pushed"), HistorySpec(pushes=4, files=4)).server
    git(repo, "multi-pack-index", "write")
    content = index_path(repo).read_bytes()
    folder = pack_dir(repo) / "multi-pack-index.d"
    folder.mkdir()
    (folder / f"multi-pack-index-{content[-20:].hex()}.midx").write_bytes(content)
    (folder / "multi-pack-index-chain").write_text(f"{content[-20:].hex()}\n")
    index_path(repo).unlink()
    return repo


@pytest.fixture
def repo(pushed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pushed, tmp_path / "server"))


def chain(repo: Path) -> Path:
    return pack_dir(repo) / "multi-pack-index.d" / "multi-pack-index-chain"


def layer(repo: Path) -> Path:
    return next(chain(repo).parent.glob("*.midx"))


def layer_missing(repo: Path) -> None:
    layer(repo).unlink()


def chain_of_garbage(repo: Path) -> None:
    chain(repo).write_text("no hash\n")


def chain_empty(repo: Path) -> None:
    chain(repo).write_bytes(b"")


def chain_cut(repo: Path) -> None:
    chain(repo).write_text(chain(repo).read_text()[:20])


def layer_twice(repo: Path) -> None:
    chain(repo).write_text(chain(repo).read_text() * 2)


def layer_of_another_name(repo: Path) -> None:
    name = "a" * 40
    layer(repo).rename(layer(repo).with_name(f"multi-pack-index-{name}.midx"))
    chain(repo).write_text(f"{name}\n")


def layer_damaged(damage: d.Damage) -> Callable[[Path], None]:
    return lambda repo: d.rewrite(layer(repo), damage)


def pack_gone(repo: Path) -> None:
    """A pack that others hold too goes, as when git 2.39's gc removes packs under a chain that it does not know."""
    git(repo, "repack", "-q", "-a", "-d")


def layer_is_a_folder(repo: Path) -> None:
    path = layer(repo)
    path.unlink()
    path.mkdir()


FAULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "layer missing": (layer_missing, "the chain names this layer, and it is not there"),
    "garbage": (chain_of_garbage, "line 'no hash' is not a hash"),
    "empty": (chain_empty, "line '' is not a hash"),
    "cut": (chain_cut, "is not a hash"),
    "twice": (layer_twice, "is there twice"),
    "another name": (layer_of_another_name, "another than its name says"),
    "wrong trailer": (layer_damaged(d.flipped(-1)), "another than its name says"),
    "damaged body": (layer_damaged(d.flipped(1300)), "incorrect checksum"),
    "magic": (layer_damaged(d.flipped(0)), "does not match signature"),
    "truncated": (layer_damaged(d.truncated(1000)), "improper chunk offset(s)"),
    "no bytes": (layer_damaged(d.truncated(0)), "too small"),
    "pack gone": (pack_gone, "which is not there"),
    "folder": (layer_is_a_folder, "not a regular file"),
}


HIDDEN = ("layer missing", "garbage", "wrong trailer")
"""Those that are tried beside a single file too, which hides the chain until somebody removes it."""


@pytest.mark.parametrize(
    ("fault", "is_hidden"), [*((fault, False) for fault in FAULTS), *((fault, True) for fault in HIDDEN)]
)
def test_a_damaged_chain_is_told_of(repo: Path, fault: str, is_hidden: bool) -> None:
    break_, says = FAULTS[fault]
    break_(repo)
    if is_hidden:
        git(repo, "multi-pack-index", "write")
    before = all_files(pack_dir(repo))
    for words in (["verify"], *([["verify", "--deep"]] if is_hidden else []), ["repair", "-n"]):
        told = gpa_any(repo, *words)
        assert 1 == told.returncode, words
        assert says in told.stdout + told.stderr, words
        assert "multi-pack-index.d" in told.stdout + told.stderr, words
    (warning,) = [one for one in gpa_json(repo, "status")["warnings"] if one["code"] == "broken-chain"]
    assert says in warning["text"]
    assert before == all_files(pack_dir(repo))


@pytest.mark.parametrize("verb", ["repair", "write"])
@pytest.mark.parametrize("fault", ["layer missing", "garbage", "wrong trailer", "pack gone"])
def test_a_damaged_chain_is_replaced_by_a_single_index(repo: Path, verb: str, fault: str) -> None:
    digest = content_digest(repo)
    FAULTS[fault][0](repo)
    assert 0 == gpa_any(repo, verb).returncode
    assert not chain(repo).exists()
    verify_midx(repo)
    fsck(repo)
    assert digest == content_digest(repo)
    assert "no damage was found\n" == gpa(repo, "repair", "-n").stdout


def test_a_sound_chain_is_no_finding(repo: Path) -> None:
    gpa(repo, "verify", "--deep")
    assert "no damage was found\n" == gpa(repo, "repair", "-n").stdout
    gpa(repo, "write")
    assert not chain(repo).exists()


@pytest.mark.parametrize("of", [chain, layer], ids=["chain", "layer"])
def test_a_chain_that_cannot_be_read_is_left_and_named(repo: Path, of: Callable[[Path], Path]) -> None:
    """A link to itself: the system says ELOOP, to root too."""
    path = of(repo)
    path.unlink()
    os.symlink(path.name, path)
    told = gpa_any(repo, "repair")
    assert 1 == told.returncode
    assert "multi-pack-index" in told.stderr
    assert path.is_symlink()
    assert 1 == gpa_any(repo, "verify").returncode
