"""What one key of a client may have at one node: sessions, names, places in line, watches (protocol.md
section 8, the numbers in limits.py).

Everybody shares a node's memory and its time, so a key that was leaked, or whose program runs wild, must not
use them up for the others. A client with the root key is not bounded: it could do anything else as well.
Asked in one place, after what the key allows (core/rights.py); what is counted is bounded itself.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from paxlock.core.handles import Stone
from paxlock.core.messages import Accept, Commit, Hello, Prepare, Release, StandingPrepare, Watch
from paxlock.core.node.forgetting import TOMBSTONE_S
from paxlock.core.node.line import lapses_after
from paxlock.core.reasons import Barrier
from paxlock.core.steering import Revoke
from paxlock.limits import (
    BARRED_PER_KEY,
    NAMES_PER_KEY,
    PLACES_PER_KEY,
    SESSIONS_PER_KEY,
    STONES_PER_KEY,
    WATCHES_PER_KEY,
    WATCHES_PER_SESSION,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from paxlock.core.messages import Message
    from paxlock.core.node.handles import Handles
    from paxlock.core.node.record import Record
    from paxlock.core.node.subscriptions import Subscriptions
    from paxlock.core.rights import Rights

__all__ = ["Quotas"]

KEPT_S = TOMBSTONE_S  #: a session that is silent, and a name that was let go of, count for so long
TIDY_EVERY_S = 1.0  #: a full account is looked through, and that takes time: not for each message
STRANGE_AGES_S = 60.0  #: after its start a node believes the ages of those who have waited elsewhere
ACCOUNTS_MAX = 4096


@attrs.define(eq=False)
class _Heard:
    """When a session was heard for the first and for the last time."""

    first: float
    last: float


@attrs.define(eq=False)
class _Account:
    """What one key has here: sessions; names by when it spoke of them last, or will stop to count; until when
    a session has a place in the line of a name, and until when a tombstone stands there: of a session, or
    against a lock. These have a bound of their own, so that no made-up handle is in the way of a Release.
    """

    sessions: dict[bytes, _Heard] = attrs.field(factory=dict)
    names: dict[str, float] = attrs.field(factory=dict)
    places: dict[tuple[bytes, str], float] = attrs.field(factory=dict)
    stones: dict[tuple[bytes, str], float] = attrs.field(factory=dict)
    barred: dict[tuple[bytes, str], float] = attrs.field(factory=dict)
    tidied: float = 0.0


class Quotas:
    """The accounts of one node. ``counters`` gets a number for each kind of refusal."""

    def __init__(
        self,
        records: Mapping[str, Record],
        subscriptions: Subscriptions,
        counters: Counter[str],
        handles: Handles,
        max_ttl: float,
        now: float,
    ) -> None:
        self._handles = handles
        self._records = records
        self._subscriptions = subscriptions
        self._counters = counters
        self._max_ttl = max_ttl
        self._believes_until = now + STRANGE_AGES_S
        self._accounts: dict[str, _Account] = {}

    def admit(self, message: Message, session: bytes, rights: Rights, now: float) -> Message | Barrier:
        """The message as it goes on, perhaps with less than it asked for; or what stands in its way."""
        account = self._account(rights, now)
        heard = self._hear(account, session, rights, now)
        if isinstance(message, Hello):
            return message
        if heard is None:
            return self._over("sessions")
        match message:
            case Watch():
                return self._watch(message, session, rights)
            case Release():
                stone = self._handles.stone_for(message, session)
                if stone is not None:  # else the node remembers nothing of it
                    return self._buried(account, message, stone, rights, now)
            case Revoke(force=True):
                return self._buried(account, message, message.candidate, rights, now)
            case Revoke():
                return message if self._name(account, message.name, rights, now) else self._over("names")
            case Accept() | Commit():
                return message if self._name(account, message.name, rights, now) else self._over("names")
            case Prepare() | StandingPrepare():
                if not self._name(account, message.name, rights, now):
                    return self._over("names")
                return self._in_line(account, message, session, heard, rights, now)
        return message

    def _buried(
        self, account: _Account, message: Release | Revoke, stone: Stone, rights: Rights, now: float
    ) -> Message | Barrier:
        """May this key have one more tombstone?"""
        longer = (
            self._max_ttl if isinstance(message, Revoke) else 0.0
        )  # so much longer it stands (section 12)
        if not self._name(account, message.name, rights, now, longer):
            return self._over("names")
        of_session = stone[0] == message.candidate.session
        taken = account.stones if of_session else account.barred
        one, most = (stone[0], message.name), STONES_PER_KEY if of_session else BARRED_PER_KEY
        if not self._room(account, taken, one, most, rights, now):
            return self._over("tombstones")
        taken[one] = now + TOMBSTONE_S + longer
        return message

    def _over(self, what: str) -> Barrier:
        self._counters[f"over_quota_{what}"] += 1
        return Barrier.QUOTA

    def _account(self, rights: Rights, now: float) -> _Account:
        found = self._accounts.get(rights.key)
        if found is None:
            if len(self._accounts) >= ACCOUNTS_MAX:
                quiet = (key for key, one in self._accounts.items() if self._is_quiet(one, now))
                for key in list(quiet):
                    del self._accounts[key]
            found = self._accounts[rights.key] = _Account()
        return found

    @staticmethod
    def _is_quiet(account: _Account, now: float) -> bool:
        return all(heard.last + KEPT_S < now for heard in account.sessions.values())

    def _hear(self, account: _Account, session: bytes, rights: Rights, now: float) -> _Heard | None:
        """When the session was heard; None where the key has too many."""
        heard = account.sessions.get(session)
        if heard is not None:
            heard.last = now
            return heard
        if len(account.sessions) >= SESSIONS_PER_KEY:
            self._tidy(account, rights, now)
            if len(account.sessions) >= SESSIONS_PER_KEY:
                return None
        heard = account.sessions[session] = _Heard(now, now)
        return heard

    def _name(self, account: _Account, name: str, rights: Rights, now: float, longer: float = 0.0) -> bool:
        """May this key make the node remember this name, or go on with it? ``longer`` than for its usual
        time, if need be.
        """
        if name not in account.names and len(account.names) >= NAMES_PER_KEY:
            self._tidy(account, rights, now)
            if len(account.names) >= NAMES_PER_KEY:
                return False
        account.names[name] = max(now + longer, account.names.get(name, now))
        return True

    def _room(
        self,
        account: _Account,
        taken: Mapping[tuple[bytes, str], float],
        one: tuple[bytes, str],
        most: int,
        rights: Rights,
        now: float,
    ) -> bool:
        """Is this one of the places or stones that are there already, or may there be one more?"""
        if one not in taken and len(taken) >= most:
            self._tidy(account, rights, now)
        return one in taken or len(taken) < most

    def _in_line(
        self,
        account: _Account,
        message: Prepare | StandingPrepare,
        session: bytes,
        heard: _Heard,
        rights: Rights,
        now: float,
    ) -> Message:
        """With no more age than the session can have, and without a place where the key has too many: then it
        is answered like one that does not wait.
        """
        if now >= self._believes_until:
            oldest = int((now - heard.first) * 1000.0)
            if message.age_ms > oldest:
                self._counters["over_quota_age"] += 1
                message = attrs.evolve(message, age_ms=oldest)
        if not message.refresh_ms:
            return message
        place = (session, message.name)
        if not self._room(account, account.places, place, PLACES_PER_KEY, rights, now):
            self._over("places")
            return attrs.evolve(message, refresh_ms=0)
        account.places[place] = now + lapses_after(message.refresh_ms / 1000.0)
        return message

    def _watch(self, message: Watch, session: bytes, rights: Rights) -> Message | Barrier:
        subscriptions = self._subscriptions
        if not subscriptions.known(session, message.watch) and (
            subscriptions.counts[session] >= WATCHES_PER_SESSION
            or subscriptions.counts[rights.key] >= WATCHES_PER_KEY
        ):
            return self._over("watches")
        return message

    def _tidy(self, account: _Account, rights: Rights, now: float) -> None:
        """Leave out what has gone, unless that was tried a moment ago."""
        if now < account.tidied + TIDY_EVERY_S:
            return
        account.tidied = now
        account.sessions = {s: heard for s, heard in account.sessions.items() if heard.last + KEPT_S > now}
        for kept in (account.places, account.stones, account.barred):
            for one in [one for one, until in kept.items() if until <= now]:
                del kept[one]
        account.names = {
            name: when
            for name, when in account.names.items()
            if when + KEPT_S > now or self._holds(name, rights)
        }

    def _holds(self, name: str, rights: Rights) -> bool:
        """Does a session of this key hold the name? Renewals do not say so by the name."""
        record = self._records.get(name)
        return record is not None and record.lease is not None and rights.owns(record.lease.candidate.session)
