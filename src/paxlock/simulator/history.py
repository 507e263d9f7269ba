"""What the clients of a run called and were told, for the check that it is linearizable."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import attrs

from paxlock.simulator.linearizability import Operation, OperationKind, OperationOutcome

__all__ = ["History"]


@attrs.define(eq=False)
class History:
    """Operations under way, by keys of the caller's, and those that are over."""

    operations: list[Operation] = attrs.field(factory=list)
    _under_way: dict[Hashable, Operation] = attrs.field(factory=dict)

    def called(
        self, key: Hashable, client: str, name: str, kind: OperationKind, true: float, *, term: int = 0
    ) -> None:
        """A client makes a call; without `returned` nobody ever hears its outcome."""
        self._under_way[key] = Operation(client, name, kind, true, term=term)

    def returned(self, key: Hashable, true: float, outcome: OperationOutcome, **told: Any) -> None:
        """The call is over; ``told`` are fields of the operation. Unknown keys are of calls not recorded."""
        operation = self._under_way.pop(key, None)
        if operation is not None:
            self.operations.append(attrs.evolve(operation, returned=true, outcome=outcome, **told))

    def told(
        self, client: str, name: str, kind: OperationKind, true: float, term: int, *, until: float | None
    ) -> None:
        """The holder is told something of its own accord: renewed ``until``, or (None) over."""
        if until is not None:
            operation = Operation(client, name, kind, true, true, term, OperationOutcome.OK, until)
        else:
            operation = Operation(client, name, kind, true, true, term, OperationOutcome.REFUSED)
        self.operations.append(operation)

    def closed(self) -> list[Operation]:
        """All operations, with those that never returned."""
        return [*self.operations, *self._under_way.values()]
