"""save() and confirm(): whatever happens in between, what was confirmed is enough to restore what it was confirmed for.

Each test plays a sequence. After each step a fresh repository is made from nothing but the confirmed uploads, and git
fsck has to be content with every ref that was there when an upload was confirmed.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from histories import alternates_repo, cruft_pack_repo, init_server
from loose import write_loose
from oracle import ObjectFormat, all_objects, fsck, git, git_line, objects_dir, pack_dir, packs
from packwriter import Whole, add_pack, oid_hex
from running import gpa
from writing import add_commit, assert_ends_well, commit_text, forked, tree_text

from gpa_maint import PageStore
from gpa_maint.errors import GpaError, Locked
from gpa_maint.repo.discover import find_object_dir
from gpa_maint.state import saved as saved_record
from gpa_maint.store import saved
from gpa_maint.store.writer import SaveReport, Writer


class Refused(Exception):
    """By the cold store."""


class Site:
    """A repository, its cold storage, and the refs that have to be restored from there."""

    def __init__(self, folder: Path, object_format: ObjectFormat) -> None:
        self.repo = init_server(folder / "repo", object_format=object_format)
        self.cold: dict[str, bytes] = {}
        self.refs: dict[str, str] = {}
        self._folder = folder
        self._format = object_format
        self._copies = 0

    def commit(self, writer: Writer, ref: str, content: bytes) -> None:
        """Add a commit on that branch, with its parent, and move the branch."""
        old = git(self.repo, "rev-parse", "--verify", "-q", ref, check=False).stdout.strip()
        oid = add_commit(writer, content, *([bytes.fromhex(old)] if old else [])).hex()
        git(self.repo, "update-ref", ref, oid)

    def commit_by_git(self, ref: str, content: str) -> None:
        """The same by git alone: loose objects."""
        blob = git(self.repo, "hash-object", "-w", "--stdin", input=content).stdout.strip()
        tree = git(self.repo, "mktree", input=f"100644 blob {blob}\tdocument\n").stdout.strip()
        git(self.repo, "update-ref", ref, git_line(self.repo, "commit-tree", "-m", content, tree))

    def upload(self, report: SaveReport) -> None:
        for page in report.pages:
            for path in page.paths:
                self.cold[os.path.basename(path)] = Path(path).read_bytes()

    def save(self, writer: Writer, *, known: bool = False, refuse: bool = False) -> SaveReport:
        """Save, upload, confirm; the refs of that moment have to be there from then on."""
        refs = self._refs_now()
        report = writer.save(self.cold) if known else writer.save()
        if refuse:
            raise Refused
        self.upload(report)
        self.confirm(writer, report, refs)
        return report

    def confirm(self, writer: Writer, report: SaveReport, refs: dict[str, str]) -> None:
        for name in report.superseded:
            self.cold = {file: data for file, data in self.cold.items() if not file.startswith(f"{name}.")}
        writer.confirm(report)
        self.refs |= refs
        self.check()

    def check(self) -> None:
        """Restore from cold storage, and ask git about each ref."""
        self._copies += 1
        copy = self._folder / f"restored-{self._copies}"
        git(self._folder, "init", "--quiet", "--bare", f"--object-format={self._format}", copy)
        for file, data in self.cold.items():
            (pack_dir(copy) / file).write_bytes(data)
        for ref, oid in self.refs.items():
            git(copy, "update-ref", ref, oid)
        fsck(copy)
        assert self.refs == self._refs_of(copy)
        shutil.rmtree(copy)

    def opened(self) -> PageStore:
        return PageStore.open(objects_dir(self.repo))

    def _refs_now(self) -> dict[str, str]:
        return self._refs_of(self.repo)

    def _refs_of(self, repo: Path) -> dict[str, str]:
        lines = git(repo, "for-each-ref", "--format=%(refname) %(objectname)").stdout.splitlines()
        return dict(line.split(" ", 1) for line in lines)


@pytest.fixture
def site(tmp_path: Path, object_format: ObjectFormat) -> Site:
    return Site(tmp_path, object_format)


def names(report: SaveReport) -> set[str]:
    return {page.name for page in report.pages}


# -- Sequences


def refused_upload(site: Site) -> None:
    with site.opened() as store:
        site.commit(store.writer(), "refs/heads/a", b"one")
        with pytest.raises(Refused):
            site.save(store.writer(), refuse=True)
        site.check()
        site.commit(store.writer(), "refs/heads/a", b"two")
        assert 2 == len(site.save(store.writer()).pages)


def death_before_the_upload(site: Site) -> None:
    def work() -> None:
        writer = site.opened().writer()
        site.commit(writer, "refs/heads/a", b"one")
        writer.add("blob", b"waits")
        os._exit(0)

    assert_ends_well(forked(work))
    with site.opened() as store:
        site.commit(store.writer(), "refs/heads/b", b"two")
        assert packs(site.repo).keys() == names(site.save(store.writer()))
        assert 3 == len(packs(site.repo))


def death_between_upload_and_confirmation(site: Site) -> None:
    def work() -> None:
        writer = site.opened().writer()
        site.commit(writer, "refs/heads/a", b"one")
        writer.save()
        os._exit(0)

    assert_ends_well(forked(work))
    with site.opened() as store:
        assert 1 == len(site.save(store.writer()).pages)
    with site.opened() as store:
        assert ((), ()) == site.save(store.writer())


def an_object_that_a_push_brought(site: Site) -> None:
    add_pack(site.repo, [Whole(kind="blob", content=b"pushed")])
    with site.opened() as store:
        site.commit(store.writer(), "refs/heads/a", b"pushed")
        site.save(store.writer())


def objects_that_are_loose(site: Site) -> None:
    git(site.repo, "hash-object", "-w", "--stdin", input="loose")
    site.commit_by_git("refs/heads/b", "of git")
    with site.opened() as store:
        site.commit(store.writer(), "refs/heads/a", b"loose")
        site.save(store.writer())
        assert ((), ()) == store.writer().save()
        gpa(site.repo, "add-loose")
        site.save(store.writer())


def several_writers(site: Site) -> None:
    with site.opened() as one, site.opened() as other:
        site.commit(one.writer(), "refs/heads/a", b"one")
        site.commit(other.writer(), "refs/heads/b", b"two")
        other.writer().add("blob", b"not sealed, and of nobody's interest")
        assert 2 == len(site.save(one.writer()).pages)
        site.commit(one.writer(), "refs/heads/a", b"three")
        assert 2 == len(site.save(other.writer()).pages)
        assert ((), ()) == one.writer().save()


def another_process_confirms(site: Site) -> None:
    with site.opened() as store:
        site.commit(store.writer(), "refs/heads/a", b"one")
        report = store.writer().save()
        site.upload(report)

        def work() -> None:
            with site.opened() as other:
                other.writer().confirm([page.name for page in report.pages])

        assert_ends_well(forked(work))
        site.refs = {"refs/heads/a": git_line(site.repo, "rev-parse", "refs/heads/a")}
        assert ((), ()) == store.writer().save()


def pages_merged_between_save_and_confirmation(site: Site) -> None:
    with site.opened() as store:
        for number in range(4):
            site.commit(store.writer(), "refs/heads/a", b"%d" % number)
        refs = site._refs_now()
        report = store.writer().save()
        site.upload(report)
        gpa(site.repo, "repack")
        site.confirm(store.writer(), report, refs)
        site.check()
        report = site.save(store.writer())
        assert (1, 4) == (len(report.pages), len(report.superseded))


def pages_merged_and_deleted_before_the_upload(site: Site) -> None:
    with site.opened() as store:
        for number in range(4):
            site.commit(store.writer(), "refs/heads/a", b"%d" % number)
        report = store.writer().save()
        gpa(site.repo, "repack")
        gpa(site.repo, "expire", "--grace=now")
        if packs(site.repo).keys() & names(report):
            pytest.skip("young pages are not deleted")
        with pytest.raises(FileNotFoundError):
            site.upload(report)
        site.check()
        site.save(store.writer())


def a_superseded_pack_that_comes_back(site: Site) -> None:
    content = [Whole(kind="blob", content=b"again")]
    with site.opened() as store:
        add_pack(site.repo, content)
        site.commit(store.writer(), "refs/heads/a", b"again")
        site.save(store.writer())
        gpa(site.repo, "repack")
        site.save(store.writer())
        git(site.repo, "repack", "-q", "-a", "-d")
        add_pack(site.repo, content)
        site.save(store.writer())


def git_repacks_in_between(site: Site) -> None:
    with site.opened() as store:
        site.commit(store.writer(), "refs/heads/a", b"one")
        site.save(store.writer())
        git(site.repo, "repack", "-q", "-a", "-d")
        site.commit(store.writer(), "refs/heads/a", b"two")
        site.save(store.writer())
        git(site.repo, "gc", "-q")
        site.commit(store.writer(), "refs/heads/b", b"three")
        site.save(store.writer())


def the_pack_that_superseded_others_is_deleted(site: Site) -> None:
    """The records still say that the others are superseded."""
    with site.opened() as store:
        for number in range(3):
            site.commit(store.writer(), "refs/heads/a", b"%d" % number)
        before = packs(site.repo).keys()
        gpa(site.repo, "repack")
        (page,) = packs(site.repo).keys() - before
        for path in pack_dir(site.repo).glob(f"{page}.*"):
            path.unlink()
        (pack_dir(site.repo) / "multi-pack-index").unlink()
    with site.opened() as store:
        assert before == names(site.save(store.writer()))


def the_record_is_lost(site: Site) -> None:
    with site.opened() as store:
        site.commit(store.writer(), "refs/heads/a", b"one")
        site.save(store.writer())
        (site.repo / "gpa" / "saved.json").write_bytes(b"[")
        assert 1 == len(site.save(store.writer()).pages)
        shutil.rmtree(site.repo / "gpa")
    with site.opened() as store:
        assert 1 == len(site.save(store.writer()).pages)


def what_is_there_is_told_by_a_listing(site: Site) -> None:
    with site.opened() as store:
        for number in range(3):
            site.commit(store.writer(), "refs/heads/a", b"%d" % number)
            assert 1 == len(site.save(store.writer(), known=True).pages)
        victim = sorted(file for file in site.cold if file.endswith(".idx"))[0]
        del site.cold[victim]
        assert [victim] == [f"{page.name}.idx" for page in site.save(store.writer(), known=True).pages]
        site.cold["pack-" + "0" * 40 + ".pack"] = b"of another repository, which is saved there too"
        gpa(site.repo, "repack")
        before = set(site.cold)
        report = store.writer().save(site.cold)
        assert (1, 3) == (len(report.pages), len(report.superseded))
        assert set(report.superseded) <= {name.split(".")[0] for name in before}
        del site.cold["pack-" + "0" * 40 + ".pack"]
        site.save(store.writer(), known=True)


SEQUENCES: list[Callable[[Site], None]] = [
    refused_upload,
    death_before_the_upload,
    death_between_upload_and_confirmation,
    an_object_that_a_push_brought,
    objects_that_are_loose,
    several_writers,
    another_process_confirms,
    pages_merged_between_save_and_confirmation,
    pages_merged_and_deleted_before_the_upload,
    a_superseded_pack_that_comes_back,
    git_repacks_in_between,
    the_pack_that_superseded_others_is_deleted,
    the_record_is_lost,
    what_is_there_is_told_by_a_listing,
]


@pytest.mark.parametrize("play", SEQUENCES)
def test_what_was_confirmed_can_be_restored(site: Site, play: Callable[[Site], None]) -> None:
    play(site)
    site.check()
    with site.opened() as store:
        site.save(store.writer())
    assert site.refs == site._refs_now()


# -- What is named


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return init_server(tmp_path / "server")


@pytest.fixture
def writer(repo: Path) -> Iterator[Writer]:
    with PageStore.open(objects_dir(repo)) as store, store.writer() as opened:
        yield opened


def test_every_live_pack_that_is_not_known_is_named(repo: Path, writer: Writer) -> None:
    old = {add_pack(repo, [Whole(kind="blob", content=b"%d" % number)]) for number in range(3)}
    writer.add("blob", b"new")
    everything = names(writer.save(()))
    assert packs(repo).keys() == everything > old
    one = min(old)
    for known in ([one], [f"{one}.pack", f"{one}.idx"], [f"cold/{one}.idx", Path("cold", f"{one}.pack")]):
        assert everything - {one} == names(writer.save(known))
    for part in ([f"{one}.pack"], [f"{one}.idx"], ["pack-" + "0" * 40]):
        assert everything == names(writer.save(part))
    assert ((), ()) == writer.save(everything)


def test_files_that_change_what_a_pack_is_belong_to_it(tmp_path: Path) -> None:
    repo = cruft_pack_repo(tmp_path)
    (cruft,) = (path.stem for path in pack_dir(repo).glob("*.mtimes"))
    with PageStore.open(objects_dir(repo)) as store:
        (page,) = (page for page in store.writer().save(()).pages if page.name == cruft)
        assert [".idx", ".mtimes", ".pack"] == sorted(Path(path).suffix for path in page.paths)
        files = [Path(path).name for path in page.paths]
        assert cruft not in names(store.writer().save(files))
        assert cruft in names(store.writer().save(file for file in files if not file.endswith(".mtimes")))


def test_what_git_has_not_finished_is_not_named(repo: Path, writer: Writer) -> None:
    name = add_pack(repo, [Whole(kind="blob", content=b"x")])
    for suffix in (".pack", ".idx"):
        shutil.copy(pack_dir(repo) / f"{name}{suffix}", pack_dir(repo) / f".tmp-7-{name}{suffix}")
        (pack_dir(repo) / f"pack-half{suffix}").touch() if suffix == ".pack" else None
    assert {name} == names(writer.save())


def test_a_loose_object_is_saved_once_and_stays(repo: Path, writer: Writer) -> None:
    small, large = b"loose", os.urandom(17 << 20)
    oids = {write_loose(objects_dir(repo), "blob", data) for data in (small, large)}
    assert 2 == sum(page.objects for page in writer.save().pages)
    assert oids == all_objects(repo).keys()
    assert ((), ()) == writer.save(names(writer.save(())))
    assert 2 == len([*objects_dir(repo).glob("??/*")])


def test_objects_of_alternates_are_not_saved(tmp_path: Path) -> None:
    repo, _other = alternates_repo(tmp_path)
    with PageStore.open(objects_dir(repo)) as store:
        assert packs(repo).keys() == names(store.writer().save())


def test_a_page_deleted_while_it_is_described_is_no_error(
    repo: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        add_commit(writer, b"%d" % number)
    gone = sorted(packs(repo))[1]
    describe = saved._sha256

    def deleting(path: str) -> tuple[int, str]:
        if gone in path:
            for file in pack_dir(repo).glob(f"{gone}.*"):
                file.unlink()
        return describe(path)

    monkeypatch.setattr(saved, "_sha256", deleting)
    assert packs(repo).keys() - {gone} == names(writer.save())
    (pack_dir(repo) / "pack-dangling.pack").symlink_to("nowhere")
    (pack_dir(repo) / "pack-dangling.idx").symlink_to("nowhere")
    with pytest.raises(FileNotFoundError, match="dangling"):
        writer.save()


# -- The record


def test_only_packs_can_be_confirmed(writer: Writer) -> None:
    with pytest.raises(GpaError, match=r"'pack-1\.pack' is not the name of a pack"):
        writer.confirm(["pack-1.pack"])
    with pytest.raises(GpaError, match="is not the name of a pack"):
        writer.confirm(["cold/pack-1"])


def test_confirmations_at_the_same_time_are_all_noted(repo: Path) -> None:
    objdir = find_object_dir(str(repo))
    (repo / "gpa").mkdir()

    def confirm(worker: int) -> None:
        for number in range(20):
            saved_record.change_saved(objdir, saved=[f"pack-{worker}-{number}"], gone=[f"pack-{worker}-{number - 2}"])

    def work(worker: int) -> None:
        threads = [threading.Thread(target=confirm, args=(2 * worker + one,)) for one in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert_ends_well(*(forked(lambda worker=worker: work(worker)) for worker in range(2)))  # type: ignore[misc]
    assert {f"pack-{worker}-{number}" for worker in range(4) for number in (18, 19)} == saved_record.read_saved(objdir)


def test_a_record_that_cannot_be_written_says_so(repo: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_record, "LOCK_SECONDS", 0)
    name = add_pack(repo, [Whole(kind="blob", content=b"x")])
    with saved_record._saved_lock(find_object_dir(str(repo))), pytest.raises(Locked, match=r"saved\.lock"):
        writer.confirm([name])
    assert {name} == names(writer.save())


def test_a_report_is_a_pair_as_before(repo: Path, writer: Writer) -> None:
    blob = writer.add("blob", b"x")
    writer.add("commit", commit_text(writer.add("tree", tree_text({"document": blob}))))
    pages, superseded = writer.save()
    assert () == superseded
    assert oid_hex("blob", b"x") in all_objects(repo)
    assert [packs(repo)[page.name] for page in pages] == [page.objects for page in pages]
