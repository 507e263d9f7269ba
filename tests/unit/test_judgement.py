"""From views of single nodes to a statement about the cell: details beyond the table of the rules."""

from __future__ import annotations

import pytest

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import View
from paxlock.core.session.judgement import State, judge, over

ATHENS = Candidate(b"athens".ljust(16, b"."), 1)
BYBLOS = Candidate(b"byblos".ljust(16, b"."), 1)


def view(
    who: Candidate | None,
    term: int,
    *,
    holds: bool = True,
    chosen: bool = False,
    token: int = 0,
    left: int = 0,
) -> View:
    lease = Lease(who, 10_000, "", b"", token) if who is not None else None
    return View(1, "n", term, lease, term if lease else 0, holds and lease is not None, chosen, False, left)


def test_the_time_left_is_what_a_quorum_still_holds() -> None:
    views = {
        node: view(ATHENS, 4, left=left) for node, left in zip("abc", (9_000, 2_000, 5_000), strict=True)
    }
    assert judge(views, 3).remaining == 5.0
    del views["c"]
    assert judge(views, 3).remaining == 2.0


def test_of_two_that_seem_led_the_higher_token_is_it() -> None:
    # a and b are late news: the tenure of athens has ended, and that of byblos begun, since they answered.
    views = {
        "a": view(ATHENS, 4, chosen=True, holds=False),
        "b": view(ATHENS, 4, chosen=True, holds=False),
        "c": view(BYBLOS, 6, chosen=True),
        "d": view(BYBLOS, 6, chosen=True),
        "e": view(BYBLOS, 6, chosen=True),
    }
    judgement = judge(views, 5)
    assert (judgement.state, judgement.term) == (State.LED, 6)
    assert judgement.lease is not None and judgement.lease.candidate == BYBLOS


def test_a_token_that_one_node_knows_is_the_token() -> None:
    views = {"a": view(ATHENS, 9, chosen=True, token=4), "b": view(ATHENS, 12), "c": view(None, 0)}
    assert judge(views, 3).term == 4


@pytest.mark.parametrize(
    ("views", "term"),
    [
        # Without the holder's word: a found out that 4 was chosen, b shows the lease in an older term.
        pytest.param([view(ATHENS, 4, chosen=True), view(ATHENS, 1)], 4, id="the-chosen-one-is-the-highest"),
        pytest.param([view(ATHENS, 4, chosen=True), view(ATHENS, 6)], 0, id="it-may-have-gone-on-to-6"),
        pytest.param(
            [view(ATHENS, 4, chosen=True), view(ATHENS, 6), view(ATHENS, 4)], 4, id="a-quorum-shows-4"
        ),
        pytest.param(
            [view(ATHENS, 1, chosen=True), view(ATHENS, 4), view(ATHENS, 4)], 4, id="a-quorum-shows-more"
        ),
        pytest.param(
            [view(ATHENS, 1, chosen=True), view(ATHENS, 4, chosen=True)], 4, id="chosen-again-in-a-higher-one"
        ),
        pytest.param(
            [view(ATHENS, 1, chosen=True), view(ATHENS, 9, token=2)], 2, id="the-holder's-word-is-the-token"
        ),
    ],
)
def test_which_term_is_the_token(views: list[View], term: int) -> None:
    judgement = judge(dict(zip("abc", views, strict=False)), 3)
    assert judgement.term == term
    assert judgement.state is (State.LED if term else State.UNKNOWN)


@pytest.mark.parametrize(
    ("views", "chosen"),
    [
        pytest.param([view(ATHENS, 4), view(ATHENS, 4)], False, id="nobody-knows"),
        pytest.param([view(ATHENS, 4, chosen=True), view(ATHENS, 4)], True, id="one-knows"),
        pytest.param([view(ATHENS, 6, token=4), view(ATHENS, 6)], True, id="one-knows-the-token"),
        pytest.param(
            [view(ATHENS, 1, chosen=True), view(ATHENS, 4), view(ATHENS, 4)], False, id="of-another"
        ),
    ],
)
def test_whether_somebody_knows_the_term_to_be_chosen(views: list[View], chosen: bool) -> None:
    judgement = judge(dict(zip("abc", views, strict=False)), 3)
    assert (judgement.state, judgement.chosen) == (State.LED, chosen)


def test_in_a_cell_of_one_what_the_node_holds_is_chosen() -> None:
    judgement = judge({"a": view(ATHENS, 4)}, 1)
    assert (judgement.state, judgement.term, judgement.chosen) == (State.LED, 4, True)


def moved_on(term: int, known: int) -> View:
    """Holds nothing and has closed ``term``; it once heard that athens was chosen in ``known``."""
    return View(1, "n", term, Lease(ATHENS, 10_000, "", b""), known, False, True, False, 0)


def test_an_old_commit_of_a_node_that_has_moved_on_supports_nobody() -> None:
    views = {"a": moved_on(7, 5), "b": view(ATHENS, 5)}
    assert judge(views, 3).state is State.UNKNOWN
    views["a"] = moved_on(5, 5)
    assert judge(views, 3).state is State.LED
    assert judge({"a": moved_on(7, 5), "c": view(None, 7)}, 3).state is State.FREE


def test_a_tenure_is_over_where_a_higher_token_of_another_is_known() -> None:
    views = {"a": view(ATHENS, 4, chosen=True, token=4), "b": view(ATHENS, 4)}
    assert judge(views, 3).term == 4
    views["c"] = view(BYBLOS, 6, chosen=True, token=6, holds=False)
    assert judge(views, 3).state is State.UNKNOWN


@pytest.mark.parametrize("nodes", [1, 3, 5, 7])
def test_nothing_heard_is_unknown_and_over_for_nobody(nodes: int) -> None:
    assert judge({}, nodes).state is State.UNKNOWN
    assert not over({}, nodes, ATHENS, 1)


def test_a_release_of_an_earlier_attempt_is_not_the_end_of_this_one() -> None:
    earlier = Candidate(ATHENS.session, 0)
    released = View(1, "n", 4, Lease(earlier, 10_000, "", b""), 4, False, True, True, 0)
    assert not over({"a": released}, 3, ATHENS, 4)
