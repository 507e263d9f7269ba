"""Those that try once, all at one moment, in virtual time (simulator/tries.py): exactly one wins."""

from __future__ import annotations

import attrs
import pytest

from paxlock.simulator.tries import Figures, main, play
from tests.planted.mutations import planted
from tests.planted.table import PLANTED_BUGS

pytestmark = pytest.mark.slow

ROUNDS = 30
LAN = (0.0002, 0.002)
WIDE = (0.1, 0.3)


@pytest.mark.parametrize("figures", [Figures(), Figures(round_trip=LAN), Figures(round_trip=WIDE)], ids=str)
def test_exactly_one_wins_and_the_others_know_who(figures: Figures) -> None:
    ends, wrong = play(1, range(ROUNDS), figures)
    assert wrong == []
    assert len(ends) == ROUNDS * figures.bursts


def test_one_wins_although_datagrams_are_lost() -> None:
    ends, wrong = play(2, range(ROUNDS), Figures(loss=0.02, round_trip=LAN))
    assert wrong == []
    assert len(ends) == ROUNDS * Figures().bursts


def test_it_is_the_same_again() -> None:
    assert play(3, range(3), Figures()) == play(3, range(3), Figures())


def test_what_goes_wrong_is_told_with_the_round(capsys: pytest.CaptureFixture[str]) -> None:
    bug = next(bug for bug in PLANTED_BUGS if bug.name == "own-attempt-counts-as-holder")
    with planted(bug):
        assert main(["--rounds", "150", "--seed", "1"]) == 1
    assert "FAILED  seed 1 round " in capsys.readouterr().out


def test_the_figures_are_the_callers(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--rounds", "6", "--callers", "2-3", "--round-trip", "1-2", "--grace", "20", "--jobs", "2"]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("6 bursts in ")


def test_figures_are_drawn_between_their_bounds() -> None:
    figures = attrs.evolve(Figures(), callers=(2, 2), bursts=1)
    ends, _ = play(4, range(20), figures)
    assert all(0.0002 <= end.round_trip <= 0.3 for end in ends)
