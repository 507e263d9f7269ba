"""What is asked twice: where datagrams are lost, and neither of a slow node nor of a dead one."""

from __future__ import annotations

from random import Random

from paxlock.core.lease import Candidate
from paxlock.core.messages import Peer, Prepare, Release
from paxlock.core.round_trips import RoundTrips
from paxlock.core.session.exchanges import COPIED_MAX, SILENT_FOR_LONG, Exchanges
from paxlock.core.session.outbox import Outbox
from paxlock.core.session.pacing import Pacing
from paxlock.core.timers import Timers

ROUND_TRIP = 0.08
SPACING = ROUND_TRIP / 8.0
ATHENS = Candidate(b"athens".ljust(16, b"."), 1)


class Path:
    """The exchanges of a session with two nodes; by ``ask`` those with a."""

    def __init__(self) -> None:
        self.now = 0.0
        self.out = Outbox()
        self.timers = Timers()
        trips = RoundTrips(("a", "b"))
        for node in "ab":
            for _ in range(60):
                trips.measured(node, ROUND_TRIP)
        self.exchanges = Exchanges(("a", "b"), self.out, Pacing(0.2, Random(1), trips), self.timers)
        for node in "ab":
            self.exchanges.sent(node, self.out.request(), 0.0)
            self.exchanges.answered(node, self.out._last_request, 0.0)

    def ask(self, *, release: bool = False, attempt: int = 1, to: str = "a") -> int:
        """Ask a node; gives the request."""
        request, candidate = self.out.request(), Candidate(ATHENS.session, attempt)
        message = (
            Release(request, "n", candidate, 1)
            if release
            else Prepare(request, "n", 1, candidate, 0, 100, 0, "")
        )
        self.exchanges.send((to,), message, self.now)
        return request

    def passes(self, seconds: float, to: str = "a") -> list[float]:
        """Time passes; gives when something was sent to a node meanwhile, counted from the beginning."""
        self.sends()
        since, end, found = self.now, self.now + seconds, list[float]()
        while (due := self.timers.deadline()) <= end:
            self.now = due
            self.timers.run(due)
            found += [round(due - since, 6) for peer, _ in self.sends() if peer == to]
        self.now = end
        return found

    def sends(self) -> list[tuple[Peer, object]]:
        return list(self.out.take_sends())

    def exchange(self, *, lost: bool = False, to: str = "a") -> list[float]:
        """Ask, and have it answered with all its copies, or all of it is lost and it is asked again; gives
        when copies were sent of what was asked first.
        """
        request = self.ask(to=to)
        copies = self.passes(ROUND_TRIP, to)
        again = copies
        if lost:
            self.passes(ROUND_TRIP, to)
            request = self.ask(to=to)
            again = self.passes(ROUND_TRIP, to)
        for _ in range(1 + len(again)):
            self.exchanges.answered(to, request, self.now)
        self.passes(2 * ROUND_TRIP)
        return copies


def lossy() -> Path:
    path = Path()
    for _ in range(6):
        path.exchange(lost=True)
    return path


def test_where_nothing_is_lost_nothing_is_sent_twice() -> None:
    path = Path()
    for _ in range(50):
        assert path.exchange() == []


def test_a_single_loss_among_many_brings_no_copies() -> None:
    path = Path()
    for _ in range(20):
        path.exchange()
    path.exchange(lost=True)
    assert path.exchange() == []


def test_two_losses_in_the_first_few_exchanges_bring_two_copies() -> None:
    path = Path()
    for lost in (True, False, False, True):
        path.exchange(lost=lost)
    assert path.exchange() == [round(SPACING, 6), round(2 * SPACING, 6)]


def test_a_path_that_loses_little_gets_one_copy_and_one_that_has_recovered_none() -> None:
    path = lossy()
    seen = [len(path.exchange()) for _ in range(60)]
    assert seen[0] == 2
    assert 1 in seen
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == 0


def test_what_was_sent_before_the_first_answer_of_a_node_is_not_lost() -> None:
    """Until the address is proved the node answers nothing but a Hello."""
    path = Path()
    path.exchanges = Exchanges(("a", "b"), path.out, path.exchanges._pacing, path.timers)
    path.ask()
    path.exchanges.sent("a", 0, path.now)
    path.passes(ROUND_TRIP)
    path.exchanges.answered("a", 0, path.now)
    path.passes(2 * ROUND_TRIP)
    for _ in range(5):
        assert path.exchange() == []


