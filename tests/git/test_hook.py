"""The hook script: it starts maintenance when that is due, and no push or commit waits for it or fails because of it.

In place of git-gpa stands a small program that writes down how it was called.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from histories import History, HistorySpec, send_push
from oracle import fsck, git, git_line
from running import gpa, gpa_any

from gpa_maint import install
from gpa_maint.setup.plan import START
from gpa_maint.setup.scripts import EVENTS, render

HistoryFactory = Callable[[HistorySpec], History]

SHELLS = [shell for shell in ("dash", "bash", "busybox", "mksh", "ksh", "yash") if shutil.which(shell)]
FAR = 100_000

NOTE_CALL = 'echo "$@ in $GIT_DIR, $PWD, ${GIT_INDEX_FILE-none}" >>{log}'


class StubGpa:
    """A program in place of git-gpa; `calls` are the words it was called with, the repository and the directory."""

    def __init__(self, folder: Path, script: str = NOTE_CALL) -> None:
        folder.mkdir()
        self.log = folder / "log"
        self.program = folder / "git-gpa"
        self.becomes(script)

    def becomes(self, script: str) -> None:
        self.program.write_text(f"#!/bin/sh\n{script.replace('{log}', shlex.quote(str(self.log)))}\n")
        self.program.chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def stub(tmp_path: Path) -> StubGpa:
    return StubGpa(tmp_path / "bin")


@pytest.fixture
def hooked(history: HistoryFactory, stub: StubGpa) -> History:
    """A server with the hooks, for which maintenance is due since it never ran."""
    made = history(HistorySpec(pushes=3, waiting=2))
    install(str(made.server), program=str(stub.program))
    return made


@pytest.fixture
def bare(tmp_path: Path, stub: StubGpa) -> Path:
    """An empty server with the hooks, in a folder that shells may stumble over."""
    repo = tmp_path / "it's [a] $HOME * folder" / "server.git"
    repo.mkdir(parents=True)
    git(repo, "init", "--quiet", "--bare")
    install(str(repo), program=str(stub.program))
    return repo


def settled(
    command: Sequence[str | Path], cwd: Path, *, env: Mapping[str, str] | None = None, input: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command, and wait for all that it leaves in the background: for the end of a pipe that they inherit."""
    reading, writing = os.pipe()
    high = os.dup2(writing, 40, inheritable=True)  # the script closes up to 9, git-gpa itself the rest
    os.close(writing)
    done = subprocess.run(
        command,
        cwd=cwd,
        input=input,
        text=True,
        capture_output=True,
        check=False,
        pass_fds=[high],
        env={**os.environ, **env} if env else None,
        timeout=60,
    )
    os.close(high)
    with open(reading, "rb") as pipe:
        pipe.read()
    return done


