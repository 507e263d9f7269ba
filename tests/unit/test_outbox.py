"""The first repetition: as soon as the grace allows, unless the cell is busy."""

from __future__ import annotations

from random import Random

import pytest

from paxlock.core.outbox import Outbox

GRACE = 0.01


def outbox() -> Outbox:
    return Outbox(GRACE, Random(1))


def test_it_begins_with_a_part_of_the_grace() -> None:
    out = outbox()
    assert out.retry_first() == pytest.approx(0.004)
    out.heard_after(0.001)
    assert out.retry_first() == pytest.approx(0.004)


def test_a_busy_cell_is_given_two_round_trips_at_once_and_trusted_slowly_again() -> None:
    out = outbox()
    out.heard_after(0.01)
    assert out.retry_first() == pytest.approx(0.02)
    out.heard_after(0.001)
    assert 0.015 < out.retry_first() < 0.02
    for _ in range(100):
        out.heard_after(0.001)
    assert out.retry_first() == pytest.approx(0.004)


def test_one_late_answer_does_not_silence_it() -> None:
    out = outbox()
    out.heard_after(60.0)
    assert out.retry_first() == pytest.approx(4 * GRACE)


def test_where_answers_usually_take_long_it_waits_for_two_of_them() -> None:
    out = outbox()
    for _ in range(50):
        out.heard_after(0.1)
    assert out.retry_first() == pytest.approx(0.2, rel=0.01)
    for _ in range(50):
        out.heard_after(60.0)
    assert out.retry_first() == pytest.approx(0.25, rel=0.01)