def test_a_copy_is_the_same_message_with_the_same_numbers() -> None:
    path = lossy()
    path.ask()
    ((_, asked),) = path.sends()
    path.now += SPACING
    path.timers.run(path.now)
    assert path.sends() == [("a", asked)]


def test_an_answer_makes_copies_needless() -> None:
    path = lossy()
    request = path.ask()
    path.exchanges.answered("a", request, path.now + SPACING / 2)
    assert path.passes(1.0) == []


def test_what_is_lost_to_one_node_brings_no_copies_for_another_that_is_known() -> None:
    path = Path()
    for _ in range(100):
        path.exchange(lost=True)
        path.exchange(to="b")
    assert len(path.exchange()) == 2
    assert path.exchange(to="b") == []


def test_a_few_exchanges_may_have_had_luck() -> None:
    """What is lost on one way is most often lost on all."""
    path = Path()
    for number in range(12):
        path.exchange(lost=number % 3 > 0)
        path.exchange(to="b")
    assert path.exchange(to="b")


def test_a_path_is_lossy_while_the_node_answers_at_all() -> None:
    path = lossy()
    assert path.exchanges.lossy(["a"])
    for _ in range(SILENT_FOR_LONG + 1):
        assert not path.exchanges.silent(["a"])
        path.ask()
    assert path.exchanges.silent(["a"])
    assert not path.exchanges.silent(["a", "b"])
    assert not path.exchanges.lossy(["a"])


def test_a_node_that_was_silent_is_not_lossy() -> None:
    """It is down for a while, and answers again."""
    path = Path()
    path.exchange()
    for _ in range(30):
        path.ask()
        path.passes(2 * ROUND_TRIP)
    for _ in range(3):
        assert path.exchange() == []


def test_a_node_that_stands_still_is_slow_and_not_lossy() -> None:
    """It answers what it got meanwhile in its order, all at one moment."""
    path = Path()
    path.exchange()
    for _ in range(10):
        requests = [path.ask()]
        for _ in range(2):
            path.passes(2 * ROUND_TRIP)
            requests.append(path.ask())
        path.passes(ROUND_TRIP)
        for request in requests:
            path.exchanges.answered("a", request, path.now)
    assert path.exchange() == []


def test_an_answer_that_was_overtaken_is_late_and_not_lost() -> None:
    path = Path()
    for _ in range(10):
        first = path.ask()
        path.passes(1.5 * ROUND_TRIP)
        second = path.ask()
        path.passes(ROUND_TRIP)
        path.exchanges.answered("a", second, path.now)
        path.passes(ROUND_TRIP / 2)
        path.exchanges.answered("a", first, path.now)
        path.passes(2 * ROUND_TRIP)
    assert path.exchange() == []


def test_a_node_that_does_not_answer_any_more_gets_no_copies_for_ever() -> None:
    path, copies = lossy(), 0
    for _ in range(100):
        path.ask()
        copies += len(path.passes(2 * ROUND_TRIP))
    assert 0 < copies <= SILENT_FOR_LONG


def test_of_a_flood_only_so_much_is_copied() -> None:
    path = lossy()
    for _ in range(20 * COPIED_MAX):
        path.ask()
        path.exchanges.answered("a", 0, path.now)  # it is heard all the time
    path.sends()
    path.now += SPACING
    path.timers.run(path.now)
    assert len(path.sends()) == COPIED_MAX


def test_an_attempt_that_is_over_is_copied_no_more_but_its_release() -> None:
    path = lossy()
    path.ask(attempt=7)
    path.exchanges.over(7)
    path.ask(attempt=7, release=True)
    path.sends()
    path.now += SPACING
    path.timers.run(path.now)
    assert [type(message) for _, message in path.sends()] == [Release]


def test_a_copy_is_sent_at_its_time_or_never() -> None:
    path = lossy()
    path.ask()
    path.sends()
    path.timers.run(path.now + SPACING + 1.1 * ROUND_TRIP)  # the process has stood still
    path.timers.run(path.now + 10.0)
    assert path.sends() == []


def test_a_loss_long_past_is_forgotten() -> None:
    path = lossy()
    share = path.exchanges._paths["a"]
    assert share.lost > 0.0
    for _ in range(150):
        path.exchange()
    assert share.lost == 0.0
    for _ in range(6):  # what is lost from now on is believed as before
        path.exchange(lost=True)
    assert path.exchange() != []
