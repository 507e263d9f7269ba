"""Quorums, the votes of a round, validity and the order of a line, each against a dumb twin."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paxlock.core.lease import Candidate, Validity
from paxlock.core.messages import RefusalReason, Refused
from paxlock.core.node.line import LAPSE_REFRESHES, Line
from paxlock.core.quorum import blocking, majority
from paxlock.core.session.pacing import LONG_AGO
from paxlock.core.session.proposer import Phase, Proposer

NODES = "abcdefg"
CANDIDATE = Candidate(b"c" * 16, 1)
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


class DumbRound:
    """What a candidate has heard since its last Prepare, message by message, and who stands where by that:
    looked for anew each time, in every quorum and every term.
    """

    def __init__(self, members: str) -> None:
        self.members = members
        self.phase = Phase.BACKING_OFF
        self.at_least = self.term = 0
        self.heard: list[tuple[str, int, float]] = []  # (node, term, when what it took was sent)
        self.promises: dict[str, int] = {}

    def prepare(self, at_least: int) -> None:
        self.phase, self.at_least = Phase.PREPARING, at_least
        self.heard, self.promises = [], {}

    def promised(self, node: str, term: int) -> None:
        if node in self.members and self.phase is Phase.PREPARING and term >= self.at_least:
            self.promises[node] = term

    def accept(self, since: float) -> None:
        self.phase, self.term = Phase.ACCEPTING, max(self.promises.values())
        # What was taken in this very term, by a number that is new enough, is an answer already.
        stand = {node: self.stands(node) for node in self.members}
        here = [node for node, (term, sent_at) in stand.items() if term == self.term and sent_at >= since]
        self.heard = [(node, *stand[node]) for node in here]

    def refused(self, node: str, term: int) -> None:
        present = term + 1 if self.phase is Phase.PREPARING else self.term
        if node in self.members and self.stands(node)[0] < present:
            self.heard = [word for word in self.heard if word[0] != node]
            self.promises.pop(node, None)

    def took(self, node: str, term: int, sent_at: float, since: float) -> bool:
        """Whether the lease is chosen by this word, and was not before."""
        lowest = self.at_least if self.phase is Phase.PREPARING else self.term
        if node not in self.members or term < lowest or term < self.stands(node)[0]:
            return False
        self.heard.append((node, term, sent_at))
        if self.phase is Phase.CHOSEN:
            return False
        if self.phase is Phase.PREPARING:
            self.promises[node] = term
        else:
            since = LONG_AGO
        for quorum in quorums_of(self.members):
            for one in TERMS:
                words = [self.stands(voter) for voter in quorum]
                if all(stands == one and sent >= since for stands, sent in words):
                    self.phase, self.term = Phase.CHOSEN, one
                    return True
        return False

    def stands(self, node: str) -> tuple[int, float]:
        """The highest term in which the node has taken the lease, and the newest number of that term."""
        return max(((term, sent) for who, term, sent in self.heard if who == node), default=(0, LONG_AGO))


def quorums_of(members: str) -> list[tuple[str, ...]]:
    """Every set of members that is more than half of them, and not larger than it must be."""
    return [few for few in combinations(members, len(members) // 2 + 1) if 2 * len(few) > len(members)]


TERMS = range(1, 4)
events = st.tuples(
    st.sampled_from(
        ("took", "took", "took", "promised", "promised", "accept", "accept", "refused", "prepare")
    ),
    st.integers(0, 7),  # who: a member, or a stranger
    st.sampled_from(TERMS),
    st.integers(0, 5),  # when it was sent; which question is refused; since when a number is new enough
)


@settings(max_examples=400, deadline=None)
@given(
    nodes=st.sampled_from((1, 2, 3, 3, 4, 5)), story=st.lists(events, max_size=40), since=st.integers(0, 2)
)
def test_a_lease_is_chosen_when_a_dumb_count_finds_a_quorum_in_one_term(
    nodes: int, story: list[tuple[str, int, int, int]], since: int
) -> None:
    members = NODES[:nodes]
    round_, dumb = Proposer(CANDIDATE, tuple(members)), DumbRound(members)
    request = 1
    round_.prepare(1, request, 0.0)
    dumb.prepare(1)
    for what, index, term, number in story:
        who = (members + "x")[index % (nodes + 1)]
        if what == "prepare":
            request += 1
            round_.prepare(term, request, 0.0)
            dumb.prepare(term)
        elif what == "promised":
            round_.promised(who, request, term)
            dumb.promised(who, term)
        elif what == "accept" and round_.may_accept:
            request += 1
            round_.accept(request, 0.0, since=number)
            dumb.accept(number)
        elif what == "refused":
            asked = request if number else request + 7  # the answer to another question is no answer
            round_.refused(who, Refused(asked, "n", CANDIDATE, RefusalReason.STALE, term, 0, None), 0.0)
            if number:
                dumb.refused(who, term)
        elif what == "took":
            for _ in range(1 + number % 3):  # the network repeats it
                chosen = round_.took(who, term, float(number), since=since)
                assert chosen is dumb.took(who, term, float(number), since)
        assert (round_.phase, round_.promises) == (dumb.phase, dumb.promises)
        assert round_.may_accept is (dumb.phase is Phase.PREPARING and 2 * len(dumb.promises) > nodes)
        stand = {node: dumb.stands(node) for node in members}
        counted = {node: (took.term, took.sent_at) for node, took in round_.taken.items()}
        assert counted == {node: word for node, word in stand.items() if word[0]}
        if round_.phase is Phase.CHOSEN:
            assert round_.term == dumb.term


@given(
    nodes=sizes,
    cast=st.lists(st.tuples(st.sampled_from(NODES + "xyz"), st.integers(0, 9)), max_size=12),
    rng=st.randoms(use_true_random=False),
)
def test_repetitions_and_the_order_of_acceptances_change_nothing(
    nodes: int, cast: list[tuple[str, int]], rng: Random
) -> None:
    """Of one term: whoever has accepted is one vote, and the newest of its numbers counts."""
    members = NODES[:nodes]
    found = []
    for repeated in (1, 3):
        again = cast * repeated
        rng.shuffle(again)
        round_ = Proposer(CANDIDATE, tuple(members))
        round_.prepare(4, 1, 0.0)
        for node in members:
            round_.promised(node, 1, 4)
        round_.accept(2, 0.0)
        won = [round_.took(node, 4, float(number)) for node, number in again]
        assert won.count(True) <= 1
        found.append((round_.phase, round_.taken, won.count(True)))
    assert found[0] == found[1]
    voted = {node for node, _ in cast if node in members}
    assert found[0][2] == (2 * len(voted) > nodes)


@given(
    nodes=sizes,
    news=st.lists(st.tuples(st.sampled_from(NODES), st.floats(0, 100)), max_size=30),
)
def test_validity_is_what_the_luckiest_quorum_acknowledged(nodes: int, news: list[tuple[str, float]]) -> None:
    """Of every quorum the oldest of its newest numbers counts; the best quorum decides."""
    validity, members = Validity(nodes, span=9.0), NODES[:nodes]
    newest: dict[str, float] = {}
    for node, sent_at in news:
        if node not in members:
            continue
        assert validity.acknowledge(node, sent_at) is (sent_at > newest.get(node, LONG_AGO))
        newest[node] = max(newest.get(node, sent_at), sent_at)
        assert not validity.acknowledge(node, sent_at)  # the same news again
        lasts = [min(newest.get(voter, LONG_AGO) for voter in quorum) for quorum in quorums_of(members)]
        assert validity.until() == max(lasts) + 9.0


@given(
    nodes=sizes,
    news=st.lists(st.tuples(st.sampled_from(NODES), st.floats(0, 100)), max_size=12),
    rng=st.randoms(use_true_random=False),
)
def test_the_order_of_acknowledgements_does_not_change_validity(
    nodes: int, news: list[tuple[str, float]], rng: Random
) -> None:
    news = [(node, sent_at) for node, sent_at in news if node in NODES[:nodes]]
    again = news * 2
    rng.shuffle(again)
    ends = []
    for heard in (news, again):
        validity = Validity(nodes, span=9.0)
        for node, sent_at in heard:
            validity.acknowledge(node, sent_at)
        ends.append(validity.until())
    assert ends[0] == ends[1]


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
