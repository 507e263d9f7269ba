"""What others want of a holder, and other data of its lease (protocol.md section 12)."""

from __future__ import annotations

from typing import TypeAlias

from paxlock.core.lease import Candidate
from paxlock.core.value import value

__all__ = ["LetGo", "Publish", "Published", "Revoke", "RevokeAnswer", "Steering"]


@value
class Revoke:
    """End this grant: ask its holder to let go, or with ``force`` refuse its renewals. ``successor`` is who
    is to have the name next, if that is asked for.
    """

    request: int
    name: str
    candidate: Candidate
    term: int
    force: bool
    successor: Candidate | None


@value
class Publish:
    """The holder's data from now on, the ``edition``-th change of them."""

    request: int
    name: str
    candidate: Candidate
    edition: int
    data: bytes


@value
class RevokeAnswer:
    """A Revoke was ``taken``, or it names another grant than the one that is known here; and whether that
    candidate's lease is ``held`` here.
    """

    request: int
    name: str
    candidate: Candidate
    taken: bool
    held: bool


@value
class LetGo:
    """Somebody who may asks the holder to let go. Pushed: its ``request`` is 0."""

    request: int
    name: str
    candidate: Candidate


@value
class Published:
    """The edition that is held here of this candidate's data; 0 where its lease is not held."""

    request: int
    name: str
    candidate: Candidate
    edition: int


Steering: TypeAlias = Revoke | Publish | RevokeAnswer | LetGo | Published
