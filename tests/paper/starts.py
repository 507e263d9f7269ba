"""What the tests of section 7 share: a node that starts, and the greetings of the others."""

from __future__ import annotations

from by_hand import BYBLOS, DRIFT, MAX_TTL, NAME, HandReplica, promise, replica_of, session_id

from paxlock.core.durable import SeenNode
from paxlock.core.messages import Greet, Greeted, NodeMode, Prepare, Promise
from paxlock.core.node.replica import Replica
from paxlock.core.node.starts import Start

SITS_OUT = MAX_TTL * (1 + DRIFT) / (1 - DRIFT)
NO_RUN = bytes(16)
SECOND = session_id("second")


def greeted(
    *,
    request: int = 1,
    to: tuple[int, bytes] = (1, SECOND),
    seen: tuple[int, bytes] = (0, NO_RUN),
    ceiling: int = 0,
    mode: NodeMode = NodeMode.SERVING,
    incarnation: int = 5,
    member: bool = True,
    blank: bool = False,
    max_ttl: float = MAX_TTL,
    lowered: tuple[float, float] = (0.0, 0.0),
    known: dict[str, int] | None = None,
) -> Greeted:
    """What another member answers to the greeting of the life ``to``; ``lowered``: an old max_ttl, and what
    is left of it; ``known``: the incarnations it knows of further members.
    """
    old, left = lowered
    return Greeted(
        request,
        *to,
        *seen,
        incarnation,
        session_id("peer"),
        ceiling,
        mode,
        member,
        blank,
        round(max_ttl * 1000),
        round(old * 1000),
        round(left * 1000),
        tuple(SeenNode(node, life, session_id("other")) for node, life in sorted((known or {}).items())),
    )


def serve(
    start: Start, nodes: str = "abc", *, now: float = 0.0, max_ttl: float = MAX_TTL, confirmed: bool = True
) -> HandReplica:
    """A node that starts; where its memory is whole, b has ``confirmed`` that it is the newest."""
    node = HandReplica(replica_of("a", nodes, start, now=now, run="second", max_ttl=max_ttl))
    if start.snapshot is not None and confirmed:
        life = (start.record.incarnation, SECOND)
        node.receive(greeted(to=life, seen=(life[0] - 1, NO_RUN)), "b", now)
    return node


def prepare_from(who: bytes, at_least: int = 1) -> Prepare:
    return Prepare(1, NAME, at_least, BYBLOS._replace(session=who), 0, 0, 0, "")


def mode_of(machine: Replica) -> NodeMode:
    return machine.mode


def greet(node: HandReplica, other: str, incarnation: int, run: bytes, now: float) -> Greeted:
    """The answer to a greeting of another member."""
    (answer,) = [m for m in node.receive(Greet(2, incarnation, run), other, now) if isinstance(m, Greeted)]
    return answer


def first_promise(node: HandReplica, now: float) -> Promise:
    (answer,) = node.receive(prepare_from(BYBLOS.session), BYBLOS.session, now)
    return promise(answer)
