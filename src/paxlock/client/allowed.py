"""What the key of this client allows, asked before the nodes are: so that the program gets a sentence."""

from __future__ import annotations

import attrs

from paxlock.config.cell import format_duration
from paxlock.config.durations import check_seconds
from paxlock.core.lease import TTL_DEFAULT_S
from paxlock.core.rights import ROOT, Rights, Verb
from paxlock.errors import NotAllowed
from paxlock.limits import NEVER

__all__ = ["Allowed"]


@attrs.frozen
class Allowed:
    """The rights of one client. What they forbid raises NotAllowed."""

    rights: Rights

    def lease_ttl(self, ttl: float | None, max_ttl: float) -> float:
        """The ttl that is asked for, in seconds; None is 10 s, or the ``max_ttl`` of the cell, or what this
        key allows at most, where that is shorter. Raises TypeError for what is no number.
        """
        if ttl is None:
            return min(TTL_DEFAULT_S, max_ttl, self._longest_ttl)
        return check_seconds("ttl", ttl)

    @property
    def _longest_ttl(self) -> float:
        return self.rights.ttl_max_ms / 1000.0 or NEVER

    def check_ttl(self, ttl: float) -> None:
        """A ttl in seconds; what is no ttl at all is refused elsewhere."""
        longest = self._longest_ttl
        if ttl > longest:
            raise NotAllowed(
                f"this key {self.rights.key!r} does not allow a ttl above {format_duration(longest)}: "
                "ask for a shorter one, or for another key"
            )

    def check(self, verb: Verb, name: str, *, prefix: bool = False) -> None:
        """Something that is done with a name, or with all names that begin so."""
        rights = self.rights
        if rights is ROOT:
            return  # asked for every lease
        if rights.allows_prefix(verb, name) if prefix else rights.allows(verb, name):
            return
        every = f"all names that begin with {name!r}" if name else "all names"
        what = every if prefix else repr(name)
        raise NotAllowed(
            f"this key {rights.key!r} does not allow to {_words(verb).partition(' ')[0]} {what}: "
            f"it is for {' and '.join(map(repr, rights.patterns))}, and to {_words(rights.verbs)}"
        )

    def refused(self) -> NotAllowed:
        """The error for a key that the nodes do not take."""
        return NotAllowed(
            f"the nodes do not take this key {self.rights.key!r} any more: it has expired or was revoked; "
            "ask for another, made by 'paxlock grant'"
        )


def _words(verbs: int) -> str:
    return " and ".join((each.name or "").lower() for each in Verb if each & verbs)
