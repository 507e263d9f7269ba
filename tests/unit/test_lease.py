"""The timing of a lease, its nesting, and what keeps it valid."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from paxlock.core.lease import TTL_MIN_S, Candidate, Lease, Timing, Validity, quarantine
from paxlock.errors import ConfigError


def test_timing_nests() -> None:
    timing = Timing.for_ttl(9.0, max_ttl=30.0, drift=0.01)
    assert timing.renew == pytest.approx(3.0)
    assert timing.margin == pytest.approx(0.9)
    assert timing.renew < timing.span - timing.margin < timing.span < timing.ttl


@pytest.mark.parametrize(
    ("ttl", "kill_after", "says"),
    [
        (0.0, 0.0, "at least"),
        (-1.0, 0.0, "at least"),
        (float("nan"), 0.0, "at least"),
        (TTL_MIN_S - 0.001, 0.0, "at least 200 ms"),
        (30.001, 0.0, "max_ttl"),
        (10.0, 9.0, "too short"),
        (1.0, 3.0, "for trips must be less than 0.98 s; ask for a longer ttl"),
    ],
)
def test_durations_that_do_not_nest_are_refused_with_what_to_do(
    ttl: float, kill_after: float, says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        Timing.for_ttl(ttl, max_ttl=30.0, drift=0.01, kill_after=kill_after)


def test_the_limits_themselves_are_allowed() -> None:
    assert Timing.for_ttl(TTL_MIN_S, max_ttl=30.0, drift=0.01).ttl == TTL_MIN_S
    assert Timing.for_ttl(30.0, max_ttl=30.0, drift=0.01).ttl == 30.0


def test_quarantine_outlasts_any_lease_on_a_clock_that_is_slower() -> None:
    max_ttl, drift = 30.0, 0.01
    # The slowest acceptor holds for max_ttl / (1 - drift) of true time; the fastest node must sit it out.
    assert quarantine(max_ttl, drift) / (1 + drift) == pytest.approx(max_ttl / (1 - drift))


def test_a_lease_knows_its_ttl_in_seconds() -> None:
    assert Lease(Candidate(b"a" * 16, 1), 1_500, "", b"").ttl == 1.5


def test_candidates_are_ordered_by_session_then_attempt() -> None:
    first, second, third = Candidate(b"a", 2), Candidate(b"b", 1), Candidate(b"b", 2)
    assert sorted([third, second, first]) == [first, second, third]


def test_without_a_quorum_nothing_is_valid() -> None:
    validity = Validity(nodes=3, span=9.0)
    validity.acknowledge("a", 5.0)
    validity.acknowledge("a", 6.0)
    assert validity.until() == float("-inf")
    validity.acknowledge("b", float("-inf"))
    assert validity.until() == float("-inf")
    validity.acknowledge("b", 1.0)
    assert validity.until() == 10.0


def test_leases_are_compared_without_their_tokens_and_by_nothing_less() -> None:
    lease = Lease(Candidate(b"athens".ljust(16, b"."), 1), 10_000, "athens", b"data")
    assert lease.is_but_for_token(lease.with_token(7))
    other = Lease(Candidate(b"byblos".ljust(16, b"."), 1), 9_000, "byblos", b"other", 0, 1)
    for field in attrs.fields(Lease):
        if field.name != "token":
            change: dict[str, Any] = {field.name: getattr(other, field.name)}
            assert not lease.is_but_for_token(attrs.evolve(lease, **change))
