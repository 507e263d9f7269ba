"""Two lives of one node: what the explorer of them prints.

``python -m tests.exploration --check`` exhausts its smallest space, ``--planted`` finds planted bugs in it.
"""

from __future__ import annotations

import pytest

from tests.exploration.__main__ import main
from tests.exploration.bounds import LivesBounds
from tests.exploration.lives import LivesReport, explore_lives


def test_the_command_line_prints_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bounds", "lives", "--minutes", "0.01"]) == 0
    assert "lives:" in capsys.readouterr().out


def test_an_exploration_that_runs_out_of_time_says_so() -> None:
    report = explore_lives(LivesBounds("short", ttl=1, until=1, term=3), minutes=0.0)
    assert not report.exhausted and "not exhausted" in str(report)


def test_a_violation_is_shown() -> None:
    report = LivesReport(LivesBounds("short", ttl=1, until=1, term=3), violation="I2: as if")
    assert "VIOLATION: I2: as if" in str(report)
