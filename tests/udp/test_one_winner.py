"""Of several processes that try at one moment exactly one gets the name, and the others are told who."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_winner import Rounds, busy
from processes import process_cell

ROUNDS = 30

pytestmark = [pytest.mark.processes, pytest.mark.slow]


def test_exactly_one_process_wins_and_the_others_know_who(tmp_path: Path) -> None:
    with process_cell(tmp_path, max_ttl=30.0) as cell, busy(1):
        rounds = Rounds(cell, seed=1)
        for number in range(ROUNDS):
            rounds.play(number)
    assert rounds.wrong == []
    assert set(rounds.told) == {"HELD"}
