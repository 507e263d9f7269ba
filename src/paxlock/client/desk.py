"""The desk of a client: what its program asks for, and to whom the machine's answers go.

The machine (core/session/session.py) gives a ticket for everything that is asked of it, and publishes events
that name one. The desk keeps who takes the events of each ticket. It needs no event loop and no thread: a
face of paxlock (that of trio is client.py) puts its own way of waiting on top, and tells the driver by
``poke`` that the machine has something to send. Times are seconds.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import attrs

from paxlock.client.allowed import Allowed
from paxlock.client.handle import Handle, parse_handle, wrong_secret
from paxlock.client.leaving import LastRenewal, tell_left_early
from paxlock.client.standing import Standing, Waiter
from paxlock.config.cell import Cell, check_data, check_label, check_name
from paxlock.config.durations import abbreviate, check_at_least, check_wait
from paxlock.config.syntax import normal_text
from paxlock.core.lease import Candidate
from paxlock.core.rights import Verb
from paxlock.core.session.events import (
    Answered,
    Ended,
    Granted,
    KeyRefused,
    Mismatch,
    NamesFound,
    OverQuota,
)
from paxlock.core.session.session import Session
from paxlock.errors import ConfigError, LossReason
from paxlock.forks import INHERITED, Life
from paxlock.wire.grants import rights_of
from paxlock.wire.strangers import Stranger
from paxlock.wire.wills import Wills

__all__ = ["Desk", "FaceErrors", "LeaseReceiver", "Receiver"]

RELEASE_PATIENCE_S = 1.0
LEAVE_PATIENCE_S = 0.8
HANDLE_PATIENCE_MIN_S = 1.0
FOREVER_S = 1e9


class Receiver(Protocol):
    """Who takes the events of one ticket."""

    def take(self, event: object) -> Receiver | None:
        """An event has come: who takes those that follow, or None if the ticket is done."""

    def close(self, why: str) -> None:
        """Nothing will come any more."""


class LeaseReceiver(Receiver, Protocol):
    """Who takes the events of a lease that is held."""

    def lost(self, reason: LossReason) -> None:
        """The lease is over for the program, from this moment."""


@attrs.frozen
class FaceErrors:
    """The errors by which a face refuses: of what is ``closed``, and of what is ``busy``."""

    closed: type[Exception]
    busy: type[Exception]


class Desk:
    """The tickets of one client, the checks of what is asked, and the way of each event to its receiver."""

    def __init__(
        self,
        cell: Cell,
        session: Session,
        *,
        now: Callable[[], float],
        poke: Callable[[], None],
        errors: FaceErrors,
    ) -> None:
        self.cell = cell
        self.session = session
        self.now = now
        self.held: dict[int, LeaseReceiver] = {}
        self.closed = False
        #: Called when the first lease is held, and when none is any more.
        self.on_holding: Callable[[bool], None] = lambda holding: None
        self.wills: Wills | None = None  #: what is said of leases where this process dies
        #: Called with name and seconds where a lease that is left behind could not be renewed a last time.
        self.left_early: Callable[[str, float], None] = tell_left_early
        #: Called where the nodes do not take the key any more: whether there is another one to go on with.
        self.other_key: Callable[[], bool] = lambda: False
        self._poke = poke
        self.errors = errors
        self._life = Life()
        self._receivers: dict[int, Receiver] = {}
        self._releasing: set[int] = set()
        self._still = False
        self.allowed = Allowed(rights_of(cell.grant))

    def __len__(self) -> int:
        """How many tickets are open."""
        return len(self._receivers)

    def take_grant(self, grant: bytes) -> None:
        """The key is another one from now on, with this grant."""
        self.allowed = Allowed(rights_of(grant))

    @property
    def inherited(self) -> bool:
        """Whether this is a copy in the child of a fork."""
        return self._life.over

    def check_process(self) -> None:
        """Raise the closed error in a fork of the process that opened this client."""
        if self._life.over:
            raise self.errors.closed(INHERITED)

    def check_open(self) -> None:
        """Raise the closed error where nothing can be asked any more."""
        self.check_process()
        if self.closed:
            raise self.errors.closed("this client is closed")

    # Leases

    def check_campaign(
        self, name: str, wait: float | None, label: str | None, data: bytes, at_least: float
    ) -> tuple[str, str | None]:
        """The name and the label as they are written here: in NFC. Raises ConfigError for what cannot be
        asked for, the busy error for a name that was detached.
        """
        self.check_open()
        name = check_name(name)
        if self.session.gave_away(name):
            raise self.barred(name)
        self.allowed.check(Verb.ACQUIRE, name)
        check_data(data)
        if label is not None:
            label = check_label(label)
        check_wait(wait)
        check_at_least(at_least)
        return name, label

    def campaign(
        self,
        name: str,
        receiver: Receiver,
        *,
        ttl: float,
        wait: float | None,
        label: str | None,
        data: bytes,
        kill_after: float,
        at_least: float,
    ) -> int:
        """Campaign for a name, which is taken in NFC: two ways to write one name would be two locks. Granted
        goes to the receiver, which gives the one that takes what follows; or Failed, or Barred.
        """
        self.allowed.check_ttl(ttl)
        ticket = self.session.campaign(
            normal_text(name),
            ttl=ttl,
            now=self.now(),
            wait=wait,
            label=None if label is None else normal_text(label),
            data=data,
            kill_after=kill_after,
            at_least=at_least,
        )
        self.expect(ticket, receiver)
        if self.wills is not None:
            self.wills.expect()  # what asks for the lease is on its way
        return ticket

    def barred(self, name: str) -> Exception:
        """The busy error for a name of which this client has detached a lease."""
        return self.errors.busy(
            f"this client has detached a lease of {name!r}: open another client to campaign for it again"
        )

    def give_up(self, ticket: int) -> None:
        """Whatever has become of a campaign, it ends here; its Release is repeated in the background."""
        self._receivers.pop(ticket, None)
        self._forget_lease(ticket)
        self.session.release(ticket, self.now())
        self._poke()

    def release(self, ticket: int, receiver: Receiver, patience: float, *, keep: bool) -> bool:
        """End a lease. Ended goes to the receiver when a quorum is free of it, or after ``patience``, at most
        1 s. False where there is nothing to wait for: the machine has ended it already, or stands still, or,
        with ``keep``, keeps it because it is wanted for longer (``at_least``).
        """
        self._receivers.pop(ticket, None)
        self._forget_lease(ticket)
        if keep and not self.closed and self.session.keep(ticket, self.now()):
            self._poke()
            return False
        if self.closed or self.session.campaign_of(ticket) is None:
            return False
        if not self._still:
            self._receivers[ticket] = receiver
            self._releasing.add(ticket)
        self.session.release(ticket, self.now(), patience=min(RELEASE_PATIENCE_S, patience))
        self._poke()
        return not self._still

    def detach(self, ticket: int) -> None:
        """Forget a lease without releasing it. Its handle has been shown (`show_handle`)."""
        self._receivers.pop(ticket, None)
        self._forget_lease(ticket)
        self.session.detach(ticket, self.now())
        self._poke()

    def show_handle(self, ticket: int) -> None:
        """The handle of a lease is about to be shown. Whoever gets it may go on with the lease after this
        process: from now on no last will ends it. Raises InternalError where that cannot be brought about.
        """
        if self.wills is not None:
            self.wills.withdraw(ticket)

    def lose(self, ticket: int, reason: LossReason) -> None:
        """A lease is over for the program, whatever the nodes say: nobody renews it for longer than it was
        wanted in any case.
        """
        self._receivers.pop(ticket, None)
        held = self.held.get(ticket)
        self._forget_lease(ticket)
        if held is not None:
            held.lost(reason)
        if not self.session.keep(ticket, self.now()):
            self.session.release(ticket, self.now())
        self._poke()

    # Looking

    def watch(self, name: str, receiver: Receiver) -> int:
        """Watch a name, or all names that begin with what stands before a star. Changed goes to the receiver
        as often as something changes.
        """
        self.check_open()
        pattern, prefix = self.pattern(name)
        self.allowed.check(Verb.OBSERVE, pattern, prefix=prefix)
        return self.expect(self.session.watch(pattern, prefix, self.now()), receiver)

    @staticmethod
    def pattern(name: str) -> tuple[str, bool]:
        """The name, or the prefix, and whether it is one. Raises ConfigError."""
        if str(name).endswith("*"):  # what is no text is refused by check_name
            return checked_prefix(name[:-1]), True
        return check_name(name), False

    def unwatch(self, ticket: int) -> None:
        """Watch no longer."""
        self._receivers.pop(ticket, None)
        if not self.closed:
            self.session.unwatch(ticket)
            self._poke()

    # Questions: one answer goes to the receiver

    def poll(self, name: str, receiver: Receiver, *, line: bool) -> int:
        """What a quorum says of a name; with ``line``, what every node says, and who waits."""
        self.check_open()
        name = check_name(name)
        self.allowed.check(Verb.POLL, name)
        return self.expect(self.session.poll(name, self.now(), line=line), receiver)

    def poll_all(self, names: Sequence[str], receivers: Sequence[Receiver]) -> list[int]:
        """The same of many names at once."""
        for name in names:
            self.allowed.check(Verb.POLL, name)
        now = self.now()
        tickets = [self.session.poll(name, now, one_of_many=True) for name in names]
        self._receivers.update(zip(tickets, receivers, strict=True))
        self._poke()
        return tickets

    def names(self, prefix: str, receiver: Receiver) -> int:
        """Which names are in use that begin with ``prefix``. Waits until so many nodes have named theirs that
        none can be missing.
        """
        self.check_open()
        prefix = checked_prefix(prefix)
        self.allowed.check(Verb.OBSERVE, prefix, prefix=True)
        return self.expect(self.session.names(prefix, self.now(), patience=FOREVER_S), receiver)

    def renew_detached(self, grant: Handle, wait: float | None, receiver: Receiver) -> int:
        """Renew a detached lease by its whole ttl; HandleOutcome follows."""
        named = grant.candidate, grant.term, grant.secret
        ticket = self.session.renew_detached(*named, self.now(), patience=_handle_patience(wait))
        return self.expect(ticket, receiver)

    def release_detached(self, grant: Handle, wait: float | None, receiver: Receiver) -> int:
        """Release exactly this grant; HandleOutcome follows."""
        named = grant.name, grant.candidate, grant.term, grant.secret
        ticket = self.session.release_detached(*named, self.now(), patience=_handle_patience(wait))
        return self.expect(ticket, receiver)

    def revoke(
        self,
        name: str,
        grant: tuple[Candidate, int],
        receiver: Receiver,
        *,
        force: bool,
        successor: Candidate | None,
        wait: float | None,
    ) -> int:
        """Ask the holder of this grant, a candidate and its term, to let go, or end it by force;
        HandleOutcome follows. Who asks has been checked (administration.py).
        """
        ticket = self.session.revoke(
            *(name, *grant, self.now()),
            force=force,
            successor=successor,
            patience=_handle_patience(wait),
        )
        return self.expect(ticket, receiver)

    def publish_data(self, ticket: int, data: bytes, receiver: Receiver) -> int | None:
        """Other data for a lease; DataPublished follows. None where the machine does not hold it any more."""
        check_data(data)
        told = self.session.publish(ticket, data, self.now())
        return None if told is None else self.expect(told, receiver)

    def forget(self, ticket: int) -> None:
        """Nobody waits for this answer any more."""
        self._receivers.pop(ticket, None)
        self.session.forget(ticket, self.now())

    def grant(self, handle: str) -> Handle:
        """The grant that a handle names. Raises ConfigError for one that is malformed or of another cell, and
        NotAllowed for one of this very client that is not the lease's.
        """
        self.check_open()
        if not isinstance(handle, str):
            raise TypeError(f"a handle is the text that held.handle gives, not {abbreviate(handle)}")
        grant = parse_handle(handle)
        if grant.cell_id != self.cell.cell_id:
            raise ConfigError("the handle is of another cell: give the cell file it was acquired with")
        mine = self.allowed.rights.owns(grant.session)
        self.allowed.check(Verb.ACQUIRE if mine else Verb.ADMINISTER, grant.name)
        if grant.session == self.session.session and grant.secret != self.session.secret_of(grant.candidate):
            raise wrong_secret(grant)  # no node asks a session for what is its own
        return grant

    # What answers mean

    def standing(self, name: str, answer: object) -> Standing:
        """The answer to a poll, as programs see it."""
        assert isinstance(answer, Answered)
        judgement, lease = answer.judgement, answer.judgement.lease
        return Standing(
            name=normal_text(name),
            state=judgement.state,
            term=judgement.term,
            label=lease.label if lease is not None else "",
            data=lease.data if lease is not None else b"",
            remaining=judgement.remaining,
            ttl=lease.ttl if lease is not None else 0.0,
            waiters=tuple(Waiter(w.label, w.waiting_ms / 1000.0) for w in answer.waiters),
            nodes_up=answer.nodes_up,
            nodes_total=len(self.cell.members),
        )

    @staticmethod
    def names_of(answer: object) -> tuple[str, ...]:
        """The answer to ``names``."""
        assert isinstance(answer, NamesFound)
        return answer.names

    # For the driver, and the end

    def publish(self, event: object) -> None:
        """What the machine publishes, in its order. Raises ConfigError where nodes run with a configuration
        that this client does not have.
        """
        if isinstance(event, Mismatch):
            raise ConfigError(event.explanation)
        if isinstance(event, KeyRefused):
            if not self.other_key():
                raise self.allowed.refused()
            return
        if isinstance(event, OverQuota):
            logging.getLogger("paxlock").warning(
                "a node refuses what this client asks for: its key has as much there as one key may have "
                "(docs/security.md); let go of something, or use another key"
            )
            return
        if isinstance(event, Stranger):
            if event.members:  # of an older version anybody may say that he is
                raise ConfigError(event.explanation)
            return
        ticket: int = event.ticket  # type: ignore[attr-defined]  # every other event names one
        receiver = self._receivers.get(ticket)
        if receiver is None:
            return  # given up in this very turn
        if isinstance(event, Granted):
            self._name_in_will(event)
        following = receiver.take(event)
        if following is None:
            self._receivers.pop(ticket, None)
            self._releasing.discard(ticket)
            self._forget_lease(ticket)
        elif following is not receiver:
            self._receivers[ticket] = following
        if isinstance(event, Granted) and following is not None:
            self._keep_lease(ticket, following)

    def leave(self) -> None:
        """Let go of everything: what is still held is lost to the program, then released, or left to run out
        where it is wanted for longer (``at_least``).
        """
        now = self.now()
        for held in list(self.held.values()):
            held.lost(LossReason.CLOSED)
        left = self.session.leave_kept(now, patience=LEAVE_PATIENCE_S)
        for ticket in list(self.held):
            self.session.release(ticket, now)
        for ticket, receiver in list(self._receivers.items()):
            if self.session.campaign_of(ticket) is not None:
                self.session.release(ticket, now)
            elif ticket not in self.held:
                receiver.close("this client was closed")  # a watch says so to the nodes
        self.close()
        self._receivers |= {one.ticket: LastRenewal(one, self.left_early) for one in left}
        self._poke()

    def close(self, why: str = "this client was closed") -> None:
        """Nothing is answered any more; whoever waits is told so."""
        self.closed = True
        for held in list(self.held.values()):
            held.lost(LossReason.CLOSED)
        self.held.clear()
        self._releasing.clear()
        receivers, self._receivers = self._receivers, {}
        for receiver in receivers.values():
            receiver.close(why)

    def stand_still(self) -> None:
        """The machine stands still, as in a test of a stopped process: nobody waits for a release."""
        self._still = True
        for ticket in list(self._releasing):
            self.publish(Ended(ticket, False))

    def go_on(self) -> None:
        """Take back ``stand_still``."""
        self._still = False

    # Within

    def expect(self, ticket: int, receiver: Receiver) -> int:
        """Of what was asked of the machine just now, this one takes the answer."""
        self._receivers[ticket] = receiver
        self._poke()
        return ticket

    def _name_in_will(self, event: Granted) -> None:
        """Deposit it before anybody is told: a program may be killed in the moment in which it holds."""
        campaign = self.session.campaign_of(event.ticket)
        # Whoever wants a lease for longer than the work wants it after a death too.
        if self.wills is not None and campaign is not None and not campaign.timing.at_least:
            self.wills.hold(event.ticket, campaign.name, event.candidate, event.term)
            self.wills.settle_turn()

    def _keep_lease(self, ticket: int, receiver: Receiver) -> None:
        self.held[ticket] = receiver  # type: ignore[assignment]  # who takes Granted gives a LeaseReceiver
        if len(self.held) == 1:
            self.on_holding(True)

    def _forget_lease(self, ticket: int) -> None:
        if self.wills is not None:
            self.wills.drop(ticket)
        if self.held.pop(ticket, None) is not None and not self.held:
            self.on_holding(False)


def checked_prefix(prefix: str) -> str:
    """A prefix in NFC; raise ConfigError for what no name can begin with."""
    if not isinstance(prefix, str):
        raise ConfigError(f"a prefix must be text, not {type(prefix).__name__}")
    if prefix:
        check_name(prefix.replace("*", "-"))  # a star may stand within a name, only not at its end
    return normal_text(prefix)


def _handle_patience(wait: float | None) -> float:
    return FOREVER_S if wait is None else max(wait, HANDLE_PATIENCE_MIN_S)
