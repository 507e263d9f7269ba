"""What a traced run tells of itself: one value for everything that happened, with its true time.

A readable timeline is rendered from these (timeline.py). It needs to know, without parsing any text: who held
which name from when to when (GRANTED, EXTENDED, ENDED, with ``name``, ``term`` and ``until``); what became of
every datagram (SENT, ARRIVED, LOST, DROPPED, with ``who``, ``other`` and ``messages``); and where the marks
belong (FAULT, STARTED, STOPPED, HEALED and so on).
"""

from __future__ import annotations

import enum

import attrs

from paxlock.core.messages import Message

__all__ = ["Moment", "What"]


class What(enum.StrEnum):
    """The kinds of moments. The values are for people."""

    # leases, as the world sees them; ``who`` is the client
    WANTED = "wants"
    GRANTED = "is granted"  #: ``name``, ``term`` (the token), ``until`` in true time
    EXTENDED = "has renewed"  #: the same; ``until`` is the new end
    ENDED = "no longer holds"  #: the same; it released, was told of the loss, or is no more
    DETACHED = "detaches"  #: the lease goes on for whoever has its handle
    DEPOSITED = "deposits with its guardian"  #: its last will, for the node ``other``
    WILL_SENT = "is dead, and its guardian sends its last will"  #: in its name: as datagrams of ``who``
    LEFT = "leaves"  #: a wish ended by the program, waiting or held
    # datagrams; ``who`` sends and ``other`` shall receive, also for those that arrive
    SENT = "sends"
    ARRIVED = "reaches"
    LOST = "is lost"
    DROPPED = "is dropped by"  #: by the endpoint of ``other``; ``text`` names the reason
    # machines and the network
    NOTICE = "says"  #: what a machine publishes to the program around it
    FAULT = "fault"
    STARTED = "starts"
    STOPPED = "stops"
    RESUMED = "goes on"
    DISK = "disk"
    HEALED = "heals"


@attrs.frozen
class Moment:
    """At the true time ``true``, ``who`` (a node id, a client's label, "network" or "cell") did ``what``."""

    true: float
    who: str
    what: What
    name: str = ""  #: of the lock or office
    term: int = 0
    until: float = 0.0  #: in true time
    other: str = ""  #: the receiver of a datagram
    messages: tuple[Message, ...] = ()  #: of a datagram
    text: str = ""  #: anything else, for people
