"""How many bytes does maintenance write for each byte that is pushed, and how many packs are there meanwhile?

The policy is the real one, plan_run(); there is no disk, so that 100,000 pushes take seconds. The model:

- A push brings one pack. When the traffic's `look_every` packs have come since the last look, a run takes place as in
  verbs/run.py: the first step that is due, decided again each time.
- A pack that is merged for the first time keeps `kept_share` of its bytes: thin packs carry the bases of their deltas
  whole, and other pushes have them too. Every object is new, which is the worst case for the index.
- A merge takes its sources oldest first and fills pages; a fold, or a merge of a backlog, makes one pack. Both cost the
  bytes written, those of the idx included. Where needs_index() says so, the index is written as well, over all packs
  but those of left_out().
- The index costs 28 bytes an object, and names. Expire writes it again when it deletes packs that the index names.
- One push is one second, and superseded packs go `grace` pushes later: 300 is an hour of 5 pushes a minute.

Not in the model: objects that are pushed twice, deltas lost where a family is cut, bytes of the pushes' own idx.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from gpa_maint.model.inventory import IndexInfo, Inventory, PackInfo
from gpa_maint.model.plans import RunPlan, RunRules, RunStep
from gpa_maint.plan.run import left_out, needs_index, plan_run

from .traffic import BACKLOGS, TRAFFICS, Traffic

IDX_BYTES = 1072
"""An idx without objects, about; an index without packs is as large."""

OID_BYTES = 28
NAME_BYTES = 50

ROUNDS = 256
"""How many steps a run does at most, as in verbs/run.py."""

SAMPLES = 200

GRACE = 300
"""gpa.expireGrace of the table, in pushes."""

AMPLIFICATION_LIMIT = 3


class Stuck(Exception):
    """A step is due and doing it changes nothing, or it is due without end."""


class Piece(NamedTuple):
    """Part of a page: objects, bytes, and how often maintenance has written any of them."""

    objects: int
    size: int
    writes: int


class Sample(NamedTuple):
    """After so many pushes: bytes written for a byte pushed, and the most live packs since the sample before."""

    pushes: int
    amplification: float
    live: int


@dataclass(slots=True)
class Repository:
    """The packs there are, and what maintenance has written so far."""

    rules: RunRules
    kept_share: float = 1.0
    packs: dict[str, PackInfo] = field(default_factory=dict)
    writes: dict[str, int] = field(default_factory=dict)
    has_index: bool = False
    now: int = 0
    made: int = 0
    pushed: int = 0
    merged: int = 0
    folded: int = 0
    indexed: int = 0
    live: int = 0
    runs: int = 0
    looks: int = 0
    outside: int = 0
    peak_live: int = 0
    peak_all: int = 0
    peak_writes: int = 0

    @property
    def amplification(self) -> float:
        """Bytes that maintenance wrote for each byte pushed."""
        return (self.merged + self.folded + self.indexed) / max(1, self.pushed)

    @property
    def object_count(self) -> int:
        return sum(pack.live_count for pack in self.packs.values() if not pack.is_superseded)

    def inventory(self) -> Inventory:
        named = [pack for pack in self.packs.values() if pack.is_indexed]
        counts = tuple(pack.live_count for pack in named)
        names = tuple(pack.name for pack in named)
        midx = IndexInfo("", 0, sum(counts), names, counts) if self.has_index else None
        return Inventory(object_format="sha1", midx=midx, packs=tuple(self.packs.values()))

    def push(self, objects: int, size: int) -> None:
        self.now += 1
        self.pushed += size
        self.live += 1
        self._add(Piece(objects, size, 0))
        self._measure()

    def import_pack(self, objects: int, size: int) -> None:
        """One large pack under an index, as after a first clone."""
        self._add(Piece(objects, size, 0))
        self._write_index(())
        self.indexed, self.live = 0, 1

    def _add(self, piece: Piece) -> str:
        self.made += 1
        name = f"pack-{self.made:040x}"
        self.packs[name] = PackInfo(name, size=piece.size, mtime=self.now, object_count=piece.objects, referenced=None)
        self.writes[name] = piece.writes
        return name

    def _measure(self) -> None:
        self.peak_live, self.peak_all = max(self.peak_live, self.live), max(self.peak_all, len(self.packs))

    # -- a run

    def run(self) -> None:
        """What is due, one step after the other. Stuck when that has no end."""
        plan = self._plan()
        self.runs += bool(plan.due)
        for _ in range(ROUNDS):
            if not plan.due:
                break
            self.do(plan.due[0])
            plan = self._plan()
        else:
            raise Stuck(f"a run has no end: {plan.due[0]}")
        self.looks += 1
        self.outside += sum(not (pack.is_indexed or pack.is_superseded) for pack in self.packs.values())

    def _plan(self) -> RunPlan:
        return plan_run(self.inventory(), rules=self.rules, now=self.now)

    def do(self, step: RunStep) -> None:
        """Carry out one step. Stuck when nothing is changed by it."""
        before = self._shape()
        if step.verb == "index":
            self._write_index(())
        elif step.verb == "expire":
            self._expire()
        else:
            self._merge(step)
        if before == self._shape():
            raise Stuck(f"{step.verb} is due and changes nothing: {step.reason}")
        self.live = sum(not pack.is_superseded for pack in self.packs.values())
        self._measure()

    def _shape(self) -> list[tuple[int | None, int, bool, bool]]:
        return sorted((p.object_count, p.size, p.is_indexed, p.is_superseded) for p in self.packs.values())

    def _write_index(self, pages: Iterable[str]) -> None:
        unnamed = left_out(self.inventory(), self.rules).difference(pages)
        for name, pack in self.packs.items():
            if not (pack.is_indexed or name in unnamed):
                self.packs[name] = pack._replace(referenced=0 if pack.is_superseded else pack.object_count)
        self.has_index = True
        named = [pack for pack in self.packs.values() if pack.is_indexed]
        self.indexed += IDX_BYTES + NAME_BYTES * len(named) + OID_BYTES * sum(pack.live_count for pack in named)

    def _merge(self, step: RunStep) -> None:
        is_fold = step.verb == "fold"
        asks_index = needs_index(self.inventory(), step.packs)
        sources = sorted((self.packs[name] for name in step.packs), key=lambda pack: (pack.mtime, pack.name))
        limits = (math.inf, math.inf) if step.whole else (self.rules.page_objects, self.rules.page_bytes)
        pages = list(fill_pages([self._piece(pack) for pack in sources], *limits))
        written = sum(page.size + IDX_BYTES + OID_BYTES * page.objects for page in pages)
        self.folded, self.merged = self.folded + written * is_fold, self.merged + written * (not is_fold)
        for pack in sources:
            referenced = 0 if asks_index else None
            self.packs[pack.name] = pack._replace(superseded_since=self.now, referenced=referenced)
        names = [self._add(page) for page in pages]
        self.peak_writes = max(self.peak_writes, *(page.writes for page in pages))
        if asks_index:
            self._write_index(names)

    def _piece(self, pack: PackInfo) -> Piece:
        """What a merge makes of this pack."""
        assert pack.object_count
        writes = self.writes[pack.name]
        return Piece(pack.object_count, pack.size if writes else max(1, int(pack.size * self.kept_share)), writes + 1)

    def _expire(self) -> None:
        limit = self.now - self.rules.expire_grace
        gone = [p for p in self.packs.values() if p.superseded_since is not None and p.superseded_since <= limit]
        for pack in gone:
            del self.packs[pack.name], self.writes[pack.name]
        if any(pack.is_indexed for pack in gone):
            self._write_index(())


def fill_pages(pieces: Iterable[Piece], object_limit: float, byte_limit: float) -> Iterator[Piece]:
    """The pages that these pieces fill, in their order: full ones, and a rest."""
    page = Piece(0, 0, 0)
    for piece in pieces:
        left = piece
        while left.objects:
            taken = int(min(left.objects, object_limit - page.objects))
            size = left.size * taken // left.objects
            if page.objects and page.size + size > byte_limit:
                yield page
                page = Piece(0, 0, 0)
                continue
            page = Piece(page.objects + taken, page.size + size, max(page.writes, left.writes))
            left = Piece(left.objects - taken, left.size - size, left.writes)
            if page.objects >= object_limit:
                yield page
                page = Piece(0, 0, 0)
    if page.objects:
        yield page


def simulate(traffic: Traffic, *, rules: RunRules, seed: int = 1) -> tuple[Repository, list[Sample]]:
    """The repository after all pushes of `traffic`, and samples from the way there. Stuck when the policy is."""
    repository = Repository(rules, traffic.kept_share)
    source = random.Random(seed)
    if traffic.imported_objects:
        repository.import_pack(traffic.imported_objects, traffic.imported_objects * traffic.imported_object_bytes)
    samples: list[Sample] = []
    every = max(1, traffic.pushes // SAMPLES)
    peak = 0
    for number in range(1, traffic.pushes + 1):
        repository.push(*traffic.push(source))
        peak = max(peak, repository.live)
        if number % traffic.look_every == 0:
            repository.run()
        if number % every == 0:
            samples.append(Sample(number, repository.amplification, peak))
            peak = 0
    return repository, samples


HEADINGS = (
    "traffic",
    "pushes",
    "objects",
    "pushed",
    "merging",
    "folding",
    "index",
    "per byte",
    "worst",
    "packs",
    "writes",
)
"""Bytes a push, and what maintenance wrote for it; `per byte`: written for a byte pushed, at the end and at its worst
after the first 1000 pushes; `packs`: the most live ones at any moment; `writes`: how often an object was written."""


def play(traffics: Iterable[Traffic], rules: RunRules) -> Iterator[tuple[Traffic, list[Sample], tuple[str, ...]]]:
    """Each traffic with its samples and its row of the table."""
    for traffic in traffics:
        repository, samples = simulate(traffic, rules=rules)
        worst = max(sample.amplification for sample in samples if sample.pushes >= min(1000, traffic.pushes))
        each = (repository.pushed, repository.merged, repository.folded, repository.indexed)
        yield (
            traffic,
            samples,
            (
                traffic.name,
                f"{traffic.pushes:,}",
                f"{repository.object_count:,}",
                *(f"{count // traffic.pushes:,}" for count in each),
                f"{repository.amplification:.2f}",
                f"{worst:.2f}",
                str(repository.peak_live),
                str(repository.peak_writes),
            ),
        )


def bench(chart: Path | None, pushes: int | None = None) -> None:
    """Print the table, and draw it. `pushes`: fewer for each traffic than it has."""
    traffics = [traffic._replace(pushes=min(traffic.pushes, pushes or traffic.pushes)) for traffic in TRAFFICS]
    rules = RunRules(expire_grace=GRACE)
    print(f"| {' | '.join(HEADINGS)} |\n| --- |{' ---: |' * (len(HEADINGS) - 1)}")
    curves: dict[str, list[Sample]] = {}
    for traffic, samples, row in play(traffics, rules):
        print(f"| {' | '.join(row)} |", flush=True)
        curves[traffic.name] = samples
    for _, _, row in play(BACKLOGS if pushes is None else (), rules):
        print(f"| {' | '.join(row)} |", flush=True)
    if chart:
        draw(curves, rules, chart)


def draw(curves: dict[str, list[Sample]], rules: RunRules, path: Path) -> None:
    """Two charts over the number of pushes, as SVG: bytes written for a byte pushed, and live packs."""
    from .charts import figure, save  # matplotlib is needed for this alone

    canvas, (top, bottom) = figure(2, title="Maintenance by the policy of git gpa run, simulated")
    for name, samples in curves.items():
        pushes = [sample.pushes for sample in samples]
        top.plot(pushes, [sample.amplification for sample in samples], label=name)
        bottom.plot(pushes, [sample.live for sample in samples])
    top.axhline(AMPLIFICATION_LIMIT, color="black", linestyle="--", linewidth=1)
    bottom.axhline(pack_limit(rules), color="black", linestyle="--", linewidth=1)
    top.set(ylabel="bytes written for a byte pushed", ylim=(0, 1.2 * AMPLIFICATION_LIMIT), xscale="log")
    bottom.set(ylabel="live packs, the most at any moment", xlabel="pushes", xscale="log", ylim=(0, None))
    canvas.legend(loc="outside right upper", fontsize="small", frameon=False)
    save(canvas, path)


def pack_limit(rules: RunRules) -> int:
    """How many live packs there may be at any moment."""
    return rules.auto_pages + rules.max_pages + 8