def run_hook(
    repo: Path, *args: str, event: str = "post-receive", shell: str = "sh", input: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """As git runs it after a push, but by the given shell."""
    words = [*_shell(shell), repo / "hooks" / event, *args]
    return settled(words, repo, env={"GIT_DIR": ".", **env}, input=input)


def assert_silent(done: subprocess.CompletedProcess[str]) -> None:
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def _shell(name: str) -> list[str]:
    return ["busybox", "sh"] if name == "busybox" else [name]


def set_next(repo: Path, text: str, *, due_in: int = 3600) -> None:
    """What maintenance leaves: nothing is due below these counts, until `due_in` seconds from now."""
    (repo / "gpa").mkdir(exist_ok=True)
    (repo / "gpa" / "next").write_text(text)
    for old in (repo / "gpa").glob("next-*"):
        old.unlink()
    (repo / "gpa" / f"next-{'-'.join(text.split())}".replace("\0", "")).touch()
    at = time.time() + due_in
    os.utime(repo / "gpa" / "next", (at, at))


def add_files(folder: Path, prefix: str, suffix: str, count: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{prefix}{number}{suffix}").touch()


# -- I10


@pytest.mark.timeout(60)
def test_a_push_does_not_wait_for_maintenance(hooked: History, stub: StubGpa, tmp_path: Path) -> None:
    """I10. Maintenance that never ends by itself: it waits until somebody opens the other end of its pipe."""
    begun, end = tmp_path / "begun", tmp_path / "end"
    os.mkfifo(begun)
    os.mkfifo(end)
    stub.becomes(f'echo "$@" >{begun}; cat {end}; exit 1')
    send_push(hooked.client, hooked.server, hooked.waiting[0])
    assert "run --auto --detach\n" == begun.read_text()
    end.write_text("")
    fsck(hooked.server)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("lent", [3, 5, 9])
@pytest.mark.parametrize("shell", SHELLS)
def test_maintenance_holds_nothing_that_somebody_waits_for(
    hooked: History, stub: StubGpa, tmp_path: Path, shell: str, lent: int
) -> None:
    """I10. sshd reads to the end of every descriptor that it lent, and git lends the hook one beyond 2."""
    begun, end = tmp_path / "begun", tmp_path / "end"
    os.mkfifo(begun)
    os.mkfifo(end)
    stub.becomes(f"echo >{begun}; cat {end}; exit 1")
    reading, writing = os.pipe()
    hook = [*_shell(shell), str(hooked.server / "hooks" / "post-receive")]
    pipe = subprocess.PIPE

    def lend() -> None:
        os.dup2(writing, lent)

    with subprocess.Popen(
        hook, cwd=hooked.server, stdin=pipe, stdout=pipe, stderr=pipe, close_fds=False, preexec_fn=lend
    ) as running:
        os.close(writing)
        assert (b"", b"") == running.communicate()
        assert b"" == os.read(reading, 1)
    os.close(reading)
    assert 0 == running.returncode
    begun.read_text()
    end.write_text("")


@pytest.mark.parametrize("script", [None, "exit 1", "kill -9 $$"], ids=["gone", "fails", "is killed"])
def test_a_push_succeeds_where_git_gpa_is_gone_or_fails(
    hooked: History, stub: StubGpa, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    """I10"""
    if script is None:
        stub.program.unlink()
        monkeypatch.setenv("PATH", os.defpath)
    else:
        stub.becomes(script)
    send_push(hooked.client, hooked.server, hooked.waiting[0])
    (update,) = hooked.waiting[0]
    assert update.oid == git(hooked.server, "rev-parse", update.ref).stdout.strip()


@pytest.mark.parametrize("shell", SHELLS)
def test_our_part_says_nothing_and_reads_nothing(bare: Path, stub: StubGpa, shell: str) -> None:
    """I10. Not even when files are missing that it looks for."""
    for text in ("", "no number\n", "1 x\n", "\0\1\n", "9"):
        set_next(bare, text)
        assert_silent(run_hook(bare, shell=shell, input="a b refs/heads/c\n"))
    (bare / "gpa" / "next").unlink()
    (bare / "gpa" / "next").mkdir()
    assert_silent(run_hook(bare, shell=shell))
    shutil.rmtree(bare / "objects")
    assert_silent(run_hook(bare, shell=shell))


@pytest.mark.parametrize("shell", SHELLS)
def test_our_part_leaves_the_input_to_others(bare: Path, stub: StubGpa, shell: str) -> None:
    both = f"{' '.join(_shell(shell))} hooks/post-receive; cat"
    done = settled(["sh", "-c", both], bare, env={"GIT_DIR": "."}, input="old new ref\n")
    assert "old new ref\n" == done.stdout
    assert 1 == len(stub.calls)


def test_in_a_quarantine_the_hook_starts_nothing(bare: Path, stub: StubGpa) -> None:
    assert 0 == run_hook(bare, GIT_QUARANTINE_PATH=str(bare)).returncode
    assert [] == stub.calls
    run_hook(bare)
    assert stub.calls


# -- What it starts


def test_a_push_starts_a_run_in_the_repository_with_its_own_variables_only(hooked: History, stub: StubGpa) -> None:
    (update,) = hooked.waiting[0]
    push = ["git", "push", "-q", str(hooked.server), f"+{update.oid}:{update.ref}"]
    assert 0 == settled(push, hooked.client, env={"GIT_INDEX_FILE": "/nowhere"}).returncode
    assert [f"run --auto --detach in {hooked.server}, {hooked.server}, none"] == stub.calls


def test_variables_that_lead_elsewhere_are_not_handed_on(bare: Path, stub: StubGpa) -> None:
    stub.becomes("env >{log}")
    misleading = "OBJECT_DIRECTORY ALTERNATE_OBJECT_DIRECTORIES INDEX_FILE WORK_TREE COMMON_DIR NAMESPACE CONFIG PREFIX"
    run_hook(bare, **{f"GIT_{name}": "elsewhere" for name in misleading.split()}, CDPATH="/")
    assert [] == [line for line in stub.calls if line.endswith("=elsewhere") or line.startswith("CDPATH")]
    assert f"GIT_DIR={bare}" in stub.calls


def test_where_the_program_is_gone_the_one_in_path_is_started(bare: Path, stub: StubGpa, tmp_path: Path) -> None:
    other = StubGpa(tmp_path / "other")
    stub.program.unlink()
    run_hook(bare, PATH=f"{other.program.parent}:{os.environ['PATH']}")
    assert 1 == len(other.calls)


def test_the_program_may_be_called_as_it_likes(tmp_path: Path, bare: Path) -> None:
    stub = StubGpa(tmp_path / "it's a $(folder)")
    install(str(bare), program=str(stub.program))
    run_hook(bare)
    assert 1 == len(stub.calls)


@pytest.mark.timeout(60)
def test_pushes_alone_keep_a_server_merged(history: HistoryFactory) -> None:
    """The hooks and git-gpa itself, with nobody who runs anything by hand."""
    made = history(HistorySpec(pushes=3, waiting=24))
    git(made.server, "config", "gpa.autoPages", "4")
    assert install(str(made.server)).changes
    for push in made.waiting:
        send_push(made.client, made.server, push)
    log = made.server / "gpa" / "log"
    while not (log.exists() and "merged" in log.read_text()):
        time.sleep(0.05)
    while gpa_any(made.server, "run").returncode == 75:  # the last one is still at work
        time.sleep(0.05)
    fsck(made.server)


# -- When it is due


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("text", "packs", "loose", "due_in", "started"),
    [
        ("5 8\n", 0, 0, 60, False),
        ("1 1\n", 0, 0, 60, False),
        ("5 8\n", 4, 1, 60, False),
        ("5 8\n", 5, 0, 60, True),
        ("5 8\n", 0, 2, 60, True),
        ("5 8\n", 0, 0, -2, True),
        ("5\n", 0, 0, 60, True),
        ("5 8 9\n", 0, 0, 60, True),
        ("", 0, 0, 60, True),
        ("five eight\n", 0, 0, 60, True),
    ],
)
def test_a_run_is_started_when_counts_or_time_say_so(
    bare: Path, stub: StubGpa, shell: str, text: str, packs: int, loose: int, due_in: int, started: bool
) -> None:
    set_next(bare, text, due_in=due_in)
    add_files(bare / "objects/pack", "pack-", ".idx", packs)
    add_files(bare / "objects/pack", "pack-", ".pack", 20)
    for fan in ("17", "3c", "8a", "d5"):
        add_files(bare / "objects" / fan, "", "", loose)
    add_files(bare / "objects/00", "", "", 20)
    run_hook(bare, shell=shell)
    assert started == bool(stub.calls)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_counts_stand_in_one_name_only(bare: Path, stub: StubGpa, shell: str) -> None:
    set_next(bare, f"{FAR} {FAR}\n")
    run_hook(bare, shell=shell)
    assert [] == stub.calls
    (bare / "gpa" / "next-1-1").touch()
    run_hook(bare, shell=shell)
    assert 1 == len(stub.calls)


@pytest.mark.parametrize("name", ["next", f"next-{10**6}-{10**6}"])
@pytest.mark.parametrize("kind", ["fifo", "sparse", "device", "folder", "link", "dangling"])
def test_no_push_waits_for_what_lies_there(bare: Path, stub: StubGpa, tmp_path: Path, kind: str, name: str) -> None:
    """`name` is what a hook looks at; settled() ends what takes too long."""
    set_next(bare, f"{FAR} {FAR}\n")
    path = bare / "gpa" / name
    path.unlink(missing_ok=True)
    put_oddity(path, kind, tmp_path)
    assert_silent(run_hook(bare))


def put_oddity(path: Path, kind: str, tmp_path: Path) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "sparse":
        path.touch()
        os.truncate(path, 20 << 30)
    elif kind == "folder":
        path.mkdir()
    else:
        (tmp_path / "outside").write_text("outside")
        path.symlink_to({"device": "/dev/zero", "link": tmp_path / "outside", "dangling": "/no/such/file"}[kind])


def test_a_run_leaves_the_counts_for_the_hook(history: HistoryFactory) -> None:
    server = history(HistorySpec(pushes=3)).server
    gpa(server, "run")
    for _ in range(2):
        counts = (server / "gpa" / "next").read_text().split()
        assert [f"next-{'-'.join(counts)}"] == [path.name for path in (server / "gpa").glob("next-*")]
        (server / "gpa" / "next-1-1").touch()
        gpa(server, "run")


def test_a_run_is_started_when_there_never_was_one(bare: Path, stub: StubGpa) -> None:
    run_hook(bare)
    assert 1 == len(stub.calls)


def test_without_proc_the_time_is_that_of_a_file_just_made(bare: Path, stub: StubGpa, tmp_path: Path) -> None:
    """Elsewhere: of what lies in gpa/ nothing is written."""
    (tmp_path / "precious").write_text("precious")
    (bare / "gpa").mkdir(exist_ok=True)
    (bare / "gpa" / "hook").symlink_to(tmp_path / "precious")
    for event in EVENTS:
        hook = bare / "hooks" / event
        hook.write_text(hook.read_text().replace("/proc/self", "/no/such/file"))
    set_next(bare, "5 8\n", due_in=60)
    run_hook(bare)
    assert [] == stub.calls
    set_next(bare, "5 8\n", due_in=-2)
    run_hook(bare)
    assert 1 == len(stub.calls)
    assert "precious" == (tmp_path / "precious").read_text()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("shell", [shell for shell in SHELLS if shell != "busybox"])
def test_where_nothing_is_due_no_process_is_started(bare: Path, tmp_path: Path, shell: str) -> None:
    set_next(bare, f"{FAR} {FAR}\n")
    add_files(bare / "objects/pack", "pack-", ".idx", 50)
    trace = ["strace", "-f", "-qq", "-e", "trace=process", "-o", str(tmp_path / "trace")]
    done = settled([*trace, shell, "hooks/post-receive"], bare, env={"GIT_DIR": "."})
    if done.returncode:
        pytest.skip(f"strace does not work here: {done.stderr}")
    calls = (tmp_path / "trace").read_text()
    assert "exit_group" in calls
    assert [] == [line for line in calls.splitlines() if any(word in line for word in ("clone", "fork", "vfork"))]


# -- The hook that was there before


@pytest.mark.parametrize("shell", SHELLS)
def test_the_older_hook_gets_arguments_and_input_and_gives_the_status(bare: Path, stub: StubGpa, shell: str) -> None:
    old = bare / "hooks" / "post-receive.before-gpa"
    old.write_text('#!/bin/sh\nprintf "%s|" "$@"; cat; echo oh >&2; exit 7\n')
    old.chmod(0o755)
    done = run_hook(bare, "one", "two words", "", shell=shell, input="old new ref\n")
    assert (7, "one|two words||old new ref\n", "oh\n") == (done.returncode, done.stdout, done.stderr)
    assert 1 == len(stub.calls)


def test_the_older_hook_has_run_before_maintenance_is_started(bare: Path, stub: StubGpa) -> None:
    old = bare / "hooks" / "post-receive.before-gpa"
    old.write_text(f'#!/bin/sh\necho older >>"{stub.log}"\n')
    old.chmod(0o755)
    run_hook(bare)
    assert ["older", "run"] == [line.split()[0] for line in stub.calls]


def test_an_older_hook_that_is_killed_gives_its_status_too(bare: Path, stub: StubGpa) -> None:
    old = bare / "hooks" / "post-receive.before-gpa"
    old.write_text("#!/bin/sh\nkill -TERM $$\n")
    old.chmod(0o755)
    assert 128 + 15 == run_hook(bare).returncode
    assert 1 == len(stub.calls)


def test_an_older_hook_that_is_not_executable_does_not_run(bare: Path, stub: StubGpa) -> None:
    (bare / "hooks" / "post-receive.before-gpa").write_text("#!/bin/sh\nexit 7\n")
    assert 0 == run_hook(bare).returncode
    assert 1 == len(stub.calls)


def test_whoever_pushes_sees_what_the_older_hook_says(hooked: History, stub: StubGpa) -> None:
    old = hooked.server / "hooks" / "post-receive.before-gpa"
    old.write_text("#!/bin/sh\nread -r _ _ ref; echo deploying $ref\n")
    old.chmod(0o755)
    (update,) = hooked.waiting[0]
    done = git(hooked.client, "push", str(hooked.server), f"+{update.oid}:{update.ref}")
    assert f"remote: deploying {update.ref}" in done.stderr


# -- Where work is done


@pytest.fixture
def work(tmp_path: Path, stub: StubGpa) -> Path:
    """A work tree with two commits and the hooks."""
    repo = tmp_path / "work"
    git(tmp_path, "init", "--quiet", repo)
    for text in ("one", "two"):
        commit(repo, text)
    install(str(repo), program=str(stub.program))
    return repo


def commit(repo: Path, text: str) -> None:
    (repo / text).write_text(text)
    git(repo, "add", text)
    git(repo, "commit", "--quiet", "-m", text)


def in_background(repo: Path, stub: StubGpa, *words: str) -> list[str]:
    """The calls that a git command leads to."""
    stub.log.unlink(missing_ok=True)
    assert 0 == settled(["git", *words], repo).returncode
    return stub.calls


def test_commits_merges_and_rewrites_start_a_run(work: Path, stub: StubGpa) -> None:
    expected = f"run --auto --detach in {work}/.git, {work}/.git, none"
    assert [expected] == in_background(work, stub, "commit", "-q", "--allow-empty", "-m", "three")
    assert [expected] * 2 == in_background(work, stub, "commit", "-q", "--amend", "--allow-empty", "-m", "four")
    git(work, "branch", "topic", "HEAD~2")
    assert expected in in_background(work, stub, "rebase", "-q", "--force-rebase", "topic")


def test_a_pull_starts_a_run(work: Path, stub: StubGpa, tmp_path: Path) -> None:
    other = tmp_path / "other"
    git(tmp_path, "clone", "--quiet", work, other)
    commit(other, "theirs")
    calls = in_background(work, stub, "pull", "-q", str(other))
    assert [f"run --auto --detach in {work}/.git, {work}/.git, none"] == calls


def test_in_a_linked_worktree_the_run_is_for_the_common_directory(work: Path, stub: StubGpa, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    git(work, "worktree", "add", "--quiet", "-b", "linked", linked)
    calls = in_background(linked, stub, "commit", "-q", "--allow-empty", "-m", "x")
    assert [f"run --auto --detach in {work}/.git, {work}/.git, none"] == calls
    set_next(work / ".git", f"{FAR} {FAR}\n")
    assert [] == in_background(linked, stub, "commit", "-q", "--allow-empty", "-m", "y")


def test_in_a_submodule_the_run_is_for_the_submodule(work: Path, stub: StubGpa, tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "super")
    git(tmp_path / "super", "submodule", "--quiet", "add", work, "part")
    part = tmp_path / "super" / "part"
    install(str(part), program=str(stub.program))
    calls = in_background(part, stub, "commit", "-q", "--allow-empty", "-m", "x")
    where = tmp_path / "super/.git/modules/part"
    assert [f"run --auto --detach in {where}, {where}, none"] == calls


def test_a_commit_to_another_git_dir_starts_a_run_there(work: Path, stub: StubGpa, tmp_path: Path) -> None:
    words = ["--git-dir", str(work / ".git"), "--work-tree", str(work), "commit", "-q", "--allow-empty", "-m", "x"]
    assert [f"run --auto --detach in {work}/.git, {work}/.git, none"] == in_background(tmp_path, stub, *words)


# -- The text


def test_all_events_have_the_same_text(bare: Path) -> None:
    assert 1 == len({(bare / "hooks" / event).read_bytes() for event in EVENTS})


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_can_read_it(tmp_path: Path, shell: str) -> None:
    (tmp_path / "hook").write_bytes(render("/bin/git-gpa"))
    done = subprocess.run([*_shell(shell), "-n", tmp_path / "hook"], capture_output=True, text=True, check=False)
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say(tmp_path: Path) -> None:
    (tmp_path / "hook").write_bytes(render("/bin/git-gpa"))
    done = subprocess.run(["shellcheck", tmp_path / "hook"], capture_output=True, text=True, check=False)
    assert "" == done.stdout


def test_the_command_of_a_hook_in_the_configuration_starts_the_script(
    work: Path, stub: StubGpa, tmp_path: Path
) -> None:
    """As git runs it: with "$@" after it when there are arguments, and in a linked worktree too."""
    script = work / ".git" / "gpa-hook.sh"
    script.write_bytes(render(str(stub.program)))
    script.chmod(0o755)
    linked = tmp_path / "linked"
    git(work, "worktree", "add", "--quiet", "-b", "linked", linked)
    command = ["sh", "-c", f'{START} "$@"', START, "amend"]
    linked_dir = git_line(linked, "rev-parse", "--absolute-git-dir")
    for cwd, env in ((work, {}), (work / ".git", {"GIT_DIR": "."}), (linked, {"GIT_DIR": linked_dir})):
        assert_silent(settled(command, cwd, env=env))
    assert [f"run --auto --detach in {work}/.git, {work}/.git, none"] * 3 == stub.calls
    script.unlink()
    assert_silent(settled(command, work))
    assert 3 == len(stub.calls)
