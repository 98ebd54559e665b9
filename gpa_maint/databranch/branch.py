"""DataBranch: a branch that a program uses as a key-value store, merged by every clone itself, without a checkout.

A commit writes the blobs, the trees on the way to them, and the commit into a page (I1: stock git reads it), and only
then moves the ref by compare-and-swap. Any number of threads may share a DataBranch, any number of processes a branch.
"""

from __future__ import annotations

import os
import random
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import chain
from types import TracebackType

from ..base.tuples import NamedTuple
from ..errors import GitFailed, GpaError, Locked, Refused, StalePlan, SystemFailed
from ..repo.discover import find_object_dir
from ..repo.git import run_git
from ..repo.ref_updates import FoldersWatch, RefUpdates, RefWatch
from ..store.page_store import PageStore
from . import history
from .checking import FULL_FOLDER, FULL_LEAF, check_branch
from .commits import all_commits, commit_text, is_ancestor, marks_of
from .drivers import DAY_NS, presence_line, present_in
from .heads import INBOX, REMOTES, State, StateReader, merge_heads, other_heads, place_blob
from .intents import IntentLog, Intents, Left, left_behind, read_left, turn
from .layout import SETTINGS, fitting, layout_named, log_of, records_of, table_of
from .merging import MergeReport, merge_value
from .settings import BranchSettings, format_settings
from .snapshot import Snapshot
from .syncing import exchange
from .trees import Edit, Objects, Trees, write_edit
from .values import Append, Change, StoredValue, then_append, value_of

LOOK_SECONDS = 0.1
"""After this time a read looks whether another process has moved the branch."""

TRIES = 1000
LOCK_SECONDS = 10.0
BLOB_SECONDS = 5.0
"""How long to wait for another process that recovers the journal of a dead writer."""

FIRST_WAIT, MOST_WAIT = 0.002, 0.25
MOST_FORGOT = 500
"""How many commits of forgotten histories .gpa-data names."""


class LayoutWarning(UserWarning):
    """The layout of a data branch does not fit the number of its keys, or a clock runs ahead."""


class MergeWarning(UserWarning):
    """A branch of a remote could not be merged when the data branch was opened, or before a commit."""


class Request(NamedTuple):
    """Changes to be committed, and the state of the branch that they were made on."""

    changes: dict[str, Change]
    base: State
    message: str


class Transaction:
    """Changes that become one commit, all or none; made by DataBranch.transaction(). For one thread."""

    def __init__(self, objects: Objects, base: State) -> None:
        self._objects = objects
        self._base = base
        self.changes: dict[str, Change] = {}

    def set(self, key: str, value: bytes) -> None:
        """Give a key a value. Raises GpaError for a key that the layout cannot hold."""
        self._base.layout.path(key)
        self.changes[key] = _checked(value)

    def append(self, key: str, data: bytes) -> None:
        """Add to the end of the value; a key without one has the empty value."""
        self._base.layout.path(key)
        data = _checked(data)
        self.changes[key] = then_append(self.changes[key], data, self._objects) if key in self.changes else Append(data)

    def delete(self, key: str) -> None:
        """Remove a key, if it is there."""
        self._base.layout.path(key)
        self.changes[key] = None

    def get(self, key: str, default: bytes | None = None) -> bytes | None:
        """Return the value with the changes of this transaction, or `default`."""
        snapshot = self._base.snapshot
        if key not in self.changes:
            return snapshot.get(key, default)
        value = value_of(self.changes[key], self._objects, lambda: snapshot.get(key))
        return default if value is None else value

    __setitem__ = set
    __delitem__ = delete


