"""What the key of a client allows, and the one place where a node looks at it (protocol.md section 8).

A client that has the root key may do everything. Every other key comes with a grant: verbs, patterns of
names, a longest ttl, an end. `refusal` is asked before any message of a session reaches the acceptor or the
learner.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from paxlock.core.journal import Recall
from paxlock.core.messages import (
    Accept,
    Commit,
    Forbidden,
    Hello,
    List,
    Poll,
    Prepare,
    Release,
    Renew,
    Seen,
    StandingPrepare,
    Unwatch,
    Waiting,
    Watch,
)
from paxlock.core.reasons import Barrier
from paxlock.core.seeing import Count, Ping
from paxlock.core.steering import Publish, Revoke
from paxlock.core.value import value

if TYPE_CHECKING:
    from collections.abc import Callable

    from paxlock.core.messages import Message

__all__ = ["ROOT", "Revoked", "Rights", "Verb", "forbidden", "refusal"]


class Verb(enum.IntFlag):
    """What a key may do with names. ADMINISTER includes the others, and the leases of other keys.
    Of several verbs one is enough.
    """

    OBSERVE = 1
    ACQUIRE = 2
    ADMINISTER = 4
    POLL = OBSERVE | ACQUIRE  #: whoever may acquire a name is told who holds it anyway


@value
class Revoked:
    """Which keys a node does not take any more: those of an older ``generation``, and those in ``denied``."""

    generation: int = 0
    denied: frozenset[str] = frozenset()


@value
class Rights:
    """What one key allows. ``ttl_max_ms`` and ``expires`` (unix seconds) are 0 where there is no bound;
    ``owns`` tells whether a session is one of this key's.
    """

    key: str
    verbs: int
    patterns: tuple[str, ...]
    ttl_max_ms: int
    expires: int
    generation: int
    owns: Callable[[bytes], bool] = attrs.field(eq=False)

    def allows(self, verb: Verb, name: str) -> bool:
        """May this key do this with the name?"""
        return bool(self.verbs & (verb | Verb.ADMINISTER)) and any(
            name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
            for pattern in self.patterns
        )

    def allows_prefix(self, verb: Verb, prefix: str) -> bool:
        """May this key do this with every name that begins so?"""
        return bool(self.verbs & (verb | Verb.ADMINISTER)) and any(
            pattern.endswith("*") and prefix.startswith(pattern[:-1]) for pattern in self.patterns
        )

    def allows_ttl(self, ttl_ms: int) -> bool:
        return not self.ttl_max_ms or ttl_ms <= self.ttl_max_ms

    def taken(self, revoked: Revoked, unix: float) -> bool:
        """Is the key as a whole still taken, at this time?"""
        in_time = not self.expires or unix < self.expires
        return in_time and self.generation >= revoked.generation and self.key not in revoked.denied

    def lets_go(self, session: bytes, sender: bytes, name: str) -> bool:
        """May it renew or release this session's lease: its own, one of the same key, or anybody's?"""
        mine = session == sender or self.owns(session)
        return self.allows(Verb.ACQUIRE if mine else Verb.ADMINISTER, name)


ROOT = Rights("", Verb.OBSERVE | Verb.ACQUIRE | Verb.ADMINISTER, ("*",), 0, 0, 0, lambda session: True)


def refusal(message: Message, sender: bytes, rights: Rights, revoked: Revoked, unix: float) -> Barrier | None:
    """Why this message of a session goes no further, or None where it may. What is not known is refused."""
    if rights is ROOT or isinstance(message, Hello):
        return None
    if not rights.taken(revoked, unix):
        return Barrier.KEY
    return None if _allowed(message, sender, rights) else Barrier.RIGHTS


def forbidden(message: Message, barrier: Barrier) -> Forbidden | None:
    """The answer to a message that goes no further, where it wants one."""
    request = getattr(message, "request", 0)
    return Forbidden(request, barrier) if request else None


def _allowed(message: Message, sender: bytes, rights: Rights) -> bool:
    match message:
        case StandingPrepare():
            return rights.allows(Verb.ACQUIRE, message.name) and rights.allows_ttl(message.ttl_ms)
        case Prepare() | Publish():
            return rights.allows(Verb.ACQUIRE, message.name)
        case Accept() | Commit():
            return rights.allows(Verb.ACQUIRE, message.name) and rights.allows_ttl(message.lease.ttl_ms)
        case Revoke():
            return rights.allows(Verb.ADMINISTER, message.name)
        case Release():
            return rights.lets_go(message.candidate.session, sender, message.name)
        case Renew():
            # It names no names: of its own session the key was asked when the lease was accepted.
            if message.session == sender or rights.owns(message.session):
                return bool(rights.verbs & (Verb.ACQUIRE | Verb.ADMINISTER))
            return rights.allows_prefix(Verb.ADMINISTER, "")
        case Poll() | Waiting():
            return rights.allows(Verb.POLL, message.name)
        case Recall():
            return rights.allows(Verb.OBSERVE, message.name)
        case List():
            return rights.allows_prefix(Verb.OBSERVE, message.prefix)
        case Watch():
            watched = rights.allows_prefix if message.prefix else rights.allows
            return watched(Verb.OBSERVE, message.pattern)
        case Unwatch() | Seen() | Ping() | Count():
            return True
        case _:
            return False
