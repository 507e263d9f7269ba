"""A tenure is not lost while a quorum of nodes serves and can be reached (protocol.md section 3, rule L3).

What a holder may expect: it was not disturbed itself, and for long enough a quorum of nodes, the same ones,
served without a break, exchanged with it every datagram in time, and held nothing of anybody else. Some of
them may have restarted before that, or missed renewals: then it is the holder's part to win them back.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from paxlock.core.lease import Candidate, Timing
from paxlock.core.messages import NodeMode
from paxlock.core.quorum import majority
from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.machines import ClientMachine, NodeMachine
from paxlock.simulator.scenario import SILENCE_GRACES

if TYPE_CHECKING:
    from paxlock.simulator.simulation import Simulation

__all__ = ["SLOW_WRITE_S", "check_loss"]

SLOW_WRITE_S = 0.02  #: a node that writes for longer may have let requests for a higher term wait
ROUNDS_S = 0.05  #: for the rounds of a raise themselves, which are so many:
RAISE_ROUND_TRIPS = 4


def check_loss(sim: Simulation, client: ClientMachine, candidate: Candidate, timing: Timing) -> None:
    """The client's lease has run out just now: fail where that was not to be.

    How long calm must have lasted: for a renewal to be answered "not held", an Accept to be refused, an
    attempt at a higher term that was begun before the calm to be given up, and the next one to succeed. A
    lease may be granted with little time left: so the calm must have lasted, however young the tenure is.
    """
    tenure = sim.check.exclusion.tenures[candidate]
    rounds = max(ROUNDS_S, RAISE_ROUND_TRIPS * sim.scenario.round_trip)
    longest = timing.ttl * (1.0 + sim.scenario.drift) + SILENCE_GRACES * sim.scenario.window + rounds
    calm_from = sim.true - longest
    if client.calm_since > calm_from:
        return
    calm = [
        node.label
        for node in sim.nodes.all
        if _was_calm(sim, client, node, tenure.name, candidate, calm_from)
    ]
    if len(calm) >= majority(sim.scenario.nodes):
        raise CheckFailed(
            "L3",
            f"token {tenure.token} of {tenure.name!r} ran out, though {', '.join(calm)} served and were in "
            f"touch with its holder for {sim.true - calm_from:.3f} s",
        )


def _was_calm(
    sim: Simulation, client: ClientMachine, node: NodeMachine, name: str, candidate: Candidate, since: float
) -> bool:
    if node.core is None or node.core.mode is not NodeMode.SERVING or node.calm_since > since:
        return False
    if node.address not in client.endpoint._nodes[node.node_id].addresses:  # noqa: SLF001
        return False  # it has joined elsewhere, and this client talks to its old process
    if node.paused_until > -inf:
        return False  # it stands still: how long that lasted is noted only when it goes on
    disturbed = sim.network.disturbed
    if (
        max(disturbed.get((client.label, node.label), 0.0), disturbed.get((node.label, client.label), 0.0))
        > since
    ):
        return False
    return sim.check.nodes.last_stranger(node, name, candidate, sim.true) <= since