class DataBranch:
    """A branch as a key-value store: keys are text, values are bytes. Close it, or use it in a `with`."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        branch: str = "meta",
        *,
        layout: str | None = None,
        rules: Iterable[tuple[str, str]] = (),
        merge: str = "open",
        commit_sets: int = 10_000,
        commit_seconds: float = 60.0,
    ) -> None:
        """Open `branch` (a name, or a full one such as `refs/data/meta`) of the repository at `path`.

        The first commit makes the branch, with this `layout` (default hash/3) and these `rules`, (glob, driver) pairs.
        A branch that exists has its own; another `layout` than that raises GpaError. `merge`: "open" merges the
        branches of remotes now and before commits, "never" only when merge() is called. A set that finds `commit_sets`
        others waiting, or the first of them older than `commit_seconds`, commits them.
        """
        if merge not in ("open", "never"):
            raise ValueError(f"merge is 'open' or 'never', not '{merge}'")
        self.path = os.path.abspath(os.fspath(path))
        self.ref = branch if branch.startswith("refs/") else f"refs/heads/{branch}"
        run_git(["check-ref-format", self.ref])
        self._objdir = find_object_dir(self.path)
        self._store = PageStore(self._objdir.objects, object_format=self._objdir.object_format)
        self._objects = Objects(self._store, in_memory=not _may_write(self._objdir.objects, self._objdir.common_dir))
        self._trees = Trees(self._objects)
        first = BranchSettings(
            layout or ("git-annex" if self.ref == "refs/heads/git-annex" else "hash/3"), rules=tuple(rules)
        )
        layout_named(first.layout)
        self._reader = StateReader(self._trees, self.ref, first)
        self._watch = RefWatch(self.path, self._objdir.common_dir, self.ref)
        self._others = FoldersWatch(self._objdir.common_dir, (REMOTES, INBOX))
        self._updates = RefUpdates(self.path, "0" * (2 * self._objects.hash_size))
        self._intents = IntentLog(self._objdir, self.ref, durable=self._objdir.settings.durability == "journal")
        self._pending: dict[str, Change] = {}
        self._pending_base: State | None = None
        self._pending_since = 0.0
        self._limits = (commit_sets, commit_seconds)
        self._merge_on_open = merge == "open"
        self._merged: set[str] = set()
        self._waiting: list[_Ticket] = []
        self._state_lock = threading.RLock()
        self._commit_lock = threading.RLock()
        self._who = ""
        self._is_warned = False
        self._look_at = 0.0
        self._state = self._reader.read(self._watch.value())
        _open_branches.add(self)
        try:
            self._begin(layout)
        except BaseException:
            self._store.close()
            raise

    def _begin(self, layout: str | None) -> None:
        if layout is not None and layout != self._state.settings.layout:
            raise GpaError(
                f"the branch '{self.ref}' has the layout {self._state.settings.layout}, not {layout}",
                hint="relayout() changes it, or 'git gpa data relayout'",
            )
        if self.is_read_only:
            self._overlay_left()
        else:
            self.recover()
        if self._merge_on_open:
            self._merge_if_possible()

    # -- Reading

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written: then merges stay in memory."""
        return self._objects.in_memory

    @property
    def head(self) -> str:
        """The commit (hex) that reads see now, "" for none."""
        return self.snapshot().commit

    @property
    def settings(self) -> BranchSettings:
        """The layout and the rules for merging."""
        return self._now().settings

    def _now(self) -> State:
        if time.monotonic() >= self._look_at:
            self._refresh()
        return self._state

    def _refresh(self) -> State:
        """See what the branch is now. A read-only repository keeps what it has merged in memory."""
        with self._state_lock:
            head = self._watch.value()
            self._look_at = time.monotonic() + LOOK_SECONDS
            if self.is_read_only and self._state.merged_from == head:
                return self._state
            if head != self._state.oid:
                self._state = self._reader.read(head)
            return self._state

    def snapshot(self) -> Snapshot:
        """Return the committed keys and values as they are now."""
        return self._now().snapshot

    def at(self, revision: str) -> Snapshot:
        """Return the keys and values at a commit, as git names it: `meta~3`, `meta@{yesterday}`, an id."""
        oid = run_git(["rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}"], cwd=self.path).strip()
        return self._reader.read(oid).snapshot

    def get(self, key: str, default: bytes | None = None) -> bytes | None:
        """Return the value of a key, or `default` if there is none. Sets that are not committed yet are seen."""
        if self._pending and key in self._pending:
            value = self._pending_value(key)
            return default if value is None else value
        if time.monotonic() >= self._look_at:
            self._refresh()
        return self._state.snapshot.get(key, default)

    def _pending_value(self, key: str) -> bytes | None:
        with self._state_lock:
            snapshot = self._state.snapshot
            if key not in self._pending:
                return snapshot.get(key)
            return value_of(self._pending[key], self._objects, lambda: snapshot.get(key))

    def __getitem__(self, key: str) -> bytes:
        """Return the value of a key. Raises ObjectMissing, which is a KeyError."""
        value = self.get(key)
        return self._now().snapshot[key] if value is None else value

    def __contains__(self, key: str) -> bool:
        if key in self._pending:
            return self._pending_value(key) is not None
        return key in self._now().snapshot

    def get_many(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the values of those keys that there are. Faster than get() for each."""
        wanted = list(keys)
        waiting = [key for key in wanted if key in self._pending]
        found = self._now().snapshot.get_many(key for key in wanted if key not in self._pending)
        values = {key: self._pending_value(key) for key in waiting}
        return {**found, **{key: value for key, value in values.items() if value is not None}}

    def keys(self, prefix: str = "") -> Iterator[str]:
        """Iterate over the keys that begin with `prefix`, in the order of the layout; uncommitted ones come last."""
        with self._state_lock:
            snapshot, waiting = self._now().snapshot, {key: self._pending_value(key) for key in self._pending}
        if not waiting:
            return snapshot.keys(prefix)
        found = (key for key in snapshot.keys(prefix) if key not in waiting)
        return chain(found, (key for key, value in waiting.items() if value is not None and key.startswith(prefix)))

    def items(self, prefix: str = "") -> Iterator[tuple[str, bytes]]:
        """Iterate over keys that begin with `prefix`, with their values, in the order of keys()."""
        with self._state_lock:
            snapshot, waiting = self._now().snapshot, {key: self._pending_value(key) for key in self._pending}
        if not waiting:
            return snapshot.items(prefix)
        found = (item for item in snapshot.items(prefix) if item[0] not in waiting)
        more = ((key, value) for key, value in waiting.items() if value is not None and key.startswith(prefix))
        return chain(found, more)

    def __iter__(self) -> Iterator[str]:
        return self.keys()

    def __len__(self) -> int:
        """How many keys there are; they are counted anew each time."""
        return sum(1 for _ in self.keys())

    def history(self, key: str) -> Iterator[tuple[str, bytes | None]]:
        """Yield (commit in hex, value) for each commit that changed a key, the newest first.

        The value is None where the key was deleted.
        """
        return history.changes_of(self.path, self._now(), key, self._reader.read)

    # -- Changing

    def set(self, key: str, value: bytes) -> None:
        """Give a key a value. It survives kill -9 when this returns; commit() makes it a part of the branch."""
        self._journal("s", key, _checked(value))

    def append(self, key: str, data: bytes) -> None:
        """Add to the end of the value, journalled as by set()."""
        self._journal("a", key, _checked(data))

    def delete(self, key: str) -> None:
        """Remove a key, journalled as by set()."""
        self._journal("d", key, None)

    __setitem__ = set
    __delitem__ = delete

    def _journal(self, word: str, key: str, data: bytes | None) -> None:
        if time.monotonic() >= self._look_at:
            self._refresh()
        state = self._state
        state.layout.path(key)
        self._expect_writable()
        oid = None if data is None else self._store.writer().add("blob", data)
        with self._state_lock:
            self._intents.add(word, key, oid, (self._pending_base or state).oid)
            if not self._pending:
                self._pending_base, self._pending_since = state, time.monotonic()
            if word == "a":
                known = key in self._pending
                assert data is not None
                self._pending[key] = then_append(self._pending[key], data, self._objects) if known else Append(data)
            else:
                self._pending[key] = None if oid is None else StoredValue(oid)
            is_due = len(self._pending) >= self._limits[0] or time.monotonic() - self._pending_since > self._limits[1]
        if is_due:
            self.commit()

    def commit(self, message: str = "") -> str:
        """Commit what set(), append() and delete() have changed; return the head (hex), "" if there is no branch."""
        self._commit(None, message)
        return self._state.oid

    def pending(self) -> dict[str, bytes | None]:
        """Return what is acknowledged, and not in the branch: by this object, and in git-annex's own journal.

        None is a delete. What other processes have not committed is theirs.
        """
        with self._state_lock:
            found = {key: self._pending_value(key) for key in list(self._pending)}
        if self._state.layout.name == "git-annex":
            found = {**history.annex_journal(self._objdir.common_dir), **found}
        return found

    @contextmanager
    def transaction(self, message: str = "") -> Iterator[Transaction]:
        """Yield a Transaction. Its changes are one commit when the block ends, and none of it after an error.

        What another process has changed meanwhile is merged, key by key, by the branch's drivers. Threads that commit
        at the same time share one commit.
        """
        self._expect_writable()
        transaction = Transaction(self._objects, self._refresh())
        yield transaction
        if transaction.changes:
            self._commit(Request(transaction.changes, transaction._base, message), message)

    def _expect_writable(self) -> None:
        if self.is_read_only:
            raise SystemFailed(
                f"cannot write to '{self._objdir.objects}': it is read-only", path=self._objdir.objects, errno=30
            )

    def _commit(self, request: Request | None, message: str) -> None:
        """Group commit: the first thread that has the lock commits what all others have brought meanwhile."""
        ticket = _Ticket(request)
        self._waiting.append(ticket)
        with self._commit_lock:
            if not ticket.is_done:
                tickets, self._waiting = self._waiting, []
                self._commit_tickets(tickets, message)
        if ticket.error is not None:
            raise ticket.error

    def _commit_tickets(self, tickets: list[_Ticket], message: str) -> None:
        """Commit them together; after an error one by one, so that each thread gets its own error."""
        try:
            self._commit_requests([one.request for one in tickets if one.request], message)
        except Exception as error:
            for one in tickets if len(tickets) > 1 else ():
                self._commit_tickets([one], message)
            if len(tickets) == 1:
                tickets[0].error = error
        finally:
            for one in tickets:
                one.is_done = True

    def _commit_requests(self, requests: list[Request], message: str) -> None:
        if self._merge_on_open:
            self._merge_if_possible()
        with self._state_lock:
            taken, size = dict(self._pending), self._intents.size()
            base = self._pending_base or self._state
        if taken:
            requests = [Request(taken, base, message), *requests]
        if not requests:
            return
        self._expect_writable()
        said = next((request.message for request in requests if request.message), "")
        self._publish(
            lambda state: self._write(state, requests, said or "update"), lambda new: self._intents.tried(new, size)
        )
        with self._state_lock:
            for key, change in taken.items():
                if key in self._pending and self._pending[key] is change:
                    del self._pending[key]
            if not self._pending:
                self._intents.clear()
            self._pending_base = self._state if self._pending else None

    def _publish(self, make: Callable[[State], str], before: Callable[[str], None] = lambda new: None) -> State:
        """Move the branch to the commit (hex) that `make` makes on its state, again when it has moved meanwhile.

        `make` returns the state's own commit if there is nothing to do. `before` is called with a commit that is whole
        and durable, and not the head yet.
        """
        with turn(self._objdir, self.ref, LOCK_SECONDS):
            return self._publish_now(make, before)

    def _publish_now(self, make: Callable[[State], str], before: Callable[[str], None]) -> State:
        wait, locked_since, last = FIRST_WAIT, 0.0, ""
        for tried in range(TRIES):
            state = self._refresh()
            if state.oid != last or not tried:  # a lock that others use in turn is no lock that was left
                last, locked_since = state.oid, time.monotonic()
            new = make(state)
            if new == state.oid:
                return state
            before(new)
            try:
                self._updates.swap(self.ref, new, state.oid, message="for the data branch")
            except StalePlan:
                if tried == TRIES - 1:
                    raise
            except Locked:
                if time.monotonic() > locked_since + LOCK_SECONDS:
                    raise
            else:
                with self._state_lock:
                    self._state = self._reader.read(new)
                return self._state
            time.sleep(wait * random.random())
            wait = min(2 * wait, MOST_WAIT)
        raise AssertionError

    def _write(self, state: State, requests: list[Request], message: str) -> str:
        """Write a commit with all changes, in a page when this returns; return its id, or that of the state."""
        changes = self._resolve(state, requests)
        with self._store.writer().batch() as writer:
            root = self._write_changes(state, changes)
            if root == state.snapshot.root or root is None:
                return state.oid
            when = max(int(time.time()), state.time)
            parents = [state.oid] if state.oid else []
            text = commit_text(root.hex(), parents, self._identity(), when, message)
            made = writer.add("commit", text)
        self._warn_of_layout(state)
        return made.hex()

    def _resolve(self, state: State, requests: list[Request]) -> dict[str, Change]:
        """Return the changes, merged with what has changed since they were made, in the order of the requests."""
        changes: dict[str, Change] = {}
        for request in requests:
            is_fresh = request.base.oid == state.oid
            for key, change in request.changes.items():
                if key not in changes and (
                    is_fresh or (type(change) is not Append and self._is_same(request, state, key))
                ):
                    changes[key] = change
                    continue
                now = self._value_in(changes, state, key)
                if type(change) is Append:
                    changes[key] = (now or b"") + change
                    continue
                mine = value_of(change, self._objects, lambda: None)
                changes[key] = merge_value(request.base.snapshot.get(key), now, mine, state.rules.driver(key))
        return changes

    def _is_same(self, request: Request, state: State, key: str) -> bool:
        return request.base.snapshot.state(key) == state.snapshot.state(key)

    def _value_in(self, changes: dict[str, Change], state: State, key: str) -> bytes | None:
        before = state.snapshot.get(key)
        return value_of(changes[key], self._objects, lambda: before) if key in changes else before

    def _write_changes(self, state: State, changes: dict[str, Change]) -> bytes | None:
        values = {
            key: change
            if type(change) is StoredValue
            else value_of(change, self._objects, lambda key=key: state.snapshot.get(key))  # type: ignore[misc]
            for key, change in changes.items()
        }
        root = Edit(state.snapshot.root)
        if state.layout.is_table:
            self._edit_tables(state, root, values)
        else:
            new = [
                (key, value) for key, value in values.items() if value is not None and type(value) is not StoredValue
            ]
            oids = dict(
                zip((key for key, _ in new), self._objects.add_many("blob", [value for _, value in new]), strict=True)
            )
            for key, value in values.items():
                place_blob(self._trees, root, state.layout.path(key), oids.get(key, value))
        if not state.has_settings and state.layout.name != "git-annex":
            (oid,) = self._objects.add_many("blob", [format_settings(state.settings)])
            root.changes[SETTINGS.encode()] = oid
        return write_edit(self._trees, root)

    def _edit_tables(self, state: State, root: Edit, values: dict[str, bytes | None]) -> None:
        by_path: dict[tuple[bytes, ...], dict[str, bytes | None]] = {}
        for key, value in values.items():
            stored = self._objects.read(value) if type(value) is StoredValue else value
            by_path.setdefault(tuple(state.layout.path(key)), {})[key] = stored
        old = {path: self._trees.blob_at(state.snapshot.root, list(path)) for path in by_path}
        there = [(path, oid) for path, oid in old.items() if oid is not None]
        blobs = dict(zip((path for path, _ in there), self._objects.read_many([oid for _, oid in there]), strict=True))
        made: dict[tuple[bytes, ...], bytes | None] = {}
        for path, changed in by_path.items():
            records = records_of(blobs.get(path, b""))
            records.update(changed)  # type: ignore[arg-type]
            made[path] = table_of({key: value for key, value in records.items() if value is not None})
        oids = self._objects.add_many("blob", [blob or b"" for blob in made.values()])
        for (path, blob), oid in zip(made.items(), oids, strict=True):
            place_blob(self._trees, root, list(path), oid if blob else None)

    def _warn_of_layout(self, state: State) -> None:
        """Warn, once, where each commit rewrites a tree that is far larger than it has to be."""
        most, name = self._trees.most_written, state.layout.name
        if most > (FULL_FOLDER if name == "path" else FULL_LEAF) and name != "git-annex" and not self._is_warned:
            self._is_warned = True
            count = most * max(state.layout.fan_out, 1)
            warnings.warn(
                f"'{self.ref}': the layout {name} has {most} keys in one folder, and {fitting(count)} would fit better",
                LayoutWarning,
                stacklevel=6,
            )

    def _identity(self) -> str:
        if not self._who:
            try:
                self._who = run_git(["var", "GIT_COMMITTER_IDENT"], cwd=self.path).rpartition("> ")[0] + ">"
            except GitFailed:
                self._who = "git-gpa <data@git-gpa>"
        return self._who

    # -- Merging

    def merge(self) -> MergeReport:
        """Merge the branch of every remote, and what clients have pushed to refs/data-inbox, unless that was done.

        In a read-only repository the result stays in memory. Raises Unsupported for a driver that is not installed.
        """
        with self._commit_lock:
            if not self._others.has_changed():
                return MergeReport(self._refresh().oid)
            named = other_heads(self.path, self.ref)
            heads = set(named.values()) - self._merged
            if not heads:
                return MergeReport(self._refresh().oid)
            return self.merge_commits(sorted(heads))

    def _merge_if_possible(self) -> None:
        """Merge the other heads, except, with a warning, those that are damaged or need a driver that is not here."""
        try:
            self.merge()
        except (Locked, StalePlan, SystemFailed):
            raise
        except GpaError:
            # One bad head must not keep the others away.
            for ref, oid in sorted(other_heads(self.path, self.ref).items()):
                if oid not in self._merged:
                    self._merge_or_warn(ref, oid)

    def _merge_or_warn(self, ref: str, oid: str) -> None:
        try:
            self.merge_commits([oid])
        except (Locked, StalePlan, SystemFailed):
            raise
        except GpaError as error:
            warnings.warn(f"'{ref}' is not merged into '{self.ref}': {error}", MergeWarning, stacklevel=5)

    def merge_commits(self, heads: Iterable[str]) -> MergeReport:
        """Merge these commits (hex) into the branch, as merge() does."""
        wanted = sorted(set(heads))
        reports: list[MergeReport] = []

        def make(state: State) -> str:
            reports.append(merge_heads(self.path, self._reader, state, wanted))
            return reports[-1].commit

        with self._commit_lock:
            if self.is_read_only:
                with self._state_lock:
                    start = self._refresh()
                    merged_from = start.merged_from if start.merged_from is not None else start.oid
                    self._state = self._reader.read(make(start))._replace(merged_from=merged_from)
            else:
                self._publish(make)
            self._merged.update(wanted)
            return reports[-1]

    def expect_data_branch(self, commit: str) -> None:
        """Raise Refused unless a commit (hex), and this branch if it exists, have the file or name of a data branch."""
        for state in (self._reader.read(commit), self._refresh()):
            if state.oid and not state.has_settings and state.layout.name != "git-annex":
                raise Refused(f"'{self.ref}' is no data branch: commit {state.oid} has no {SETTINGS}")

    def sync(self, remote: str = "origin", *, inbox: str = "") -> MergeReport:
        """Commit, fetch, merge and push the branch, again when the push is refused because the remote has moved.

        With `inbox`, a name of this client's own, it is pushed to refs/data-inbox/<inbox>/<branch>, which the server
        merges. Raises GitFailed when the remote cannot be reached.
        """
        self._expect_writable()
        self.commit()
        return exchange(self, remote, inbox)

    def recover(self) -> int:
        """Commit what processes that died had set and not committed; return how many changes that were."""
        count = 0
        with self._commit_lock, left_behind(self._objdir, self.ref) as files:
            for left in files:
                try:
                    count += self._recover_one(left)
                except (Locked, StalePlan, SystemFailed):
                    raise
                except GpaError as error:
                    warnings.warn(f"'{left.path}' is not recovered: {error}", MergeWarning, stacklevel=3)
        return count

    def _recover_one(self, left: Left) -> int:
        """Commit what a file holds, remove it, and return the number of changes. After an error the file stays."""
        if left.problem:
            raise GpaError(left.problem)
        if not self._has_blobs(left.content):
            return 0  # the next process that opens the branch tries again
        requests = self._requests_of(left.content)
        if requests:
            self._publish(lambda state: self._write(state, requests, "recovered"))
        left.remove()
        return sum(len(request.changes) for request in requests)

    def _has_blobs(self, found: Intents) -> bool:
        """Return whether the blobs of all intents are here; look for them in the journals of dead writers.

        Another process that has just begun to recover such a journal is waited for.
        """
        oids = [intent.oid for intent in found.intents if intent.oid is not None]
        until = time.monotonic() + BLOB_SECONDS
        while self._store.missing(oids):
            if time.monotonic() > until:
                return False
            with PageStore(self._store.path, object_format=self._store.object_format) as other:
                other.writer()  # recovers them
            self._store.refresh()
            time.sleep(FIRST_WAIT)
        return True

    def _requests_of(self, found: Intents) -> list[Request]:
        """Return the changes of a file, without those that a commit has which is in the branch."""
        state = self._refresh()
        head, forgot = state.oid, state.settings.forgot
        done = [
            size for commit, size in found.tried if head and (commit in forgot or is_ancestor(self.path, commit, head))
        ]
        requests: list[Request] = []
        for intent in found.intents:
            if intent.offset < max(done, default=0):
                continue
            if not requests or requests[-1].base.oid != intent.base:
                requests.append(Request({}, self._base_of(intent.base), ""))
            changes, key = requests[-1].changes, intent.key
            if intent.oid is not None and not self._objects.has(intent.oid):
                continue  # of a repository that is only read
            if intent.word == "a" and intent.oid is not None:
                data = self._objects.read(intent.oid)
                changes[key] = then_append(changes[key], data, self._objects) if key in changes else Append(data)
            else:
                changes[key] = None if intent.oid is None else StoredValue(intent.oid)
        return requests

    def _base_of(self, commit: str) -> State:
        """Return the branch at a commit; without any key where the commit is gone, so that nothing is deleted."""
        try:
            return self._reader.read(commit)
        except GpaError:
            return self._reader.read("")

    def _overlay_left(self) -> None:
        """Show what writers have not committed, without changing anything."""
        for found in read_left(self._objdir, self.ref):
            for request in self._requests_of(found):
                self._pending.update(request.changes)

    # -- The branch as a whole

    def set_rules(self, rules: Iterable[tuple[str, str]]) -> None:
        """Replace the rules for merging, in a commit: (glob, driver) pairs, of which the first that matches holds."""
        self._rewrite_settings("rules", lambda settings: settings._replace(rules=tuple(rules)))

    def _rewrite_settings(self, message: str, change: Callable[[BranchSettings], BranchSettings]) -> None:
        def make(state: State) -> str:
            if state.layout.name == "git-annex":
                raise GpaError(f"the branch '{self.ref}' is git-annex's, which has fixed rules")
            settings = change(state.settings)
            settings = settings._replace(serial=state.settings.serial + 1 if state.oid else 1)
            return self._write_state(state, settings, message, [state.oid] if state.oid else [])

        self._expect_writable()
        with self._commit_lock:
            self._publish(make)

    def _write_state(self, state: State, settings: BranchSettings, message: str, parents: list[str]) -> str:
        with self._store.writer().batch() as writer:
            root = Edit(state.snapshot.root)
            (root.changes[SETTINGS.encode()],) = self._objects.add_many("blob", [format_settings(settings)])
            tree = write_edit(self._trees, root)
            assert tree is not None
            when = max(int(time.time()), state.time)
            made = writer.add("commit", commit_text(tree.hex(), parents, self._identity(), when, message))
        return made.hex()

    def relayout(self, layout: str) -> None:
        """Move all keys to another layout, in a commit. Clones merge what they have in the old one key by key."""
        self.commit()
        wanted = layout_named(layout)

        def make(state: State) -> str:
            if "git-annex" in (layout, state.layout.name):
                raise GpaError("the layout git-annex cannot be changed, and no other one can become it")
            settings = state.settings._replace(layout=layout, serial=state.settings.serial + 1)
            with self._store.writer().batch():
                empty = state._replace(
                    layout=wanted,
                    settings=settings,
                    has_settings=False,
                    snapshot=Snapshot(self._trees, wanted, None, ""),
                )
                root = self._write_changes(empty, dict(state.snapshot.items()))
                moved = empty._replace(snapshot=Snapshot(self._trees, wanted, root, ""), time=state.time)
            return self._write_state(moved, settings, f"layout {layout}", [state.oid] if state.oid else [])

        self._expect_writable()
        with self._commit_lock:
            self._publish(make)

    def forget(self, keep: timedelta | None = None) -> str:
        """Forget history: the branch starts with a new commit, after which those younger than `keep` are made again.

        All keys and values stay. Clones that have the old history merge it as values. Returns the new head (hex).
        """
        self.commit()
        cutoff = None if keep is None else int(time.time() - keep.total_seconds())

        def make(state: State) -> str:
            if state.layout.name == "git-annex":
                raise GpaError(f"the branch '{self.ref}' is git-annex's", hint="run 'git annex forget'")
            if not state.oid:
                return state.oid
            old = state.settings
            forgot = (*marks_of(all_commits(self.path, state.oid)), *old.forgot)
            settings = old._replace(serial=old.serial + 1, epoch=old.epoch + 1, forgot=forgot[:MOST_FORGOT])
            kept = history.kept_commits(self.path, state.oid, cutoff)
            parents: list[str] = []
            for oid in kept or [state.oid]:
                was = self._reader.read(oid)
                words = history.message_of(self._objects, oid) if kept else "history before this commit was forgotten"
                parents = [self._write_state(was, settings, words, parents)]
            return parents[0]

        self._expect_writable()
        with self._commit_lock:
            return self._publish(make).oid

    def check(self) -> list[str]:
        """Return a line for each thing that is wrong with the branch, or does not fit; an empty list if nothing is."""
        with left_behind(self._objdir, self.ref) as files:
            lost = [left.path for left in files if not self._has_blobs(left.content)]
            findings = [left.problem for left in files if left.problem]
        findings += [f"values that '{path}' names are gone: they were set before a power cut" for path in lost]
        return findings + check_branch(self._trees, self._refresh(), fitting)

    # -- Presence

    def where(self, key: str) -> frozenset[str]:
        """Return the ids that have the content of a key: in the layout git-annex, of a key of git-annex."""
        return frozenset(present_in(self.get(self._log(key)) or b""))

    def here(self, key: str, who: str) -> None:
        """Note, journalled as by set(), that `who` (an id, such as a UUID) has the content of a key."""
        self._note(key, who, b"1")

    def gone(self, key: str, who: str) -> None:
        """Note that `who` has the content of a key no more."""
        self._note(key, who, b"0")

    def _log(self, key: str) -> str:
        return log_of(key) if self._now().layout.name == "git-annex" else key

    def _note(self, key: str, who: str, status: bytes) -> None:
        if not who or any(letter in who for letter in "\n\0"):
            raise ValueError(f"'{who}' is no id of a place")
        log = self._log(key)
        with self._state_lock:
            line, ahead = presence_line(self.get(log) or b"", who, status, time.time_ns())
            self._journal("s", log, line)
        if ahead > DAY_NS:
            warnings.warn(
                f"the log of '{key}' is {ahead // DAY_NS} days ahead of this clock", LayoutWarning, stacklevel=3
            )

    # -- Closing

    def _after_fork(self) -> None:
        """Leave to the parent what it has set and not committed: both would append it."""
        self._pending, self._waiting = {}, []
        self._pending_base = None
        self._intents.after_fork()
        self._state_lock, self._commit_lock = threading.RLock(), threading.RLock()

    def close(self) -> None:
        """Commit what waits, and close. After an error it stays open."""
        if self._pending and not self.is_read_only:
            self.commit()
        self._intents.close()
        self._updates.close()
        self._store.close()

    def __enter__(self) -> DataBranch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path!r}, {self.ref!r})"


_open_branches: weakref.WeakSet[DataBranch] = weakref.WeakSet()


def _in_child() -> None:
    for branch in list(_open_branches):
        branch._after_fork()


os.register_at_fork(after_in_child=_in_child)


class _Ticket:
    """A thread's place in the queue for the next commit."""

    __slots__ = ("error", "is_done", "request")

    def __init__(self, request: Request | None) -> None:
        self.request = request
        self.is_done = False
        self.error: Exception | None = None


def _checked(value: bytes) -> bytes:
    if not isinstance(value, bytes | bytearray | memoryview):
        raise TypeError(f"value is bytes, not {type(value).__name__}")
    return bytes(value)


def _may_write(objects: str, common_dir: str) -> bool:
    """Return whether this process may write to the repository."""
    for folder in (objects, common_dir):
        with suppress(OSError):
            if os.statvfs(folder).f_flag & os.ST_RDONLY:
                return False
    return os.access(objects, os.W_OK) and os.access(common_dir, os.W_OK)
