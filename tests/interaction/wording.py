"""How messages and what is told are written in golden scripts: one line each, only what teaches."""

from __future__ import annotations

import attrs
from by_hand import NAME, who_is

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import (
    Accept,
    Accepted,
    Commit,
    Greet,
    Greeted,
    Hello,
    Inquire,
    Message,
    Occupancy,
    Occupant,
    Poll,
    Prepare,
    Promise,
    Recovering,
    Refused,
    Release,
    Released,
    Renew,
    Renewed,
    Seen,
    StandingPrepare,
    View,
    Watch,
    WatchEvent,
    Watching,
    Welcome,
)
from paxlock.core.node.replica import MemoryLost, ModeChanged, Unconfirmed
from paxlock.core.session.events import (
    Answered,
    Changed,
    Ended,
    Extended,
    Failed,
    Granted,
    Lost,
)
from paxlock.core.session.judgement import State

__all__ = ["say", "seconds", "tell", "who"]

_STANDS = {Occupancy.HELD: "holds", Occupancy.PROMISED: "is promised", Occupancy.HEAD: "is first in line"}


def seconds(value: float) -> str:
    return f"{value:.3f}".rstrip("0").rstrip(".") + " s"


def who(candidate: Candidate) -> str:
    """The name of the session; its later attempts with their number."""
    attempt = "" if candidate.attempt == 1 else f"/{candidate.attempt}"
    return who_is(candidate.session) + attempt


def _occupant(found: Occupant | None) -> str:
    if found is None:
        return "nobody named"
    said = f"{who(found.candidate)} {_STANDS[found.occupancy]}, age {seconds(found.age_ms / 1000)}"
    if found.occupancy is Occupancy.HELD:
        said += f", {seconds(found.remaining_ms / 1000)} left"
    return said + (", valid by its own word" if found.confirmed else "")


def _token(lease: Lease) -> str:
    return f" token={lease.token}" if lease.token else ""


def _view(view: View) -> str:
    if view.lease is None:
        return f"term={view.term}, nothing held"
    if not view.holds:
        became = "released" if view.released else "chosen" if view.chosen else "heard of"
        return f"term={view.term}, nothing held; {who(view.lease.candidate)} was {became}"
    chosen = "chosen" if view.chosen else "not known to be chosen"
    return f"term={view.term}, {who(view.lease.candidate)} holds in {view.lease_term}, {chosen}"


def say(message: Message) -> str:
    """A message in one line: its kind, and what is to be seen of it."""
    kind = type(message).__name__
    match message:
        case Prepare():
            said = f"{kind} at_least={message.at_least} age={seconds(message.age_ms / 1000)}"
            said += "" if message.candidate.attempt == 1 else f" as {who(message.candidate)}"
            said += f" #{message.seq}" if isinstance(message, StandingPrepare) else ""
            return said + (" waits" if message.refresh_ms else "")
        case Accept():
            said = f"{kind} term={message.term} {who(message.lease.candidate)}"
            return f"{said}{_token(message.lease)} #{message.seq}"
        case Commit():
            return f"{kind} term={message.term} {who(message.lease.candidate)}{_token(message.lease)}"
        case Promise():
            return f"{kind} term={message.term}"
        case Accepted():
            pushed = "" if message.request else " (pushed)"
            return f"{kind} term={message.term} #{message.seq}{pushed}"
        case Refused():
            reason = message.reason.name.lower()
            return f"{kind} {reason} term={message.term}: {_occupant(message.occupant)}"
        case Renew():
            return f"{kind} #{message.seq}"
        case Renewed():
            listed = [f"held in {term}" for _, term in message.held] + len(message.not_held) * ["not held"]
            return f"{kind} #{message.seq}: {', '.join(listed) or 'nothing listed'}"
        case Release():
            return f"{kind} {who(message.candidate)} term={message.term}"
        case Released():
            return f"{kind} {who(message.candidate)}"
        case View():
            return f"{kind} {_view(message)}"
        case WatchEvent():
            return f"{kind} {_view(message.view)}"
        case Recovering():
            return f"{kind}, {seconds(message.remaining_ms / 1000)} left"
        case Greet():
            return f"{kind} incarnation={message.incarnation}"
        case Greeted():
            knew = message.seen_incarnation or "none"
            return f"{kind} knew={knew} ceiling={message.ceiling} {message.mode.name.lower()}"
        case Hello() | Welcome() | Inquire() | Poll() | Watch() | Watching() | Seen():
            return kind
        case _:
            fields = (
                f"{field.name}={getattr(message, field.name)!r}" for field in attrs.fields(type(message))
            )
            return f"{kind} {' '.join(fields)}"


def tell(event: object, now: float) -> str:
    """What a machine tells the program around it, in one line."""
    match event:
        case Granted():
            return f"granted, fencing token {event.term}, valid for {seconds(event.deadline - now)}"
        case Extended():
            return f"extended, valid for {seconds(event.deadline - now)}"
        case Lost():
            return f"lost: {event.reason.value}"
        case Failed():
            holder = f" by {event.holder}" if event.holder else ""
            return f"not acquired: {event.reason.value}{holder}"
        case Ended():
            return "released" if event.heard else "released, but no quorum has heard it"
        case Changed() if event.state is State.LED:
            return f"sees that {event.label} leads, token {event.term}"
        case Changed():
            return f"sees that {NAME} is {event.state.value}"
        case Answered():
            found = event.judgement
            led = f" by {found.lease.label}, token {found.term}" if found.lease and found.term else ""
            return f"is told: {found.state.value}{led}"
        case ModeChanged():
            left = f", {seconds(event.sits_out)} left" if event.sits_out else ""
            return f"{'joins' if event.joins else 'is'} {event.mode.name.lower()}{left}"
        case MemoryLost():
            return "stops: it has lost its memory"
        case Unconfirmed():
            return "serves though nobody has confirmed its memory"
        case _:
            return repr(event)
