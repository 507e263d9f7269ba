"""One life of a node (protocol.md section 7, rule S15): which answers count together.

Every datagram of a node says in which life, by its incarnation, the node speaks, and the highest incarnation
that it knows of each other member. Two answers count together only if neither names a higher incarnation of
the other node than the one in which that node has answered.

Nearly always all nodes know the same. Then their answers carry one and the same object (wire/lives.py), and
to count them costs a comparison of identities.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TypeAlias, TypeVar

__all__ = ["UNKNOWN", "Lives", "outlived", "still_counted"]

V = TypeVar("V")

#: By node: the incarnation in which the one who speaks does so, and the highest it knows of each other.
Lives: TypeAlias = Mapping[str, int]
UNKNOWN: Lives = {}  #: of somebody who has not said: incarnation 0, and knows nobody


def outlived(answers: Mapping[str, Lives]) -> Collection[str]:
    """The nodes of which another's answer names a higher incarnation than they answered in: not counted."""
    different = iter(answers.values())
    first = next(different, UNKNOWN)
    for lives in different:
        if lives is not first:
            break
    else:
        return ()
    return [
        node
        for node, lives in answers.items()
        if any(others.get(node, 0) > lives.get(node, 0) for others in answers.values())
    ]


def still_counted(answers: Mapping[str, V], lives: Mapping[str, Lives]) -> Mapping[str, V]:
    """The answers without those of nodes that are outlived. ``lives`` are those they were given with."""
    gone = outlived(lives)
    return {node: answer for node, answer in answers.items() if node not in gone} if gone else answers
