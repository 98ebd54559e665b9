"""Settings as users meet them: the table, the values that hold, a misspelt key, and completion in a shell."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest
from histories import init_server
from oracle import git
from running import gpa, gpa_any

from gpa_maint.cli.main import VERBS
from gpa_maint.repo import config

GITS_COMPLETION = Path("/usr/share/bash-completion/completions/git")
OURS = Path(__file__).parents[2] / "docs" / "completion"


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return init_server(tmp_path / "server.git")


def test_every_key_is_listed_with_its_type_default_and_meaning(repo: Path) -> None:
    lines = gpa(repo, "config", "--list-keys").stdout.splitlines()
    assert [[key, kind, default] for key, _, kind, default, _ in config.KEYS] == [line.split()[:3] for line in lines]
    rows = json.loads(gpa(repo, "config", "--list-keys", "--json").stdout)["keys"]
    assert [meaning for *_, meaning in config.KEYS] == [row["meaning"] for row in rows]


def test_the_values_that_hold_are_shown(repo: Path) -> None:
    git(repo, "config", "gpa.pageBytes", "2m")
    git(repo, "config", "gpa.expireGrace", "2.days")
    shown = dict(line.split("=") for line in gpa(repo, "config").stdout.splitlines())
    assert shown.keys() == {key for key, *_ in config.KEYS}
    assert ("2097152", "172800", "2000") == (shown["gpa.pageBytes"], shown["gpa.expireGrace"], shown["gpa.pageObjects"])
    assert 2097152 == json.loads(gpa(repo, "config", "--json").stdout)["settings"]["gpa.pageBytes"]


@pytest.mark.parametrize("verb", ["run", "status", "write", "config"])
def test_a_misspelt_key_is_warned_of_once(repo: Path, verb: str) -> None:
    git(repo, "config", "gpa.pagesObjects", "5")
    told = gpa_any(repo, verb)
    assert 0 == told.returncode
    assert 1 == told.stderr.count("unknown setting 'gpa.pagesobjects'")


def complete(repo: Path, line: str) -> list[str]:
    """What bash would offer at the end of `line`."""
    script = f"""
        source {GITS_COMPLETION}
        source {OURS / "git-gpa"}
        COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
        COMP_WORDS=({line} {"''" if line.endswith(" ") else ""}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
        __git_wrap__git_main 2>/dev/null
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    told = subprocess.run(["bash", "-c", script], cwd=repo, capture_output=True, text=True, check=True, env=os.environ)
    return [word.strip() for word in told.stdout.splitlines() if word.strip()]


@pytest.mark.skipif(not GITS_COMPLETION.exists(), reason="git's completion for bash is not installed")
def test_bash_completes_verbs_and_options(repo: Path) -> None:
    assert set(VERBS) == set(complete(repo, "git gpa "))
    assert ["repack", "repack-v1", "repair"] == sorted(complete(repo, "git gpa rep"))
    assert "--batch-size" in "".join(complete(repo, "git gpa repack --"))
    assert ["--grace"] == [word.removesuffix("=") for word in complete(repo, "git gpa expire --gr")]


FILES = {"bash": "git-gpa", "zsh": "_git-gpa", "fish": "git-gpa.fish"}


@pytest.mark.parametrize(("shell", "name"), FILES.items())
def test_completion_is_printed_for(shell: str, name: str, tmp_path: Path) -> None:
    printed = gpa(tmp_path, "completion", shell).stdout
    assert printed == (OURS / name).read_text()
    assert {"kind": "Completion", "version": 1, "shell": shell, "script": printed} == json.loads(
        gpa(tmp_path, "completion", shell, "--json").stdout
    )
    assert f"git gpa completion {shell} >" in gpa_any(tmp_path, "completion", "-h").stdout


@pytest.mark.parametrize("words", [[], ["tcsh"], ["bash", "zsh"], ["bash", "--object-dir=x"]])
def test_completion_for_another_shell_is_wrong_usage(words: list[str], tmp_path: Path) -> None:
    assert 129 == gpa_any(tmp_path, "completion", *words).returncode


@pytest.mark.skipif(not GITS_COMPLETION.exists(), reason="git's completion for bash is not installed")
def test_bash_completes_the_shells(repo: Path) -> None:
    assert ["bash", "fish", "zsh"] == sorted(complete(repo, "git gpa completion "))


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
def test_fish_completes_where_the_help_says(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", os.fspath(repo.parent))
    folder = repo.parent / ".config" / "fish" / "conf.d"
    folder.mkdir(parents=True)
    (folder / "git-gpa.fish").write_text(gpa(repo, "completion", "fish").stdout)
    for line, expected in (("rep", {"repack", "repack-v1", "repair"}), ("expire --gr", {"--grace"})):
        told = subprocess.run(["fish", "-c", f"complete -C 'git gpa {line}'"], cwd=repo, capture_output=True, text=True)
        assert expected == set(told.stdout.split()), told.stderr


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
def test_zsh_completes_where_the_help_says(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a shell with a terminal, by the tabulator key."""
    monkeypatch.setenv("HOME", os.fspath(repo.parent))
    (repo.parent / ".zfunc").mkdir()
    (repo.parent / ".zfunc" / "_git-gpa").write_text(gpa(repo, "completion", "zsh").stdout)
    (repo.parent / ".zshrc").write_text("fpath+=(~/.zfunc)\nautoload -Uz compinit\ncompinit -u\nPS1='ready> '\n")
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(repo)
        os.execvp("zsh", ["zsh", "-i"])
    said = b""
    for shown, keys in ((b"ready> ", b"git gpa rep\t\t"), (b"repack-v1", b"\x03exit\r")):
        while shown not in said:
            said += os.read(terminal, 65536)
        os.write(terminal, keys)
    assert b"repair" in said
    os.close(terminal)
    os.waitpid(child, 0)


@pytest.mark.parametrize(("shell", "name"), [("bash", "git-gpa"), ("zsh", "_git-gpa"), ("fish", "git-gpa.fish")])
def test_each_shell_can_read_its_file(shell: str, name: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "-n", OURS / name], check=True)
