"""Decide the warnings of status: settings that undo our work, files of killed processes, tasks that we never do.

Codes do not change, because alerts depend on them. A state that ordinary work causes, such as a lock that is held for
an instant, becomes a warning only after a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..base.text import human_size
from ..model.inventory import Inventory
from ..model.plans import RunRules, RunStep
from ..model.results import RunResult
from ..model.status import StatusWarning, Surroundings

MAINTENANCE = (
    # key, value that switches it off, what happens otherwise
    ("gc.auto", "0", "git gc merges all packs into one, pages too"),
    ("receive.autogc", "false", "each push may start git's own maintenance"),
    ("maintenance.auto", "false", "commits and fetches may start git's own maintenance"),
    ("maintenance.geometric-repack.auto", "0", "git merges packs, pages too"),
)
GEOMETRIC_SINCE = (2, 54)

UNPACKING = (
    ("receive.unpackLimit", ("1", "0"), "a small push leaves loose objects"),
    ("fetch.unpackLimit", ("1",), "a small fetch leaves loose objects"),
)

LOCKS = {
    # name: seconds after which it counts as left over, what does not work while it exists
    "multi-pack-index.lock": (600, "no run does anything"),
    "maintenance.lock": (3600, "no run does anything"),
    "gc.pid.lock": (600, "neither git gc nor git gpa expire does anything"),
}

NEVER = 1 << 62

DULWICH_PACKS, LIBGIT2_PACKS = 250, 1000
"""Packs that a library can read with 1024 descriptors: dulwich keeps up to four for each pack, libgit2 one."""

PRUNE_SECONDS = 90 * 86400
GRAPH_OBJECTS = 10_000


def find_warnings(
    inventory: Inventory,
    around: Surroundings,
    *,
    rules: RunRules,
    steps: Sequence[RunStep],
    last_run: RunResult | None,
    now: int,
) -> tuple[StatusWarning, ...]:
    """Return all warnings, the most important first."""
    return (
        *_about_last_run(last_run, now),
        *_about_standstill(around, any(step.due for step in steps), now),
        *_about_packs(inventory, around),
        *_about_locks(around, now),
        *_about_rights(around),
        *_about_settings(around),
        *_about_many_packs(inventory, any(step.due for step in steps if step.verb in ("repack", "fold"))),
        *_about_work_of_others(inventory, around, rules, now),
    )


def _about_last_run(last: RunResult | None, now: int) -> Iterator[StatusWarning]:
    runs = "the last run"
    if last and last.same_count > 1:
        runs = f"the last {last.same_count} runs, for {_age(now - last.same_since)}, have"
    if last and last.error:
        yield StatusWarning("last-run-failed", f"{runs} failed: {last.error}", "git gpa run")
    elif last and last.complaints:
        text = f"{runs} left {_count(len(last.complaints), 'thing')} as it is: {last.complaints[0]}"
        yield StatusWarning("left-by-last-run", text, "git gpa run names all of them")
    if last and last.left_out:
        text = f"the last run left out {_count(len(last.left_out), 'damaged object')}"
        yield StatusWarning("damaged-objects", text, "git gpa verify --deep")


def _about_packs(inventory: Inventory, around: Surroundings) -> Iterator[StatusWarning]:
    unreadable = [pack for pack in inventory.packs if pack.object_count is None or pack.fault]
    if unreadable:
        text = f"{_names([pack.name for pack in unreadable], 'pack')} or its idx cannot be read"
        why = f": {unreadable[0].fault}" if unreadable[0].fault else ""
        yield StatusWarning("unreadable-pack", text + why, "git gpa repair -n says whether it is damaged")
    if around.chain_fault:
        text = f"the incremental index is damaged, and newer gits may die of it: {around.chain_fault}"
        yield StatusWarning("broken-chain", text, "git gpa write puts a single index in its place")
    elif inventory.has_chain and inventory.midx:
        text = "an incremental index that nobody reads: the single file beside it hides it"
        yield StatusWarning("hidden-chain", text, "git gpa write removes it")
    if inventory.orphans:
        text = f"left over from packs that are gone: {_names(inventory.orphans, 'file')}"
        yield StatusWarning("orphan", text, "git gpa run removes such files when they are two weeks old")
    if inventory.unreadable:
        more = f", and {len(inventory.unreadable) - 1} more" if len(inventory.unreadable) > 1 else ""
        text = f"left out: {inventory.unreadable[0]}{more}"
        yield StatusWarning("unreadable-file", text, "run maintenance as the owner of the repository")
    if inventory.vanished:
        text = f"the index names {_names(inventory.vanished, 'pack')} that {_be(inventory.vanished)} gone"
        yield StatusWarning("vanished-pack", text, "git gpa write")
    if around.leftovers:
        size = human_size(around.leftover_bytes)
        text = f"temporary files of killed runs, {size}: {_names(around.leftovers, 'file')}"
        yield StatusWarning("leftovers", text, "git gpa run removes them")
    if around.stray_idx:
        text = f"an idx without its pack, for more than an hour: {_names(around.stray_idx, 'pack')}"
        yield StatusWarning("stray-idx", text, "git gc removes it; what was in the pack is lost if nothing else has it")
    if around.dead_keeps:
        text = f"a .keep that a killed push or fetch left: {_names(around.dead_keeps, 'pack')}"
        hint = "a kept pack is not merged; git gpa run removes the file after gpa.keepExpire"
        yield StatusWarning("dead-keep", text, hint)


# ---- causes for which no run starts ----

FUTURE_SECONDS = 86400 + 3600
"""Seconds. A hook starts the next run after a day at the latest."""

WAITING_SECONDS = 2 * 3600


def _about_standstill(around: Surroundings, is_due: bool, now: int) -> Iterator[StatusWarning]:
    """Yield causes for which no run is started, without any message."""
    yield from around.standstill
    if around.wrong_owner:
        text = f"'{around.wrong_owner}' does not belong to {around.right_owner}, as the repository does"
        folder = (
            around.wrong_owner.partition("/gpa/")[0] + "/gpa" if "/gpa/" in around.wrong_owner else around.wrong_owner
        )
        yield StatusWarning("wrong-owner", text, f"chown -R {around.right_owner} '{folder}'")
    if around.next_at > now + FUTURE_SECONDS:
        text = f"gpa/next is dated {_age(around.next_at - now)} ahead: until then no hook starts a run by time"
        yield StatusWarning("next-in-future", text, "git gpa run")
    elif is_due and around.waiting_since is not None and now - around.waiting_since > WAITING_SECONDS:
        text = f"work has been due for {_age(now - around.waiting_since)}, and no run was started"
        yield StatusWarning("no-run", text, "git gpa run, then git gpa install")


# ---- locks and permissions ----


def _about_locks(around: Surroundings, now: int) -> Iterator[StatusWarning]:
    for lock in around.locks:
        age = now - lock.since
        patience, halted = LOCKS.get(lock.path.rpartition("/")[2], (NEVER, ""))
        if lock.ours and not around.at_work:
            text = f"'{lock.path}' is of a run that was killed, {_age(age)} ago"
            yield StatusWarning("stale-lock", text, "the next run removes it: git gpa run")
        elif lock.dead and not lock.ours:
            text = f"'{lock.path}' is of a git gc that is not there any more, {_age(age)} old"
            yield StatusWarning("stale-lock", text, "harmless: whoever needs it next takes it over")
        elif age > patience and not lock.ours:
            hint = f"while it is there {halted}; if the git process that made it is gone, remove it"
            yield StatusWarning("stale-lock", f"'{lock.path}' has been there for {_age(age)}", hint)


def _about_rights(around: Surroundings) -> Iterator[StatusWarning]:
    for path in around.closed_paths:
        text = f"'{path}' cannot be written to by this user"
        yield StatusWarning("not-writable", text, "run maintenance as the owner of the repository")
    if around.foreign_packs:
        text = f"{_count(around.foreign_packs, 'pack')} of other users, which this user cannot delete"
        yield StatusWarning("foreign-packs", text, "run maintenance as the owner of the directory objects/pack")


# ---- settings ----


def _about_settings(around: Surroundings) -> Iterator[StatusWarning]:
    if not around.is_own:
        return
    found = [*_stock_maintenance(around), *_unpacking(dict(around.settings))]
    if around.installed_at is not None:
        yield from (warning for _, warning in found)
    elif found:
        # If all of them are set by hand, a timer probably does the work of the hooks.
        keys = ", ".join(key for key, _ in found)
        hooks = "not installed: no hook starts maintenance, and"
        if around.has_hook:
            hooks = "a hook starts maintenance, but"
        text = f"{hooks} git's settings are not made for it ({keys})"
        yield StatusWarning("not-installed", text, "git gpa install")
    if around.is_scheduled:
        text = "git maintenance works here by schedule (maintenance.repo names this repository), and merges pages"
        yield StatusWarning("git-schedule", text, "git maintenance unregister")


def _stock_maintenance(around: Surroundings) -> Iterator[tuple[str, StatusWarning]]:
    """Yield the keys that leave git's own maintenance on."""
    values = dict(around.settings)
    for key, off, otherwise in MAINTENANCE:
        if "geometric" in key and around.git_version < GEOMETRIC_SINCE:
            continue
        value = values.get(key.lower())
        if value is None or not _is_off(value):
            text = f"{key} {_says(value)}: {otherwise}"
            yield key, StatusWarning("git-maintenance", text, f"git config {key} {off}")


