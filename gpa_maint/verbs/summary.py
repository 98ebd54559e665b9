"""Describe the steps of a run: one line for each kind of step, with sums."""

from __future__ import annotations

from collections.abc import Iterable

from ..base.text import count_of, human_size
from ..model.results import RunResult, StepResult


def describe_step(step: StepResult) -> str:
    """Describe one step, or the sum of several of one kind: merged 65 packs, 4.10 MiB -> 2 pages, ..."""
    return _WORDS[step.verb](step)


def sum_steps(steps: Iterable[StepResult]) -> tuple[StepResult, ...]:
    """Return one step for each kind, in the order of the first of each. A run may merge or fold many times."""
    kinds: dict[str, list[StepResult]] = {}
    for step in steps:
        kinds.setdefault(step.verb, []).append(step)
    return tuple(same[0] if len(same) == 1 else _sum(same) for same in kinds.values())


def _sum(same: list[StepResult]) -> StepResult:
    summed = {
        field: sum(getattr(step, field) for step in same)
        for field in (
            "seconds",
            "pack_bytes",
            "index_bytes",
            "freed_bytes",
            "sources",
            "source_bytes",
            "pages",
            "objects",
        )
    }
    verb, last = same[0].verb, same[-1]
    if verb == "index":  # each index replaces the one before
        summed |= {field: getattr(last, field) for field in ("sources", "objects", "source_bytes")}
    made = StepResult(verb, "", **summed)._replace(times=sum(step.times for step in same))
    if not all(step.sources or step.pages for step in same):  # a record of an earlier version has no counts
        return made._replace(text=f"{last.text}, and {count_of(len(same) - 1, 'step')} like it before")
    return made._replace(text=describe_step(made))


def describe_kinds(result: RunResult) -> list[str]:
    """Return a line for each kind of step that a run did, and one on how it ended; or why it had nothing to do."""
    parts = [step.text for step in sum_steps(result.steps)]
    parts += [f"stopped: {result.stopped}"] if result.stopped else []
    parts += [f"failed: {' '.join(result.error.split())}"] if result.error else []
    return parts or [f"nothing to do: {result.reason}"]


def describe_outcome(result: RunResult) -> str:
    """Return the text of describe_kinds() in one line, without line breaks of git's messages."""
    return "; ".join(describe_kinds(result))


def describe_run(result: RunResult) -> str:
    """Return a line for the log."""
    ends = [f"error: {line}" for line in result.complaints]
    ends += [f"warning: {line}" for line in result.warnings]
    ends += [f"left out {left.oid}: {left.reason}" for left in result.left_out]
    return "; ".join([describe_outcome(result), *ends, f"{result.seconds:.2f} s"])


# ---- each kind ----


def _in_steps(step: StepResult) -> str:
    return f" in {step.times} steps" if step.times > 1 else ""


def _merge(step: StepResult) -> str:
    return (
        f"{'folded' if step.verb == 'fold' else 'merged'} {count_of(step.sources, 'pack')}{_in_steps(step)}, "
        f"{human_size(step.source_bytes)} -> {count_of(step.pages, 'page')}, "
        f"{count_of(step.objects, 'object')}, {human_size(step.pack_bytes)}"
    )


def _loose(step: StepResult) -> str:
    packed = f"packed {count_of(step.sources, 'loose object')}{_in_steps(step)}"
    return f"{packed} -> {count_of(step.pages, 'page')}, {human_size(step.pack_bytes)}"


def _index(step: StepResult) -> str:
    if not step.sources:
        return "removed the index: none of the packs that it named is there"
    times = f" {step.times} times, the last one with" if step.times > 1 else ":"
    size = human_size(step.source_bytes)
    return f"wrote the index{times} {count_of(step.sources, 'pack')}, {count_of(step.objects, 'object')}, {size}"


def _expire(step: StepResult) -> str:
    """Describe an expire: "deleted 65 superseded pages, 4.10 MiB; ended the hold of 2 pages"."""
    parts = []
    if step.sources:
        pages = count_of(step.sources, "superseded page")
        parts.append(f"deleted {pages}{_in_steps(step)}, {human_size(step.freed_bytes)}")
    if step.pages:
        parts.append(f"ended the hold of {count_of(step.pages, 'page')}")
    return "; ".join(parts)


def _tidy(step: StepResult) -> str:
    return f"removed {count_of(step.sources, 'file')} of killed git processes"


def _refs(step: StepResult) -> str:
    return f"packed {count_of(step.sources, 'loose ref')}"


_WORDS = {
    "loose": _loose,
    "index": _index,
    "repack": _merge,
    "fold": _merge,
    "expire": _expire,
    "tidy": _tidy,
    "refs": _refs,
}
