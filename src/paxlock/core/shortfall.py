"""What people are told where no quorum serves: the same words in programs and on the command line."""

from __future__ import annotations

from collections.abc import Collection

from paxlock.core.quorum import majority

__all__ = ["shortfall"]


def shortfall(
    total: int, *, answered: int, serving: int, sits_out: Collection[float], countdown: bool = True
) -> str:
    """What keeps ``total`` nodes from being a quorum; ``""`` where enough of them serve.

    ``sits_out``: for how many seconds yet each node that has said so sits out. With ``countdown`` the text
    says when there can be a quorum: what is said again whenever it changes leaves that out.
    """
    needed = majority(total)
    if serving >= needed:
        return ""
    sentence = f"{answered} of {total} {'node' if total == 1 else 'nodes'} answered"
    if answered < needed:
        return f"{sentence}, {needed} needed"
    if serving:
        sentence += f", and only {serving} of them {'serves' if serving == 1 else 'serve'}, {needed} needed"
    else:
        sentence += ", and none serves yet"
    missing = needed - serving
    if len(sits_out) < missing:
        return sentence
    return f"{sentence}: sitting out" + (f", {sorted(sits_out)[missing - 1]:.1f} s left" if countdown else "")
