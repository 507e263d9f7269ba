"""Majorities and tallies: figures by hand (the properties have the twin)."""

from __future__ import annotations

import pytest

from paxlock.core.quorum import Tally, Verdict, blocking, majority


@pytest.mark.parametrize(
    ("nodes", "quorum", "blocks"),
    [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2), (5, 3, 3), (6, 4, 3), (7, 4, 4)],
)
def test_sizes(nodes: int, quorum: int, blocks: int) -> None:
    assert (majority(nodes), blocking(nodes)) == (quorum, blocks)


def test_a_tally_is_pending_until_a_quorum_or_a_blocking_set_has_spoken() -> None:
    tally = Tally(frozenset("abc"))
    tally.record("a", True)
    tally.record("b", False)
    assert tally.verdict() is Verdict.PENDING
    assert tally.verdict(silent="c") is Verdict.LOST
    tally.record("c", True)
    assert tally.verdict() is Verdict.WON


def test_the_last_word_of_a_node_counts() -> None:
    tally = Tally(frozenset("abc"))
    for node in "ab":
        tally.record(node, False)
    assert tally.verdict() is Verdict.LOST
    for node in "ab":
        tally.record(node, True)
    assert tally.verdict(silent="abc") is Verdict.WON


def test_strangers_are_neither_yes_nor_no() -> None:
    tally = Tally(frozenset("abc"))
    for stranger in "xyz":
        tally.record(stranger, True)
        tally.record(stranger.upper(), False)
    assert (tally.yes, tally.no) == (set(), set())
    assert tally.verdict(silent="xyz") is Verdict.PENDING
