"""Two lives of one node: the small spaces are exhausted without a violation, and planted bugs are found."""

from __future__ import annotations

import pytest

from tests.exploration.__main__ import main
from tests.exploration.lives import LIVES_BOUNDS, LivesBounds, explore_lives
from tests.planted.mutations import planted
from tests.planted.table import PLANTED_BUGS

BUGS = {mutation.name: mutation for mutation in PLANTED_BUGS}


def test_the_smallest_space_is_exhausted_without_a_violation() -> None:
    report = explore_lives(LIVES_BOUNDS["lives"], minutes=10.0)
    assert not report.violation, report
    assert report.exhausted
    # Fewer would mean that something is not explored any more; where the rules change, so does this.
    assert report.states == 68_106


@pytest.mark.parametrize(
    ("name", "says"),
    [("two-lives-never-told-apart", "I2"), ("noted-by-one-too-few", "I2")],
)
def test_a_planted_bug_is_found_with_the_way_to_it(name: str, says: str) -> None:
    with planted(BUGS[name]):
        report = explore_lives(LIVES_BOUNDS["lives"], minutes=10.0)
    assert report.violation.startswith(says), report
    assert report.script
    assert "VIOLATION" in str(report)


def test_the_command_line_prints_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--bounds", "lives", "--minutes", "0.01"]) == 0
    assert "lives:" in capsys.readouterr().out


def test_an_exploration_that_runs_out_of_time_says_so() -> None:
    report = explore_lives(LivesBounds("short", ttl=1, until=1, term=3), minutes=0.0)
    assert not report.exhausted and "not exhausted" in str(report)
