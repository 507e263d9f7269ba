"""What many leases have in common is kept once: equal in value, and one object."""

from __future__ import annotations

import pytest

from paxlock.core.lease import Candidate, Lease
from paxlock.core.node import sharing
from paxlock.core.node.sharing import Sharing
from paxlock.core.round_trips import WINDOW_MAX_S, WINDOW_MIN_S


def lease(attempt: int, session: bytes = b"athens..........", label: str = "athens") -> Lease:
    """As it comes from the wire: every part an object of its own."""
    candidate = Candidate(bytes(bytearray(session)), attempt)
    return Lease(candidate, int(str(10_000)), "".join(list(label)), b"x", 7, 3)


def test_leases_of_one_session_share_its_identity_label_and_ttl() -> None:
    node = Sharing()
    first, second = (node.shared(lease(attempt)) for attempt in (1000, 1001))
    assert (first, second) == (lease(1000), lease(1001))
    assert second.candidate.session is first.candidate.session
    assert second.label is first.label
    assert second.ttl_ms is first.ttl_ms


def test_others_share_nothing_with_them() -> None:
    node = Sharing()
    node.shared(lease(1))
    for other in (lease(1, session=b"byblos.........."), lease(1, label="byblos")):
        assert node.shared(other) == other


def test_it_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "KNOWN_MAX", 3)
    node = Sharing()
    for number in range(20):
        found = lease(1, label=f"label {number}")
        assert node.shared(found) == found
        assert node.window(number + 10) == (number + 10) / 1000.0
        assert len(node._known) <= 3
        assert len(node._windows) <= 3


def test_a_stated_window_is_within_bounds_and_one_object() -> None:
    node = Sharing()
    assert node.window(1) == WINDOW_MIN_S
    assert node.window(1 << 62) == WINDOW_MAX_S
    assert node.window(123) == 0.123
    assert node.window(123) is node.window(123)
