"""Lists of names: how much one step looks at, and what comes when."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import pytest

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Accept, List, Names
from paxlock.core.node import listing as lister
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.listing import NAMES_LOOKED_AT, PAGES_A_STEP, WALKS_PER_PEER, Listing
from paxlock.core.node.sorted_names import SortedNames
from paxlock.core.timers import Timers
from paxlock.wire.codec import encode

ME = b"athens".ljust(16, b".")
YOU = b"byblos".ljust(16, b".")


class CountedNames(SortedNames):
    """Counts the names that are looked at."""

    __slots__ = ("looked_at",)

    def __init__(self) -> None:
        super().__init__()
        self.looked_at = 0

    def walk(self, prefix: str, after: str) -> Iterator[str]:
        for name in super().walk(prefix, after):
            self.looked_at += 1
            yield name


class Node:
    """An acceptor of many names, of which some are held."""

    def __init__(self, names: int, held: set[int]) -> None:
        self.timers = Timers()
        self.acceptor = Acceptor(
            floor=0, ceiling=1 << 40, max_ttl=30.0, grace=0.05, timers=self.timers, wall_offset=0.0
        )
        self.acceptor.names = self.names = CountedNames()
        self.told: list[tuple[object, Names]] = []
        self.lister = Listing(self.acceptor, self.timers, lambda peer, page: self.told.append((peer, page)))
        for number in range(names):
            if number in held:
                lease = Lease(Candidate(ME, number + 1), 10_000, "", b"")
                self.acceptor.accept(Accept(1, f"n{number:06}", 1, lease, 1, 0), 0.0)
            else:
                self.acceptor.remember(f"n{number:06}", 0.0)

    def go_on(self) -> list[tuple[object, Names]]:
        """Whatever is due, until nobody waits; the answers in order."""
        self.told.clear()
        while len(self.lister):
            before = self.names.looked_at
            self.timers.run(self.timers.deadline())
            assert self.names.looked_at - before <= NAMES_LOOKED_AT + 1
        return list(self.told)


def test_a_page_looks_only_at_the_names_on_it_wherever_it_begins() -> None:
    node = Node(5_000, held=set(range(5_000)))
    for after in ("", "n002500", "n004990"):
        node.names.looked_at = 0
        page = node.lister.ask(List(1, "n", after, 1), ME, 0.0)
        assert page is not None
        assert node.names.looked_at <= len(page.names) + 1


def test_many_idle_names_in_a_row_are_passed_over_in_steps() -> None:
    node = Node(5 * NAMES_LOOKED_AT, held={7, 4 * NAMES_LOOKED_AT + 2})
    page = node.lister.ask(List(1, "n", "", 1), ME, 0.0)
    assert page == Names(1, "", ("n000007",), more=True)  # at once what there is
    assert node.lister.ask(List(2, "n", "n000007", 1), ME, 0.0) is None
    assert node.lister.ask(List(3, "n", "n999999", 1), YOU, 0.0) == Names(3, "n999999", (), more=False)
    assert node.go_on() == [(ME, Names(2, "n000007", ("n004002",), more=True))]
    assert node.lister.ask(List(4, "n", "n004002", 1), ME, 0.0) == Names(4, "n004002", (), more=False)


def test_a_repeated_question_goes_on_and_another_begins_anew() -> None:
    node = Node(3 * NAMES_LOOKED_AT, held={3 * NAMES_LOOKED_AT - 1})
    last = f"n{3 * NAMES_LOOKED_AT - 1:06}"
    assert node.lister.ask(List(1, "n", "", 1), ME, 0.0) is None
    assert node.lister.ask(List(2, "n", "", 1), ME, 0.0) is None
    assert node.lister.ask(List(3, "n", "", 1), ME, 0.0) == Names(3, "", (last,), more=False)
    assert len(node.lister) == 0
    assert node.lister.ask(List(4, "n", "", 1), ME, 0.0) is None
    assert node.lister.ask(List(5, "m", "", 1), ME, 0.0) == Names(5, "", (), more=False)
    assert node.go_on() == [(ME, Names(4, "", (last,), more=False))]
    assert len(node.lister) == 0


def test_several_pages_follow_one_question_a_moment_apart() -> None:
    node = Node(1_000, held=set(range(0, 1_000, 2)))
    first = node.lister.ask(List(1, "n", "", 3), ME, 0.0)
    assert first is not None
    assert first.after == ""
    found = [first, *(page for _, page in node.go_on())]
    assert [page.after for page in found] == ["", *(page.names[-1] for page in found[:-1])]
    names = [name for page in found for name in page.names]
    assert names == [f"n{n:06}" for n in range(0, 2 * len(names), 2)]
    assert [page.more for page in found] == [True] * 3
    rest = node.lister.ask(List(2, "n", found[-1].names[-1], 9), ME, 0.0)
    assert rest is not None
    found = [rest, *(page for _, page in node.go_on())]
    assert [page.more for page in found] == [True, True, False]
    assert found[-1].names[-1] == "n000998"


def test_a_step_tells_several_pages_and_looks_at_no_more_names_for_that() -> None:
    node = Node(2_000, held=set(range(2_000)))
    assert node.lister.ask(List(1, "n", "", 16), ME, 0.0) is not None
    pages = []
    while len(node.lister):
        node.told.clear()
        node.timers.run(node.timers.deadline())
        pages.append(len(node.told))
    assert pages == [PAGES_A_STEP] * 3 + [3]
    sparse = Node(4_000, held=set(range(0, 4_000, 10)))  # a page takes some 600 names
    assert sparse.lister.ask(List(1, "n", "", 16), ME, 0.0) is not None
    assert len(sparse.go_on()) >= 4


def test_a_question_that_is_repeated_after_a_page_begins_anew() -> None:
    node = Node(1_000, held=set(range(1_000)))
    first = node.lister.ask(List(1, "n", "", 4), ME, 0.0)
    again = node.lister.ask(List(2, "n", "", 4), ME, 0.0)
    assert first is not None
    assert again == attrs.evolve(first, request=2)
    assert len(node.go_on()) == 3


def test_of_many_questions_of_one_peer_the_newest_are_answered_in_full() -> None:
    node = Node(1_000, held=set(range(1_000)))
    for number in range(10):
        assert node.lister.ask(List(number, "n", f"n{number:06}", 2), ME, 0.0) is not None
    assert node.lister.ask(List(10, "n", "", 2), YOU, 0.0) is not None
    assert [(peer, page.request) for peer, page in node.go_on()] == [
        *((ME, number) for number in range(10 - WALKS_PER_PEER, 10)),
        (YOU, 10),
    ]


def test_a_page_fits_into_a_datagram_wherever_it_begins() -> None:
    node = Node(0, held=set())
    for number in range(30):
        name = "x" * 250 + f"{number:05}"
        lease = Lease(Candidate(ME, number + 1), 10_000, "", b"")
        node.acceptor.accept(Accept(1, name, 1, lease, 1, 0), 0.0)
    page = node.lister.ask(List(1 << 40, "", "x" * 250 + "00007", 1), ME, 0.0)
    assert page is not None
    assert len(page.names) == 2
    assert len(encode(page)) < 950


def test_those_who_wait_for_a_page_take_turns_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lister, "WALKS_MAX", 2)
    node = Node(3 * NAMES_LOOKED_AT, held=set())
    for number, peer in enumerate((ME, YOU, b"delphi".ljust(16, b".")), start=1):
        assert node.lister.ask(List(number, "n", "", 1), peer, 0.0) is None
    assert [peer for peer, _ in node.go_on()] == [ME, YOU]
