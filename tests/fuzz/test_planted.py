"""The fuzzer must be able to fail: each planted bug is found within a bounded number of executions.

With the plain loop and from the seeds alone: real traffic, in which nothing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from paxlock.config import durations
from paxlock.core import lease
from paxlock.core import messages as m
from paxlock.core.node import learner, subscriptions
from paxlock.core.node import line as queue
from paxlock.core.node.acceptor import Acceptor
from paxlock.core.node.replica import Replica
from paxlock.core.session import proposer, queries, sequence
from paxlock.store import folder as store
from paxlock.store import format as storeformat
from paxlock.store.damage import DamagedError
from paxlock.wire import codec, cookies, endpoint
from paxlock.wire.endpoint import Endpoint
from paxlock.wire.header import LENGTH
from paxlock.wire.keyring import Keyring, ReplayWindow
from paxlock.wire.peers import KnownSessions
from paxlock.wire.schema import Schema

from .engine import Crash, Tracer, explore, replay
from .hostile import METER
from .targets import TARGETS

EXECUTIONS = {"endpoint": 1_000, "node": 1_000, "client": 1_000}
EXECUTIONS_OF_OTHERS = 20_000


Plant = Callable[[pytest.MonkeyPatch], None]


def key_error_for_one_value(patch: pytest.MonkeyPatch) -> None:
    poll = codec._BY_KIND[7]
    known = {number: number for number in range(24)}
    honest, broken = poll.decode, Schema(m.Poll, *poll.fields)

    def looked_up(values: list[Any]) -> Any:
        found = honest(values)
        return m.Poll(known[found.request], found.name)

    patch.setattr(broken, "decode", looked_up)
    patch.setitem(codec._BY_KIND, 7, broken)


def longer_forms_of_numbers_pass(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(codec, "_walk", lambda payload: None)


def a_short_hello_is_answered(patch: pytest.MonkeyPatch) -> None:
    def hello_only(datagram: bytes, payload: bytes) -> Any:
        return tuple(one for one in codec.decode_untrusted(payload) if type(one) is m.Hello)

    patch.setattr(endpoint, "hello_only_untrusted", hello_only)


def one_cookie_for_all(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cookies, "_hash", lambda secret, address: 1)


def wrong_seals_are_opened(patch: pytest.MonkeyPatch) -> None:
    honest = Keyring.open_untrusted

    def open_anyhow(self: Keyring, *what: Any) -> bytes | None:
        found = honest(self, *what)
        hello = codec.join([codec.encode(m.Hello(1))])
        return LENGTH.pack(len(hello)) + hello if found is None else found

    patch.setattr(Keyring, "open_untrusted", open_anyhow)


def nothing_is_a_replay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ReplayWindow, "is_new", lambda self, sequence: True)
    patch.setattr(ReplayWindow, "take", lambda self, sequence: True)


class Hoard(KnownSessions):
    """Gives nothing back."""

    def forget(self, session: bytes) -> None:
        pass


def sessions_without_a_bound(patch: pytest.MonkeyPatch) -> None:
    build = Endpoint.__init__

    def hoard(self: Endpoint, *what: Any, **more: Any) -> None:
        build(self, *what, **more)
        self._sessions = Hoard()

    patch.setattr(Endpoint, "__init__", hoard)


def a_line_without_a_bound(patch: pytest.MonkeyPatch) -> None:
    enter = queue.Line.enter

    def enter_always(self: queue.Line, *what: Any, **more: Any) -> None:
        limit, queue.LINE_MAX_ENTRIES = queue.LINE_MAX_ENTRIES, 1_000
        enter(self, *what, **more)
        queue.LINE_MAX_ENTRIES = limit

    patch.setattr(queue.Line, "enter", enter_always)


def nothing_is_ever_swept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Acceptor, "sweep", lambda self, now: None)


def subscriptions_never_lapse(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(subscriptions.Subscriptions, "_drop", lambda self, key: None)


def a_kind_that_nobody_expects(patch: pytest.MonkeyPatch) -> None:
    receive = Replica._from_session

    def fussy(self: Replica, message: Any, session: bytes, now: float) -> None:
        assert type(message) in (m.Hello, m.Prepare, m.Accept, m.Commit, m.Watch)
        receive(self, message, session, now)

    patch.setattr(Replica, "_from_session", fussy)


def slow_for_some(patch: pytest.MonkeyPatch) -> None:
    view = learner.Learner.view

    def slowly(self: learner.Learner, name: str, now: float, request: int = 0) -> Any:
        for _ in range(20_000):
            self._acceptor._record("spin", now)
        return view(self, name, now, request)

    patch.setattr(learner.Learner, "view", slowly)


def one_node(nodes: int) -> int:
    return 1


def one_acceptance_is_enough(patch: pytest.MonkeyPatch) -> None:
    """Where the round is won by one acceptance, the count of validity still stands guard: both must go."""
    patch.setattr(proposer, "majority", one_node)
    patch.setattr(lease, "majority", one_node)


def one_node_prolongs(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lease, "majority", one_node)


def one_node_speaks_for_a_handle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(queries, "majority", lambda nodes: 1)


def renewals_count_from_now(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(sequence.SequenceNumbers, "sent_at", lambda self, number: self._order[-1][0] + 1.0)


def no_checksum(patch: pytest.MonkeyPatch) -> None:
    unseal = storeformat._unseal

    def lenient(content: bytes, kind: str) -> object:
        body = content[:-72].decode("latin-1").encode("ascii", "replace").decode()
        return unseal(storeformat._seal(body), kind)

    patch.setattr(storeformat, "_unseal", lenient)


def damage_is_read_as_nothing(patch: pytest.MonkeyPatch) -> None:
    def nothing(content: bytes) -> None:
        try:
            storeformat.decode_record(content)
        except DamagedError:
            return

    patch.setattr(store, "decode_record", nothing)


def zeros_after_the_point_are_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(durations, "_decimal", lambda number, places: "{}.{}".format(*divmod(number, 10**places)))


PLANTS: list[tuple[str, Plant]] = [
    ("codec", longer_forms_of_numbers_pass),
    ("messages", key_error_for_one_value),
    ("endpoint", a_short_hello_is_answered),
    ("endpoint", one_cookie_for_all),
    ("endpoint", wrong_seals_are_opened),
    ("endpoint", nothing_is_a_replay),
    ("endpoint", sessions_without_a_bound),
    ("node", a_line_without_a_bound),
    ("node", nothing_is_ever_swept),
    ("node", subscriptions_never_lapse),
    ("node", a_kind_that_nobody_expects),
    ("node", slow_for_some),
    ("client", one_acceptance_is_enough),
    ("client", one_node_prolongs),
    ("client", one_node_speaks_for_a_handle),
    ("client", renewals_count_from_now),
    ("files", no_checksum),
    ("files", damage_is_read_as_nothing),
    ("config", zeros_after_the_point_are_lost),
]

# What a client says that has too few nodes behind it: each of these bugs is found for what it is.
SAYS: dict[Plant, str] = {
    one_acceptance_is_enough: "a lease is believed in with 1 acceptances",
    one_node_prolongs: "a lease is prolonged by 1 nodes",
    one_node_speaks_for_a_handle: "a verb on a handle is done without a quorum",
    renewals_count_from_now: "a lease lasts too long",
}


LONG_TO_FIND = (nothing_is_a_replay, sessions_without_a_bound)


@pytest.mark.parametrize(
    ("name", "plant"),
    [
        pytest.param(
            name,
            plant,
            id=plant.__name__,
            marks=[pytest.mark.slow] if plant in LONG_TO_FIND else [],
        )
        for name, plant in PLANTS
    ],
)
def test_a_planted_bug_is_found(name: str, plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    target = TARGETS[name]
    seeds = target.seeds()  # made before the bug is there
    plant(monkeypatch)
    tracer = METER.begin(Tracer())
    with pytest.raises(Crash, match=SAYS.get(plant)) as found:
        explore(
            target, seeds, rng=Random(7), executions=EXECUTIONS.get(name, EXECUTIONS_OF_OTHERS), tracer=tracer
        )
    METER.begin(None)
    with pytest.raises(Crash, match=SAYS.get(plant)):
        replay(target, [found.value.data], METER.begin(Tracer()))
    METER.begin(None)
    monkeypatch.undo()
    target.run(found.value.data)
