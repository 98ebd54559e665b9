"""git gpa schedule: what it prints is taken by systemd and by cron, whatever the path, and starts what it should."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from oracle import git
from running import all_files, gpa, gpa_any, gpa_json

from gpa_maint import commands
from gpa_maint.errors import GpaError
from gpa_maint.model.setup import Schedule
from gpa_maint.setup.timers import Job, make_schedule

ODD_NAMES = [
    "plain",
    "two words",
    "100%h",
    "it's",
    'a "quote"',
    "$HOME",
    "${x} $$",
    "dollar$",
    "ends ",
    "semi;colon",
    "é",
]

BACKSLASH = "back\\slash\\"


@pytest.fixture(params=ODD_NAMES)
def odd_repo(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    repo = tmp_path / str(request.param)
    repo.mkdir()
    git(repo, "init", "--quiet", "--bare")
    return repo


@pytest.fixture
def stub(tmp_path: Path) -> str:
    """A program, at a path that needs quotes, that says where and how it was started."""
    path = tmp_path / "bin of %s" / "git-gpa"
    path.parent.mkdir()
    path.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return str(path)


def as_cron_reads(line: str) -> str:
    """The command of a crontab's line: a percent sign without a backslash would end it."""
    match = re.fullmatch(r"(\d+) \* \* \* \* (.*)", line)
    assert match and int(match[1]) < 60, line
    assert not re.search(r"(?<!\\)%", match[2]), line
    return match[2].replace("\\%", "%")


def started_by_cron(schedule: Schedule) -> list[str]:
    """What the stub says when the shell runs the line, as cron has it do: in the home directory, with a short PATH."""
    (file,) = schedule.files
    line = file.content.splitlines()[-1]
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/"}
    done = subprocess.run(
        ["/bin/sh", "-c", as_cron_reads(line)], cwd="/", env=environment, capture_output=True, text=True
    )
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()


def test_the_cron_line_starts_a_run_in_the_repository(odd_repo: Path, stub: str) -> None:
    found = commands.schedule(str(odd_repo), system="cron", program=stub)
    assert [str(odd_repo.resolve()), "run", "--auto", "-q"] == started_by_cron(found)


def test_the_cron_line_for_a_folder_runs_in_all(odd_repo: Path, stub: str) -> None:
    found = commands.schedule(system="cron", folder=str(odd_repo), program=stub)
    assert ["/", "run", f"--all={odd_repo.resolve()}", "--keep-going", "--auto", "-q"] == started_by_cron(found)


def read_by_systemd(schedule: Schedule, folder: Path) -> str:
    """systemd-analyze is content with the files; gives what it prints of them."""
    folder.mkdir()
    paths = [folder / Path(file.path).name for file in schedule.files]
    for path, file in zip(paths, schedule.files, strict=True):
        path.write_text(file.content)
    environment = os.environ | {"SYSTEMD_LOG_LEVEL": "debug"}
    done = subprocess.run(["systemd-analyze", "verify", *paths], env=environment, capture_output=True, text=True)
    # Units of the system's own that it loads beside ours are none of our business.
    complaints = [line for line in done.stderr.splitlines() if re.match(rf"{folder}.*\.(service|timer):", line)]
    # Nor is who runs the tests: it dislikes units of the user `nobody`.
    complaints = [line for line in complaints if "Special user nobody" not in line]
    assert [] == complaints, done.stderr
    return done.stdout


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize("all_", [False, True], ids=["repository", "folder"])
def test_systemd_is_content_with_the_units(odd_repo: Path, stub: str, tmp_path: Path, all_: bool) -> None:
    folder = str(odd_repo) if all_ else None
    found = commands.schedule(str(odd_repo), folder=folder, program=stub, git_dir="/opt/my git/bin")
    read = read_by_systemd(found, tmp_path / "units")
    assert "\t\tEnvironment: PATH=/opt/my git/bin:/usr/local/bin:/usr/bin:/bin\n" in read
    assert all_ or f"\t\tWorkingDirectory: {odd_repo.resolve()}\n" in read


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_would_complain(tmp_path: Path, stub: str) -> None:
    found = commands.schedule(folder=str(tmp_path), program=stub)
    (service, timer) = found.files
    broken = service._replace(content=service.content.replace("Type=oneshot", "Type=once"))
    with pytest.raises(AssertionError, match="once"):
        read_by_systemd(found._replace(files=(broken, timer)), tmp_path / "units")


