"""What is asked of the nodes: which share of it is lost on each path, and what is sent more than once because
of that (protocol.md section 5, "Lossy paths").

A copy is the same message with the same numbers, a moment later. For a node it is a datagram that came twice,
and what is acknowledged counts from the first sending (rule S4). This is about progress only: no rule of
safety rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

import attrs

from paxlock.core.messages import Accept, Prepare, Release, Renew
from paxlock.core.session.outbox import Outbox
from paxlock.core.session.pacing import Pacing
from paxlock.core.timers import Timers

__all__ = ["Asked", "Exchanges"]

Asked: TypeAlias = Prepare | Accept | Release | Renew

LOST_GAIN = 0.0625  #: what the newest exchange counts for in the share that is lost,
ANSWERED_BEFORE = 3  #: and in the beginning as if so many before the first had been answered
JUDGED_ELSEWHERE = 16  #: and the share of all paths counts like so many of its own
NEGLIGIBLE = 0.001  #: a share below that is taken for none
ONE_COPY_LOST = 0.08  #: from this share on what is asked is sent twice,
TWO_COPIES_LOST = 0.15  #: and from this one on three times
SILENT_SENDINGS = 3  #: if more in a row have no answer, they were not lost: the node was silent
SILENT_FOR_LONG = 8  #: a node that has answered none of so many in a row gets no copies
COPIED_MAX = 48  #: exchanges that a session copies at one time: of a flood only a small part
OPEN_MAX = 128  #: requests to one node whose answers are waited for
SPACING_ROUND_TRIPS = 0.125  #: between copies: all have left before the first answer can come,
SPACING_MIN_S = 0.0001  #: but no sooner than a timer can tell
UNKNOWN_S = 0.1  #: what an answer is taken to need before the first one came


class _Share:
    """The share of exchanges that were lost lately."""

    __slots__ = ("judged", "lost")

    def __init__(self) -> None:
        self.lost = 0.0
        self.judged = 0

    def judge(self, lost: float) -> None:
        self.judged += 1
        if not (lost or self.lost):
            return  # the usual case, at once
        gain = max(LOST_GAIN, 1.0 / (self.judged + ANSWERED_BEFORE))
        self.lost += gain * (lost - self.lost)
        if self.lost < NEGLIGIBLE:
            self.lost = 0.0


class _Path(_Share):
    """The exchanges with one node. Those with all nodes count as well, the less the more are known."""

    __slots__ = ("_all", "_copies", "_open", "_overdue", "unanswered")

    def __init__(self, everywhere: _Share) -> None:
        super().__init__()
        self._all = everywhere
        self._copies = 0
        self.unanswered = 0  #: sendings since the last answer
        self._open: dict[int, list[float]] = {}  #: by request, the times of the sendings without an answer
        self._overdue: list[
            tuple[float, int]
        ] = []  #: since when, because a later one was answered; the request

    @property
    def copies(self) -> int:
        """How many copies follow what is sent now."""
        return 0 if self.silent else self._copies

    @property
    def silent(self) -> bool:
        """Whether none of the last sendings was answered: very probably the node is dead."""
        return self.unanswered > SILENT_FOR_LONG

    def sent(self, request: int, now: float, usual: float) -> None:
        """Something that is answered is on its way; an answer takes ``usual`` seconds."""
        self.unanswered += 1
        if self._overdue:
            self._give_up(now - usual)
        times = self._open.get(request)
        if times is None:
            if len(self._open) >= OPEN_MAX:
                del self._open[next(iter(self._open))]
            self._open[request] = [now]
            return
        if len(times) > SILENT_SENDINGS + 1:  # one of them will have been answered
            del times[0]
        times.append(now)

    def answered(self, request: int, now: float, usual: float) -> None:
        """A sending of this request was answered. What was sent a round trip before it, and is not answered
        within another one, is lost: a node that is slow answers in the order of what it got.
        """
        self.unanswered = 0
        if self._overdue:
            self._give_up(now - usual)
        times = self._open.get(request)
        if times is None:
            slow = next((one for one in self._overdue if one[1] == request), None)
            if slow is not None:
                self._overdue.remove(slow)
                self._judge(0.0)
            return
        newest = len(times) - 1
        while newest > 0 and times[newest] > now - usual / 2.0:
            newest -= 1  # too new to be answered
        sent_at = times.pop(newest)
        if not times:
            del self._open[request]
        self._judge(0.0)
        overdue = self._sent_by(sent_at - usual)
        if overdue and len(overdue) <= SILENT_SENDINGS:
            self._overdue.extend((now, one) for one in overdue)

    def _sent_by(self, latest: float) -> list[int]:
        """Take out what was sent at ``latest`` or before: its requests."""
        found: list[int] = []
        while self._open:
            request, times = next(iter(self._open.items()))
            while times and times[0] <= latest:
                del times[0]
                found.append(request)
            if times:
                break
            del self._open[request]
        return found

    def _give_up(self, before: float) -> None:
        while self._overdue and self._overdue[0][0] <= before:
            del self._overdue[0]
            self._judge(1.0)

    def _judge(self, lost: float) -> None:
        self.judge(lost)
        self._all.judge(lost)
        if not (self.lost or self._all.lost):
            self._copies = 0
            return
        own = self.judged / (self.judged + JUDGED_ELSEWHERE)
        share = own * self.lost + (1.0 - own) * self._all.lost
        self._copies = (share >= ONE_COPY_LOST) + (share >= TWO_COPIES_LOST)


def _attempts(message: Asked) -> Sequence[int]:
    """For which attempts it asks for something; a Release asks for nothing."""
    match message:
        case Renew():
            return message.attempts
        case Accept():
            return (message.lease.candidate.attempt,)
        case Release():
            return ()
        case _:
            return (message.candidate.attempt,)


@attrs.define(eq=False)
class _Copied:
    """What is still to be sent once more, or twice, to one node."""

    message: Asked
    spacing: float
    usual: float
    due: float
    left: int


class Exchanges:
    """What one session asks of its nodes."""

    def __init__(self, nodes: tuple[str, ...], out: Outbox, pacing: Pacing, timers: Timers) -> None:
        everywhere = _Share()
        self._out = out
        self._pacing = pacing
        self._timers = timers
        self._paths = {node: _Path(everywhere) for node in nodes}
        self._copied: dict[tuple[str, int], _Copied] = {}

    def send(self, nodes: Iterable[str], message: Asked, now: float) -> None:
        """Ask these nodes, one after the other. Over a lossy path a copy or two follow."""
        nodes = tuple(nodes)
        self._out.send_all(nodes, message)
        for node in nodes:
            path, usual = self._paths[node], self._usual(node)
            if not path.judged:
                path.unanswered += 1
                continue  # it may answer nothing but a Hello yet: the address is not proved (section 8)
            path.sent(message.request, now, usual)
            if path.copies and len(self._copied) < COPIED_MAX:
                spacing = max(SPACING_MIN_S, SPACING_ROUND_TRIPS * usual)
                copied = _Copied(message, spacing, usual, now + spacing, path.copies)
                self._copied[node, message.request] = copied
                self._timers.add(copied.due, self._again, node, message.request)

    def sent(self, node: str, request: int, now: float) -> None:
        """Something else was asked, of which there are no copies."""
        self._paths[node].sent(request, now, self._usual(node))

    def answered(self, node: str, request: int, now: float) -> None:
        """A node has answered: no copy of that request is needed any more."""
        self._paths[node].answered(request, now, self._usual(node))
        if self._copied and self._copied.pop((node, request), None) is not None:
            self._timers.cancel(self._again, node, request)

    def silent(self, nodes: Iterable[str]) -> bool:
        """Whether each of these nodes has answered none of many sendings in a row."""
        return all(self._paths[node].silent for node in nodes)

    def lossy(self, nodes: Iterable[str]) -> bool:
        """Whether the path to one of these nodes is such that what is asked there is sent more than once."""
        return any(self._paths[node].copies for node in nodes)

    def over(self, attempt: int) -> None:
        """This attempt asks for nothing any more: what it has asked for is not copied behind its Release
        (rule S2).
        """
        for key, copied in tuple(self._copied.items()):
            if attempt in _attempts(copied.message):
                del self._copied[key]

    def _usual(self, node: str) -> float:
        return self._pacing.round_trips.usual(node, UNKNOWN_S)

    def _again(self, node: str, request: int, now: float) -> None:
        """Send a copy at its time, or never: what is late by a round trip would be news of long ago."""
        copied = self._copied.get((node, request))
        if copied is None:
            return
        if now >= copied.due:
            if now > copied.due + copied.usual:
                copied.left = 0
            else:
                self._paths[node].sent(request, now, copied.usual)
                self._out.send(node, copied.message)
                copied.left -= 1
                copied.due = now + copied.spacing
        if copied.left:
            self._timers.add(copied.due, self._again, node, request)
        else:
            del self._copied[node, request]
