"""What an exploration covers: everything that is bounded, as a value."""

from __future__ import annotations

import attrs

__all__ = ["BOUNDS", "LIVES_BOUNDS", "Bounds", "LivesBounds"]


@attrs.frozen
class Bounds:
    """A space to explore: 3 nodes, 2 sessions, one name. What goes beyond a bound is not followed.

    Without limit in every space: the order of messages, their loss and repetition, how late they are, how
    long an acceptor holds a lease that has lapsed at its holder, and when a promise lapses.
    """

    name: str
    max_term: int
    sendings: int = 1  #: moments at which one session may send numbers: Accepts and rounds of Renew
    phases: int = 4  #: phases 1 and 2 of one candidate, counted together
    attempts: int = 1  #: candidates of one session, one after the other
    thrifty: bool = False  #: a candidate that waits asks a quorum first, and the third node later
    standing: bool = False  #: candidates wait, with standing Prepares; without, each makes one plain attempt
    refusals: bool = False  #: Refused is delivered; without, sessions give up and back off by themselves only
    resends: bool = False  #: an Accept that was not answered is sent again under a new number
    renews: bool = False  #: a holder renews, and repairs what a node does not hold (rule L3)
    crashes: bool = False  #: nodes lose their memory, without limit
    forced: bool = False  #: the lease that a node holds is ended there by force (section 12)
    handles: bool = False  #: nodes are shown made-up handles, and right ones of who does not hold there
    kills: bool = False  #: nodes start again on the same boot, with their state file, without limit
    commits: bool = False  #: Commit is delivered to nodes (it must change nothing, rule S13)

    def __attrs_post_init__(self) -> None:
        if self.standing and (self.refusals or self.attempts > 1):
            raise ValueError("waiting candidates are explored without refusals, one of each session")
        if self.thrifty and not self.standing:
            raise ValueError("only who waits asks a quorum first")


BOUNDS: dict[str, Bounds] = {
    bounds.name: bounds
    for bounds in (
        Bounds("small", max_term=1),
        Bounds("refusals", max_term=1, refusals=True),
        Bounds("crash", max_term=1, crashes=True),
        Bounds("kill", max_term=1, kills=True),
        Bounds("commit", max_term=1, commits=True),
        Bounds("forced", max_term=1, forced=True),
        Bounds("forced-kill", max_term=1, kills=True, forced=True),
        Bounds("forced-renew", max_term=1, sendings=2, resends=True, renews=True, forced=True),
        Bounds("handles", max_term=1, handles=True),
        Bounds("handles-kill", max_term=1, kills=True, handles=True),
        Bounds("handles-standing", max_term=1, standing=True, handles=True),
        Bounds("handles-commits", max_term=1, commits=True, handles=True),
        Bounds("handles-renew", max_term=1, sendings=2, resends=True, renews=True, handles=True),
        Bounds("renew", max_term=1, sendings=2, resends=True, renews=True),
        Bounds("renew-kill", max_term=1, sendings=2, resends=True, renews=True, kills=True),
        Bounds("renew3", max_term=1, sendings=3, resends=True, renews=True),
        Bounds("renew-crash", max_term=1, sendings=2, resends=True, renews=True, crashes=True),
        Bounds("renew-terms2", max_term=2, sendings=2, resends=True, renews=True),
        Bounds("raise", max_term=2, sendings=2, refusals=True),
        Bounds("terms2", max_term=2, sendings=2),
        Bounds("terms2-resend", max_term=2, sendings=2, resends=True),
        Bounds("terms2-crash", max_term=2, sendings=2, crashes=True),
        Bounds("terms2-kill", max_term=2, sendings=2, kills=True),
        Bounds("again", max_term=2, sendings=2, attempts=2, crashes=True),
        Bounds("standing", max_term=1, standing=True),
        Bounds("standing-crash", max_term=1, standing=True, crashes=True),
        Bounds("standing-kill", max_term=1, standing=True, kills=True),
        Bounds("standing2", max_term=1, sendings=2, standing=True),
        Bounds("standing-renew", max_term=1, sendings=2, standing=True, resends=True, renews=True),
        Bounds("thrifty", max_term=1, standing=True, thrifty=True),
        Bounds("thrifty2", max_term=1, sendings=2, standing=True, thrifty=True),
        Bounds("thrifty2-crash", max_term=1, sendings=2, standing=True, thrifty=True, crashes=True),
        Bounds("thrifty2-kill", max_term=1, sendings=2, standing=True, thrifty=True, kills=True),
        Bounds(
            "thrifty-renew", max_term=1, sendings=2, standing=True, thrifty=True, resends=True, renews=True
        ),
        Bounds("thrifty3", max_term=1, sendings=3, standing=True, thrifty=True),
        Bounds("thrifty-hand-off", max_term=2, standing=True, thrifty=True),
        Bounds("hand-off", max_term=2, standing=True),
        Bounds("hand-off-crash", max_term=2, standing=True, crashes=True),
        Bounds("hand-off2", max_term=2, sendings=2, standing=True),
        Bounds("terms3", max_term=3, sendings=3, phases=6),
    )
}


@attrs.frozen
class LivesBounds:
    """A space with two lives of one node. ``until``: the last moment that is looked at. ``term``: of session
    2, above that of session 1 or below. ``late``: a greeting of an earlier life, which asked after sitting
    out, is still on its way. ``renews``: how often a holder renews. ``both``: answers
    to session 2 are late as well, and not heard at once or never.
    """

    name: str
    ttl: int  #: and the time of sitting out, in units
    until: int
    term: int
    late: bool = False
    renews: int = 0
    both: bool = False


LIVES_BOUNDS: dict[str, LivesBounds] = {
    bounds.name: bounds
    for bounds in (
        LivesBounds("lives", ttl=1, until=1, term=3),
        LivesBounds("lives-tokens", ttl=1, until=1, term=1),
        LivesBounds("lives-late", ttl=1, until=1, term=1, late=True),
        LivesBounds("lives-renew", ttl=2, until=2, term=3, renews=1),
        LivesBounds("lives-all", ttl=2, until=3, term=1, late=True, renews=1, both=True),
    )
}