def unquoted(text: str) -> list[str]:
    """A command line as systemd.service(5) reads it: quoted words, specifiers, variables but in the first."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="")
    lexer.whitespace_split, lexer.commenters, lexer.escapedquotes = True, "", '"'
    words = []
    for number, word in enumerate(lexer):
        assert not re.search(r"%(?!%)", word.replace("%%", "")), word
        plain = word.replace("%%", "%")
        if number:
            assert "$" not in plain.replace("$$", ""), plain
            plain = plain.replace("$$", "$")
        words.append(plain)
    return words


def lines_of(schedule: Schedule) -> dict[str, str]:
    """The settings of the service."""
    lines = schedule.files[0].content.splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_service_starts_a_run_in_the_repository(odd_repo: Path, stub: str) -> None:
    settings = lines_of(commands.schedule(str(odd_repo), program=stub))
    assert [stub, "run", "--auto"] == unquoted(settings["ExecStart"])
    assert str(odd_repo.resolve()) == settings["WorkingDirectory"].replace("%%", "%").removesuffix("/.")
    assert ("oneshot", "idle") == (settings["Type"], settings["IOSchedulingClass"])
    assert "Nice" in settings


def test_the_service_for_a_folder_runs_in_all(odd_repo: Path, stub: str) -> None:
    settings = lines_of(commands.schedule(folder=str(odd_repo), program=stub))
    assert [stub, "run", f"--all={odd_repo.resolve()}", "--keep-going", "--auto"] == unquoted(settings["ExecStart"])
    assert "WorkingDirectory" not in settings


def test_backslashes_are_for_systemd_alone(tmp_path: Path, stub: str) -> None:
    git(tmp_path, "init", "--quiet", "--bare", BACKSLASH)
    repo = tmp_path / BACKSLASH
    settings = lines_of(commands.schedule(str(repo), program=stub))
    assert f"{repo}/." == settings["WorkingDirectory"]
    settings = lines_of(commands.schedule(folder=str(repo), program=stub))
    assert f"--all={repo}" in unquoted(settings["ExecStart"])
    with pytest.raises(GpaError, match="cron reads backslashes in its own way"):
        commands.schedule(str(repo), system="cron", program=stub)
    with pytest.raises(GpaError, match="systemd starts no program whose path has quotes or backslashes"):
        commands.schedule(str(repo), program="/opt/it's/git-gpa")


@pytest.mark.parametrize("system", ["systemd", "cron"])
@pytest.mark.parametrize("name", ["two\nlines", "no \udcff utf-8", "tab\tstop"])
def test_a_path_that_no_file_can_name_is_refused(tmp_path: Path, stub: str, system: str, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    with pytest.raises(GpaError, match="cannot write '"):
        commands.schedule(system=system, folder=str(folder), program=stub)


def test_the_timer_is_hourly_spread_and_makes_up_for_what_was_missed(odd_repo: Path, stub: str) -> None:
    timer = commands.schedule(str(odd_repo), program=stub).files[1].content
    for line in ("OnCalendar=hourly", "RandomizedDelaySec=15min", "Persistent=true", "WantedBy=timers.target"):
        assert f"\n{line}\n" in timer


def test_the_units_are_named_alike_and_the_commands_name_the_timer(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "pro ject.git")
    found = commands.schedule(str(tmp_path / "pro ject.git"))
    base = "/etc/systemd/system/git-gpa-pro_ject"
    assert [f"{base}.service", f"{base}.timer"] == [file.path for file in found.files]
    assert ("systemctl daemon-reload", "systemctl enable --now git-gpa-pro_ject.timer") == found.commands


def test_a_work_tree_is_named_by_its_folder(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "work")
    found = commands.schedule(str(tmp_path / "work"))
    assert "/etc/systemd/system/git-gpa-work.service" == found.files[0].path
    assert str((tmp_path / "work" / ".git").resolve()) == lines_of(found)["WorkingDirectory"]


def test_the_owner_of_the_repository_runs_it() -> None:
    job = Job("git-gpa-x", "x", ("/bin/git-gpa", "run"), "/srv/x", "git", "")
    assert "git" == lines_of(make_schedule(job, system="systemd"))["User"]
    assert ("crontab -e -u git",) == make_schedule(job, system="cron").commands
    assert "User" not in lines_of(make_schedule(job._replace(user=""), system="systemd"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_owner_is_found_by_name_or_number(tmp_path: Path) -> None:
    user = next(user for user in pwd.getpwall() if user.pw_uid)
    for number, name in ((user.pw_uid, user.pw_name), (54321, "54321")):
        os.chown(tmp_path, number, -1)
        assert name == lines_of(commands.schedule(folder=str(tmp_path)))["User"]
    os.chown(tmp_path, 0, -1)


def test_a_git_in_an_unusual_place_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "repo")
    usual = os.path.dirname(shutil.which("git") or "") in ("/usr/local/bin", "/usr/bin", "/bin")
    assert usual != ("PATH=" in gpa(tmp_path / "repo", "schedule", "--print=cron").stdout)
    folder = tmp_path / "my tools"
    folder.mkdir()
    (folder / "git").symlink_to(shutil.which("git") or "")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    expected = f"PATH={folder}:/usr/local/bin:/usr/bin:/bin"
    assert f'\nEnvironment="{expected}"\n' in gpa(tmp_path / "repo", "schedule", "--print=systemd").stdout
    assert f"PATH='{expected[5:]}' GIT_DIR=. nice " in gpa(tmp_path / "repo", "schedule", "--print=cron").stdout


def test_the_answer_is_for_reading_and_for_saving_and_nothing_is_written(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "repo")
    before = all_files(tmp_path)
    answer = gpa(tmp_path / "repo", "schedule", "--print=systemd").stdout
    found = gpa_json(tmp_path / "repo", "schedule", "--print=systemd")
    assert ("Schedule", "systemd") == (found["kind"], found["system"])
    for file in found["files"]:
        assert f"\n# {file['path']}\n{file['content']}" in answer + "\n"
    assert all(f"#   {command}\n" in answer for command in found["commands"])
    line = gpa(tmp_path / "repo", "schedule", "--print=cron").stdout.splitlines()[-1]
    program = shlex.split(as_cron_reads(line))[-4]
    assert ("git-gpa", True) == (os.path.basename(program), os.access(program, os.X_OK) and os.path.isabs(program))
    assert before == all_files(tmp_path)


def test_wrong_usage_is_refused(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "repo")
    for words in ([], ["--print=launchd"], ["--print=cron", "--object-dir=objects"]):
        assert 129 == gpa_any(tmp_path / "repo", "schedule", *words).returncode, words
    missing = gpa_any(tmp_path / "repo", "schedule", "--print=cron", "--all=no-such-folder")
    assert 128 == missing.returncode
    assert missing.stderr.endswith("no-such-folder' is not a directory\n")
    assert 128 == gpa_any(tmp_path, "schedule", "--print=cron").returncode
    assert 0 == gpa_any(tmp_path, "schedule", "--print=cron", "--all=.").returncode


def test_what_is_scheduled_works(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "--bare", "two words.git")
    for words in (["--print=cron"], ["--print=cron", f"--all={tmp_path}"]):
        line = gpa(tmp_path / "two words.git", "schedule", *words).stdout.splitlines()[-1]
        done = subprocess.run(["/bin/sh", "-c", as_cron_reads(line)], cwd="/", capture_output=True, text=True)
        assert (0, "", "") == (done.returncode, done.stdout, done.stderr)
    assert 2 == len((tmp_path / "two words.git" / "gpa" / "log").read_text().splitlines())
