"""An answer to Renew in as few datagrams as it fits into (protocol.md section 2)."""

from __future__ import annotations

import attrs

from paxlock.core.messages import Renewed

__all__ = ["parts"]

ATTEMPTS_PER_ANSWER = 100  #: of those held, and of those not held
ATTEMPTS_PER_ANSWER_BYTES = 950


def parts(answer: Renewed) -> list[Renewed]:
    """The answer in as many messages as fit into a datagram each; all name the same number."""
    attempt = _encoded_bytes(max(max(answer.held, default=(0, 0))[0], max(answer.not_held, default=0)))
    term = _encoded_bytes(max((term for _, term in answer.held), default=0))
    most = ATTEMPTS_PER_ANSWER_BYTES // (1 + attempt + term + (attempt if answer.not_held else 0))
    most = min(most, ATTEMPTS_PER_ANSWER)
    longest = max(len(answer.held), len(answer.not_held), 1)
    if longest <= most:
        return [answer]
    return [
        attrs.evolve(
            answer, held=answer.held[start : start + most], not_held=answer.not_held[start : start + most]
        )
        for start in range(0, longest, most)
    ]


def _encoded_bytes(number: int) -> int:
    """How long a number is on the wire."""
    return 3 if number < 1 << 16 else 5 if number < 1 << 32 else 9
