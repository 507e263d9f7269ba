"""Quorums, tallies and the order of a line, each against a dumb twin."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paxlock.core.lease import Candidate, Validity
from paxlock.core.queue import LAPSE_REFRESHES, Line
from paxlock.core.quorum import Tally, Verdict, blocking, majority

NODES = "abcdefg"
votes = st.lists(st.tuples(st.sampled_from(NODES + "xyz"), st.booleans()), max_size=40)
sizes = st.sampled_from([1, 2, 3, 4, 5, 6, 7])


@pytest.mark.parametrize("nodes", range(1, 8))
def test_any_two_quorums_share_a_node_and_a_blocking_set_meets_every_quorum(nodes: int) -> None:
    members = range(nodes)
    quorums = [set(chosen) for chosen in combinations(members, majority(nodes))]
    assert all(one & other for one in quorums for other in quorums)
    blocks = [set(chosen) for chosen in combinations(members, blocking(nodes))]
    assert all(block & quorum for block in blocks for quorum in quorums)
    smaller = [set(chosen) for chosen in combinations(members, blocking(nodes) - 1)]
    assert all(any(not few & quorum for quorum in quorums) for few in smaller)


@given(nodes=sizes, cast=votes, silent=st.sets(st.sampled_from(NODES + "xyz")))
def test_a_tally_is_what_a_dumb_count_of_the_last_words_says(
    nodes: int, cast: list[tuple[str, bool]], silent: set[str]
) -> None:
    members = NODES[:nodes]
    tally = Tally(frozenset(members))
    last_word: dict[str, bool] = {}
    for node, vote in cast:
        tally.record(node, vote)
        last_word[node] = vote
    yes = sum(1 for node in members if last_word.get(node) is True)
    could_be = sum(
        1 for node in members if last_word.get(node) is True or (node not in last_word and node not in silent)
    )
    if 2 * yes > nodes:
        expected = Verdict.WON
    elif 2 * could_be > nodes:
        expected = Verdict.PENDING
    else:
        expected = Verdict.LOST
    assert tally.verdict(silent=silent) is expected


@given(nodes=sizes, cast=votes)
def test_votes_repeated_by_the_network_change_nothing(nodes: int, cast: list[tuple[str, bool]]) -> None:
    once, often = Tally(frozenset(NODES[:nodes])), Tally(frozenset(NODES[:nodes]))
    for node, vote in cast:
        once.record(node, vote)
        for _ in range(3):
            often.record(node, vote)
    assert (once.yes, once.no, once.verdict()) == (often.yes, often.no, often.verdict())


@given(
    nodes=sizes,
    news=st.lists(st.tuples(st.sampled_from(NODES), st.floats(0, 100)), max_size=30),
)
def test_validity_is_never_more_than_a_quorum_acknowledged(nodes: int, news: list[tuple[str, float]]) -> None:
    validity = Validity(nodes, span=9.0)
    best: dict[str, float] = {}
    before = float("-inf")
    for node, sent_at in news:
        if node not in NODES[:nodes]:
            continue
        validity.acknowledge(node, sent_at)
        best[node] = max(best.get(node, sent_at), sent_at)
        until = validity.until()
        assert until >= before
        before = until
        # As long as it is valid, more than half of all nodes have acknowledged something sent since then.
        enough = [at for at in best.values() if at + 9.0 >= until]
        assert until == float("-inf") or 2 * len(enough) > nodes
    if 2 * len(best) > nodes:
        assert before > float("-inf")


entries = st.tuples(
    st.integers(0, 9),  # who
    st.integers(0, 50),  # age, tenths of a second
    st.integers(1, 10),  # refresh, tenths of a second
    st.integers(0, 5),  # time that passes before, tenths of a second
    st.booleans(),  # leaves the line instead
)


@given(st.lists(entries, max_size=60), st.sampled_from([0.0, 0.5, 4.0]))
def test_a_line_is_what_a_dumb_sorted_list_says(
    steps: list[tuple[int, int, int, int, bool]], window: float
) -> None:
    line = Line()
    dumb: dict[Candidate, tuple[float, float]] = {}  # arrival at the first entry, and when it lapses
    now = 0.0
    for who, age, refresh, passed, leaves in steps:
        now += passed / 10
        candidate = Candidate(bytes([who]) * 16, who)
        if leaves:
            left = line.remove(candidate)
            assert (left is None) is (dumb.pop(candidate, None) is None)
        else:
            line.enter(
                candidate, age=age / 10, refresh=refresh / 10, at_least=1, label="", window=window, now=now
            )
            arrival = dumb[candidate][0] if candidate in dumb else now - age / 10
            dumb[candidate] = (arrival, now + LAPSE_REFRESHES * (refresh / 10))
        waiting = sorted((arrival, c) for c, (arrival, lapses) in dumb.items() if lapses > now)
        assert [(entry.arrival, entry.candidate) for entry in line.entries(now)] == waiting
        head = line.head(now)
        together = [c for arrival, c in waiting if arrival <= waiting[0][0] + window / 4]
        assert (head.candidate if head is not None else None) == min(together, default=None)
        # Asking for the head drops those before it that have lapsed: they enter anew.
        for candidate, (arrival, lapses) in list(dumb.items()):
            if lapses <= now and (not waiting or (arrival, candidate) < waiting[0]):
                del dumb[candidate]
        assert len(line) == len(dumb)
