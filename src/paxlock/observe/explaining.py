"""What happened to a name, merged from the journals of all nodes, in sentences for people."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from paxlock.core.journal import Happened, Happening
from paxlock.core.quorum import majority
from paxlock.core.reasons import RefusalReason
from paxlock.core.session.events import NodeJournal

__all__ = ["Episode", "episodes", "sentence"]

_BECAUSE = {
    RefusalReason.ENDED: "it had let go already",
    RefusalReason.HELD: "somebody else held it",
    RefusalReason.PROMISED: "it was promised to somebody else",
    RefusalReason.QUEUED: "others stood in line before it",
    RefusalReason.STALE: "its term was overtaken",
    RefusalReason.TTL: "its ttl is above the cell's max_ttl",
    RefusalReason.TERM: "its term was too far ahead",
    RefusalReason.REVOKED: "it was ended by force",
}
_WORDS = {
    Happening.PROMISED: "the next term, {term}, was promised to {who} by {nodes}",
    Happening.RENEWED: "{who} renewed its lease for the last time, at {nodes}",
    Happening.RELEASED: "{who} let go, said {nodes}",
    Happening.EXPIRED: "the lease of {who} ran out at {nodes}",
    Happening.PASSED_OVER: "{who} made nothing of the promise of {nodes}, and was passed over",
    Happening.REVOKED: "{who} was ended by force at {nodes}: it is not renewed any more",
    Happening.DROPPED: "{nodes} dropped the name, which was idle",
    Happening.RESTORED: "{nodes} started, and held the lease of {who} already",
}
_ENDS = frozenset((Happening.RELEASED, Happening.EXPIRED, Happening.PASSED_OVER))


@frozen
class Episode:
    """One thing that happened, at one node or at several: ``ago`` seconds before the asking. ``quorum`` is
    true where enough nodes did it to decide. ``label`` is who, where that is known.
    """

    what: Happening
    ago: float
    nodes: tuple[str, ...]
    label: str
    session: str
    attempt: int
    term: int
    reason: RefusalReason | None
    times: int
    quorum: bool


def episodes(journals: Sequence[NodeJournal]) -> tuple[Episode, ...]:
    """What happened, oldest first. What a quorum did has the time at which the quorum was complete."""
    quorum = majority(len(journals))
    together: dict[object, list[tuple[str, Happened]]] = {}
    ended: dict[object, int] = {}
    for journal in journals:
        for entry in journal.entries:
            # A candidate may be promised something several times at a node, and end as often.
            turn = (journal.node_id, entry.candidate, entry.what)
            number = ended[turn] = ended.get(turn, 0) + 1
            key = (entry.what, entry.candidate, entry.reason, number)
            together.setdefault(key, []).append((journal.node_id, entry))
    found = []
    for same in together.values():
        same.sort(key=lambda told: -told[1].age_ms)
        newest = max((entry for _, entry in same), key=lambda entry: entry.term)
        decided = len(same) >= quorum
        ago = same[quorum - 1 if decided else 0][1].age_ms / 1000.0
        candidate = newest.candidate
        found.append(
            Episode(
                newest.what,
                ago,
                tuple(sorted(node for node, _ in same)),
                next((entry.label for _, entry in same if entry.label), ""),
                candidate.session.hex() if candidate is not None else "",
                candidate.attempt if candidate is not None else 0,
                newest.term,
                newest.reason,
                max(entry.times for _, entry in same),
                decided,
            )
        )
    # At one moment an end comes before what it makes room for.
    return tuple(sorted(found, key=lambda episode: (-episode.ago, episode.what not in _ENDS)))


def _listed(nodes: Sequence[str]) -> str:
    return nodes[0] if len(nodes) == 1 else f"{', '.join(nodes[:-1])} and {nodes[-1]}"


def sentence(episode: Episode) -> str:
    """One episode, without its time."""
    who = episode.label or (f"a candidate of session {episode.session[:8]}" if episode.session else "nobody")
    nodes = _listed(episode.nodes)
    match episode.what:
        case Happening.ACCEPTED if episode.quorum:
            return f"{who} became the holder in term {episode.term}: {nodes} accepted"
        case Happening.ACCEPTED:
            return f"{nodes} accepted {who} in term {episode.term}, which is no quorum"
        case Happening.REFUSED:
            why = _BECAUSE[episode.reason] if episode.reason is not None else "of an unknown reason"
            often = f", for the {episode.times}th time" if episode.times > 3 else ""
            return f"{who} was refused last by {nodes}{often}: {why}"
    return _WORDS[episode.what].format(who=who, nodes=nodes, term=episode.term)
