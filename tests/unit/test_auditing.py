"""`paxlock audit` and `explain`: what is found in journals that are made by hand."""

from __future__ import annotations

import pytest

from paxlock.core.journal import Happened, Happening
from paxlock.core.lease import Candidate
from paxlock.core.reasons import RefusalReason
from paxlock.core.session.events import NodeJournal
from paxlock.observe.auditing import audit
from paxlock.observe.explaining import episodes, sentence

ATHENS, BYBLOS = Candidate(b"A" * 16, 1), Candidate(b"B" * 16, 1)
LABELS = {ATHENS: "athens", BYBLOS: "byblos"}
TERMS = {ATHENS: 7, BYBLOS: 8}
WHAT = Happening


def journal(
    node: str, *told: tuple[Happening, Candidate, float], ttl: float = 10.0, error: float = 0.002
) -> NodeJournal:
    """What this node tells, as (what, who, seconds ago)."""
    held = (WHAT.ACCEPTED, WHAT.RENEWED, WHAT.RESTORED)
    entries = tuple(
        Happened(
            *(number, what, round(ago * 1000), who, TERMS[who], LABELS[who]),
            round(ttl * 1000) if what in held else 0,
            RefusalReason.HELD if what is WHAT.REFUSED else None,
            1,
        )
        for number, (what, who, ago) in enumerate(told, 1)
    )
    return NodeJournal(node, True, 100.0, error, entries)


def after_expiry(node: str, shift: float = 0.0) -> NodeJournal:
    return journal(
        node,
        (WHAT.ACCEPTED, ATHENS, 40.0 + shift),
        (WHAT.RENEWED, ATHENS, 30.0 + shift),
        (WHAT.EXPIRED, ATHENS, 20.0 + shift),
        (WHAT.ACCEPTED, BYBLOS, 20.0 + shift),
    )


def test_one_after_the_other() -> None:
    found = audit([after_expiry("a"), after_expiry("b", 0.003), NodeJournal("c", False)])
    assert [(grant.label, grant.term) for grant in found.grants] == [("athens", 7), ("byblos", 8)]
    assert (found.overlaps, found.not_judged) == ((), 0)


def test_a_release_ends_a_grant_before_its_time() -> None:
    told = (WHAT.ACCEPTED, ATHENS, 9.0), (WHAT.RELEASED, ATHENS, 8.0), (WHAT.ACCEPTED, BYBLOS, 7.99)
    found = audit([journal(node, *told) for node in "abc"])
    assert len(found.grants) == 2
    assert found.overlaps == ()


@pytest.mark.parametrize("renewed", [False, True])
def test_a_node_that_lets_go_too_early_is_found(renewed: bool) -> None:
    """The lease is held until 10 s after the last renewal, and the node took another after 9 s."""
    told = [(WHAT.ACCEPTED, ATHENS, 40.0 if renewed else 30.0)]
    told += [(WHAT.RENEWED, ATHENS, 30.0)] if renewed else []
    early = journal("b", *told, (WHAT.EXPIRED, ATHENS, 21.0), (WHAT.ACCEPTED, BYBLOS, 21.0))
    other = journal("a", *told, (WHAT.EXPIRED, ATHENS, 20.0))
    third = journal("c", (WHAT.ACCEPTED, BYBLOS, 21.0))
    found = audit([other, early, third])
    assert [(o.first.label, o.second.label, o.second.node_id) for o in found.overlaps] == [
        ("athens", "byblos", "b")
    ]
    assert found.overlaps[0].seconds == pytest.approx(1.0, abs=0.01)


def test_one_that_comes_again_is_compared_with_who_held_between() -> None:
    told = (WHAT.ACCEPTED, BYBLOS, 30.0), (WHAT.ACCEPTED, ATHENS, 20.0), (WHAT.ACCEPTED, BYBLOS, 10.0)
    assert audit([journal(node, *told) for node in "abc"]).overlaps == ()
    found = audit([journal(node, *told, ttl=10.1) for node in "abc"]).overlaps
    assert [(o.first.label, o.second.label) for o in found] == 3 * [
        ("byblos", "athens"),
        ("athens", "byblos"),
    ]


def test_what_is_not_known_is_no_overlap() -> None:
    told = (WHAT.ACCEPTED, ATHENS, 20.0), (WHAT.ACCEPTED, BYBLOS, 10.5)
    assert audit([journal("a", *told, error=0.3)]).overlaps == ()
    assert len(audit([journal("a", *told, error=0.2)]).overlaps) == 1
    restored = (WHAT.RESTORED, ATHENS, 20.0), (WHAT.ACCEPTED, BYBLOS, 10.5)
    assert len(audit([journal("a", *restored)]).overlaps) == 1


def test_a_candidate_without_a_quorum_is_not_judged() -> None:
    nodes = [journal("a", (WHAT.ACCEPTED, ATHENS, 5.0)), journal("b", (WHAT.ACCEPTED, BYBLOS, 5.0))]
    found = audit([*nodes, NodeJournal("c", False)])
    assert (found.grants, found.overlaps, found.not_judged) == ((), (), 2)


def test_the_story_in_sentences() -> None:
    a, b = after_expiry("a"), after_expiry("b", 0.05)
    c = journal("c", (WHAT.REFUSED, BYBLOS, 25.0), (WHAT.ACCEPTED, ATHENS, 1.0))
    told = [(round(each.ago, 1), sentence(each)) for each in episodes([a, b, c])]
    assert told == [
        (40.0, "athens became the holder in term 7: a, b and c accepted"),
        (30.0, "athens renewed its lease for the last time, at a and b"),
        (25.0, "byblos was refused last by c: somebody else held it"),
        (20.0, "the lease of athens ran out at a and b"),
        (20.0, "byblos became the holder in term 8: a and b accepted"),
    ]
