"""A strict reader of the text format for metrics: what a scraper would refuse is an AssertionError."""

from __future__ import annotations

import re

NAME = re.compile(r"gpa_[a-z][a-z0-9_]*")
SAMPLE = re.compile(r'(gpa_[a-z0-9_]+)\{((?:[a-z]+="(?:[^"\\\n]|\\["\\n])*",?)+)\} (-?[0-9][0-9.e+-]*)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
UNESCAPED = {"\\\\": "\\", '\\"': '"', "\\n": "\n"}

Sample = tuple[str, dict[str, str], float]


def parse_metrics(text: str) -> list[Sample]:
    """Every sample: name, labels, value. Each name has its HELP, its TYPE and then its samples, once and together."""
    assert text.endswith("\n")
    samples: list[Sample] = []
    seen: set[str] = set()
    name = kind = ""
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            assert kind != "help", f"'{name}' has no type"
            name, _, meaning = line.removeprefix("# HELP ").partition(" ")
            assert NAME.fullmatch(name) and name not in seen and meaning, line
            seen.add(name)
            kind = "help"
        elif line.startswith("# TYPE "):
            assert kind == "help", line
            typed, _, kind = line.removeprefix("# TYPE ").partition(" ")
            assert typed == name and kind in ("gauge", "counter"), line
            assert (kind == "counter") == name.endswith("_total"), line
        else:
            samples.append(_sample(line))
            assert name == samples[-1][0], line
    assert {sample[0] for sample in samples} == seen, "a name without a sample"
    series = [(found, tuple(sorted(labels.items()))) for found, labels, _ in samples]
    assert len(series) == len(set(series)), "the same series twice"
    return samples


def _sample(line: str) -> Sample:
    match = SAMPLE.fullmatch(line)
    assert match, line
    name, labels, value = match.groups()
    pairs = LABEL.findall(labels)
    assert labels == ",".join(f'{label}="{text}"' for label, text in pairs), line
    assert len(pairs) == len({label for label, _ in pairs}), line
    return name, {label: re.sub(r"\\.", lambda found: UNESCAPED[found[0]], text) for label, text in pairs}, float(value)
