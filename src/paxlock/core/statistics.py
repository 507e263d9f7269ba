"""What a machine has counted, frozen, under words that are fit to be names of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import attrs

__all__ = ["ReplicaStatistics", "SessionStatistics", "counted"]


def counted(counters: Mapping[str, int]) -> Mapping[str, int]:
    """A frozen copy, under one spelling: what is counted as ``WatchEvent`` is told as ``watch_event``."""
    return MappingProxyType({_word(what): number for what, number in counters.items()})


def _word(kind: str) -> str:
    if kind.islower():
        return kind
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in kind).lstrip("_")


@attrs.frozen
class SessionStatistics:
    """How much a client holds, wants and watches at this moment; what it has counted since it was opened."""

    leases: int  #: held
    campaigns: int  #: names wanted
    releases: int  #: releases that not every node has heard yet
    watches: int
    recovering_nodes: int  #: nodes that have said that they sit out
    messages: Mapping[str, int]  #: messages received and events, by kind


@attrs.frozen
class ReplicaStatistics:
    """How much a node keeps at this moment; and what it has counted since its start."""

    names: int  #: names that it has a record of
    floor: int  #: of the terms
    ceiling: int  #: of the terms
    messages: Mapping[str, int]  #: messages received and events, by kind
