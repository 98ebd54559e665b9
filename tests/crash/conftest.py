"""The faults that were injected, as a table at the end of the run."""

from __future__ import annotations

import pytest
from faults import table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = table()
    if lines:
        terminalreporter.section("faults injected, and those after which anything was lost")
        for line in lines:
            terminalreporter.write_line(line)
