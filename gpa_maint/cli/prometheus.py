"""Print a status as metrics, in the text format of node_exporter's textfile collector.

Names and labels do not change, because dashboards and alerts depend on them. An unknown value has no sample.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpa_maint.base.tuples import NamedTuple
from gpa_maint.model.results import RunResult
from gpa_maint.model.status import Cost, Status

Labels = tuple[tuple[str, str], ...]


class Metric(NamedTuple):
    """A metric: its name without `gpa_`, its type (gauge or counter), its help text, and its samples."""

    name: str
    kind: str
    meaning: str
    samples: tuple[tuple[Labels, float], ...]


def describe(status: Status) -> str:
    """Yield all metrics that have a value; each line has the repository's path."""
    base: Labels = (("repository", status.repository),)
    lines = []
    for metric in _metrics(status):
        name = f"gpa_{metric.name}"
        lines += [f"# HELP {name} {metric.meaning}", f"# TYPE {name} {metric.kind}"]
        lines += [f"{name}{_labels((*base, *labels))} {_number(value)}" for labels, value in metric.samples]
    return "\n".join([*lines, ""])


def _metrics(status: Status) -> Iterator[Metric]:
    yield from _pack_metrics(status)
    yield from _index_metrics(status)
    yield from _due_metrics(status)
    if status.last_run:
        yield from _run_metrics(status.last_run)
    if status.cost:
        yield from _cost_metrics(status.cost)


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return Metric(name, "gauge", meaning, (((), value),))


def _counter(name: str, meaning: str, value: float) -> Metric:
    return Metric(name, "counter", meaning, (((), value),))


def _pack_metrics(status: Status) -> Iterator[Metric]:
    for name, meaning, field in (
        ("packs", "Packs, by kind.", "packs"),
        ("pack_objects", "Objects stored in packs of a kind; copies count.", "objects"),
        ("pack_bytes", "Bytes of the .pack files of a kind.", "size"),
    ):
        samples = tuple(((("kind", kind.name),), getattr(kind, field)) for kind in status.kinds)
        yield Metric(name, "gauge", meaning, samples)
    yield _gauge("loose_objects", "Loose objects.", status.loose_objects)
    yield _gauge("duplicate_objects", "Stored copies that nobody reads.", status.duplicates)
    yield _gauge("reclaimable_bytes", "Bytes of superseded packs.", status.reclaimable_bytes)


def _index_metrics(status: Status) -> Iterator[Metric]:
    yield _gauge("index_packs", "Packs that the combined index names.", status.index_packs)
    yield _gauge("index_objects", "Objects in the combined index.", status.index_objects)
    yield _gauge("index_bytes", "Size of the combined index.", status.index_bytes)
    yield _gauge("unindexed_packs", "Packs outside the combined index that are not superseded.", status.unindexed_packs)


def _due_metrics(status: Status) -> Iterator[Metric]:
    if status.first_due is not None and status.last_due is not None:
        meaning = "When the first superseded pack may be deleted."
        yield _gauge("superseded_first_due_timestamp_seconds", meaning, status.first_due)
        meaning = "When the last superseded pack may be deleted."
        yield _gauge("superseded_last_due_timestamp_seconds", meaning, status.last_due)
    if status.steps:
        due = tuple(((("step", step.verb),), step.due) for step in status.steps)
        yield Metric("step_due", "gauge", "Whether a run would do this step now.", due)
    yield _gauge("installed", "Whether git gpa install was done.", status.is_installed)
    codes = Counter(warning.code for warning in status.warnings)
    yield _gauge("warnings", "How many warnings git gpa status shows.", len(status.warnings))
    if codes:
        samples = tuple(((("code", code),), count) for code, count in sorted(codes.items()))
        yield Metric("warnings_by_code", "gauge", "How many of them have this code.", samples)
    yield _gauge("status_timestamp_seconds", "When this was found out.", status.now)


def _run_metrics(last: RunResult) -> Iterator[Metric]:
    yield _gauge("last_run_timestamp_seconds", "When the last run began.", last.started)
    yield _gauge("last_run_duration_seconds", "How long the last run took.", last.seconds)
    yield _gauge("last_run_steps", "How many steps the last run did.", len(last.steps))
    yield _gauge("last_run_failed", "Whether the last run failed.", bool(last.error))
    yield _gauge(
        "last_run_left_out_objects", "Damaged objects that the last run left where they are.", len(last.left_out)
    )


def _cost_metrics(cost: Cost) -> Iterator[Metric]:
    yield _counter("runs_total", "Runs since counting began.", cost.runs)
    yield _counter("pushed_packs_total", "Packs that were pushed.", cost.pushed_packs)
    yield _counter("pushed_bytes_total", "Bytes of packs that were pushed.", cost.pushed_bytes)
    yield _counter("written_pack_bytes_total", "Bytes of packs that runs wrote.", cost.pack_bytes)
    yield _counter("written_index_bytes_total", "Bytes of indexes that runs wrote.", cost.index_bytes)
    yield _counter("freed_bytes_total", "Bytes of packs that runs deleted.", cost.freed_bytes)
    yield _gauge("counting_since_timestamp_seconds", "When counting began.", cost.since)
    if cost.amplification is not None:
        yield _gauge("write_amplification", "Bytes written by runs for each byte pushed.", cost.amplification)


def _labels(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(int(value))
