"""What every guard keeps to: the test class of a storage inherits from `Rules`, with a fixture `storage`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pytest

from paxlock import ConfigError, LeaseLost, LossReason
from paxlock.fencing import StaleToken, Token
from tests.fencing.tokens import CELL, OTHER_CELL, Held

TERM_MAX = (1 << 62) - 1


class Storage(Protocol):
    """One storage behind its guard."""

    def claim(self, held: Token) -> None:
        """Claim, as a program does once per tenure."""

    def write(self, held: Token, value: str) -> None:
        """Write under the guard."""

    def value(self) -> str | None:
        """What was written last."""


def each(*attempts: Callable[[], object]) -> tuple[Callable[[], object], ...]:
    """The attempts, for a loop."""
    return attempts


def refused(storage: Storage, held: Held, highest: int) -> None:
    """Neither a write nor a claim of this token passes, and nothing changes."""
    before = storage.value()
    for attempt in each(lambda: storage.write(held, "stale"), lambda: storage.claim(held)):
        with pytest.raises(StaleToken) as caught:
            attempt()
        assert (caught.value.name, caught.value.term, caught.value.highest) == (held.name, held.term, highest)
    assert storage.value() == before


class Rules:
    """The tests. The names say which mistake is meant."""

    claims_at_the_first_write = False

    def test_one_tenure_writes_many_times(self, storage: Storage) -> None:
        held = Held(7)
        storage.claim(held)
        for value in ("one", "two"):
            storage.write(held, value)
            assert storage.value() == value
        storage.claim(held)  # again: equal passes
        storage.write(held, "three")
        assert storage.value() == "three"

    def test_a_stale_holder_is_refused(self, storage: Storage) -> None:
        old, new = Held(7), Held(8)
        storage.claim(old)
        storage.write(old, "old")
        storage.claim(new)
        refused(storage, old, 8)  # although the new holder has written nothing yet
        storage.write(new, "new")
        refused(storage, old, 8)
        assert storage.value() == "new"

    @pytest.mark.parametrize(
        ("lower", "higher"), [(9, 10), (2**53, 2**53 + 1), (10**15 - 1, 10**15), (TERM_MAX - 1, TERM_MAX)]
    )
    def test_terms_are_compared_exactly(self, storage: Storage, lower: int, higher: int) -> None:
        storage.claim(Held(lower))
        storage.write(Held(lower), "lower")
        storage.claim(Held(higher))
        refused(storage, Held(lower), higher)
        storage.write(Held(higher), "higher")
        assert storage.value() == "higher"

    def test_a_late_claim_does_not_lower_the_term(self, storage: Storage) -> None:
        storage.claim(Held(9))
        with pytest.raises(StaleToken):
            storage.claim(Held(8))
        refused(storage, Held(8), 9)
        storage.write(Held(9), "still")

    @pytest.mark.parametrize("term", [3, 7, 9])
    def test_a_token_of_another_cell_is_refused(self, storage: Storage, term: int) -> None:
        storage.claim(Held(7))
        storage.write(Held(7), "kept")
        other = Held(term, cell=OTHER_CELL)
        for attempt in each(lambda: storage.claim(other), lambda: storage.write(other, "lost")):
            with pytest.raises(ConfigError) as caught:
                attempt()
            assert all(part in str(caught.value) for part in (CELL, OTHER_CELL, "delete", "'primary'"))
        storage.write(Held(7), "kept again")

    def test_a_name_has_its_own_term(self, storage: Storage) -> None:
        storage.claim(Held(9))
        for name in ("Primary", "größe/\N{SNOWMAN}", 'it\'s %s :name "7" \\'):
            storage.claim(Held(3, name))
            storage.write(Held(3, name), name)
            assert storage.value() == name
            refused(storage, Held(2, name), 3)
        storage.write(Held(9), "nine")

    def test_nothing_is_written_before_a_claim(self, storage: Storage) -> None:
        if self.claims_at_the_first_write:
            storage.write(Held(7), "first")
            refused(storage, Held(6), 7)
            return
        with pytest.raises(ConfigError, match="call claim"):
            storage.write(Held(7), "never")
        storage.claim(Held(7))
        with pytest.raises(ConfigError, match="call claim"):
            storage.write(Held(8), "never")
        assert storage.value() is None

    def test_a_holder_whose_lease_is_over_does_nothing(self, storage: Storage) -> None:
        storage.claim(Held(7))
        for attempt in each(
            lambda: storage.claim(Held(8, ttl=0.0)),
            lambda: storage.write(Held(7, ttl=0.0), "late"),
        ):
            with pytest.raises(LeaseLost) as caught:
                attempt()
            assert caught.value.reason is LossReason.EXPIRED
        storage.write(Held(7), "mine")
        assert storage.value() == "mine"