def _unpacking(values: Mapping[str, str]) -> Iterator[tuple[str, StatusWarning]]:
    """Yield the keys that let small pushes and fetches leave loose objects."""
    for key, fine, otherwise in UNPACKING:
        value = values.get(key.lower(), values.get("transfer.unpacklimit"))
        if value not in fine:
            yield key, StatusWarning("unpack-limit", f"{key} {_says(value)}: {otherwise}", f"git config {key} 1")


def _says(value: str | None) -> str:
    return "is not set" if value is None else f"is '{value}'"


def _is_off(value: str) -> bool:
    """Return whether git reads the value as off: false, or no number above 0."""
    word = value.lower()
    return word in ("false", "no", "off", "") or (word.lstrip("-").isdecimal() and int(word) <= 0)


# ---- tasks that a run does not do ----


def _about_many_packs(inventory: Inventory, is_due: bool) -> Iterator[StatusWarning]:
    count = sum(not pack.is_superseded for pack in inventory.packs)
    if count > DULWICH_PACKS:
        whom = "dulwich and libgit2" if count > LIBGIT2_PACKS else "dulwich"
        text = f"{count} packs are more than {whom} can read from with 1024 descriptors"
        hint = "git gpa run" if is_due else "lower gpa.maxPages and gpa.autoPages, or let it open more (ulimit -n)"
        yield StatusWarning("many-packs", text, hint)


def _about_work_of_others(
    inventory: Inventory, around: Surroundings, rules: RunRules, now: int
) -> Iterator[StatusWarning]:
    if around.old_reflog:
        text = f"reflog entries are older than gc.reflogExpire, as in that of '{around.old_reflog}'"
        yield StatusWarning("old-reflog", text, "git reflog expire --all")
    begun = min(filter(None, (around.installed_at, around.counting_since)), default=now)
    if begun < now - PRUNE_SECONDS and _has_old_pack(inventory, now) and not rules.precious_objects:
        text = f"unreachable objects have not been pruned for {_age(now - begun)}; git gpa never does that"
        hint = "git gc --prune=2.weeks.ago; it makes one pack of everything, and pages begin anew"
        yield StatusWarning("prune", text, hint)
    objects = distinct_objects(inventory)
    if objects > GRAPH_OBJECTS and around.is_own and not around.has_commit_graph:
        text = f"no commit-graph, with {objects} objects"
        yield StatusWarning("no-commit-graph", text, "git commit-graph write --reachable")


def _has_old_pack(inventory: Inventory, now: int) -> bool:
    """Return whether there is a pack that a git gc would have replaced: gc leaves no pack older than itself."""
    return any(pack.mtime < now - PRUNE_SECONDS for pack in inventory.packs if not pack.is_protected)


def distinct_objects(inventory: Inventory) -> int:
    """Return the number of objects in packs, each counted once as far as the index knows."""
    return sum(pack.live_count for pack in inventory.packs if not pack.is_superseded)


# ---- words ----


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _be(things: tuple[str, ...]) -> str:
    return "is" if len(things) == 1 else "are"


def _names(names: Iterable[str], noun: str) -> str:
    """Return the only name, or the number of names with the first one."""
    first, *others = names
    return f"'{first}'" if not others else f"{_count(len(others) + 1, noun)} ('{first}' and others)"


def _age(seconds: int) -> str:
    for unit, noun in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= unit:
            return _count(seconds // unit, noun)
    return _count(max(0, seconds), "second")
