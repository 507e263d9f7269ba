"""The checker of long tenures (rule L3): when a lease may run out, and when not."""

from __future__ import annotations

import heapq

import pytest

from paxlock.core.lease import Candidate, Timing
from paxlock.core.messages import NodeMode
from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.endurance import check_loss
from paxlock.simulator.machines import ClientMachine, Held
from paxlock.simulator.scenario import Scenario
from paxlock.simulator.simulation import Simulation

NAME = "name 0"
OTHER = Candidate(b"o" * 16, 1)
CALM = Scenario(nodes=3, clients=0, watchers=0, faulty_for=0.5)
TIMING = Timing.for_ttl(0.3, max_ttl=0.4, drift=0.01)


class Cell:
    """Three nodes that serve, and a holder whose lease runs out at 10 s, in true time."""

    def __init__(self) -> None:
        self.sim = sim = Simulation(1, CALM)
        sim.nodes.begin()
        while any(node.core is None or node.core.mode is not NodeMode.SERVING for node in sim.nodes.all):
            sim.true, _, action, arguments = heapq.heappop(sim._heap)
            action(*arguments)
        self.client: ClientMachine = sim.clients.begin(0, 0)
        self.candidate = Candidate(self.client.session, 1)
        sim.check.exclusion.granted(NAME, 4, self.candidate, 10.0, 1.0)
        sim.true = 10.0

    def lose(self) -> None:
        check_loss(self.sim, self.client, self.candidate, TIMING)


def test_a_lease_does_not_run_out_while_a_quorum_serves() -> None:
    with pytest.raises(CheckFailed, match=r"L3.*token 4 .* a, b, c served"):
        Cell().lose()


def test_a_quorum_is_enough() -> None:
    cell = Cell()
    cell.sim.nodes.crash(cell.sim.nodes.all[0])
    with pytest.raises(CheckFailed, match=r"L3.* b, c served"):
        cell.lose()
    cell.sim.nodes.crash(cell.sim.nodes.all[1])
    cell.lose()


def test_a_young_lease_may_have_been_granted_with_little_time_left() -> None:
    cell = Cell()
    cell.sim.check.exclusion.tenures[cell.candidate].since = 9.99
    cell.client.calm_since = 9.9
    cell.lose()


def test_a_holder_that_was_paused_may_lose_its_lease() -> None:
    cell = Cell()
    cell.sim.true = 9.7
    cell.sim.pause(cell.client, 0.1, asleep=False)
    cell.sim.true = 9.8
    cell.sim.resume(cell.client)
    cell.sim.true = 10.0
    cell.lose()


def test_what_was_over_long_before_is_no_excuse() -> None:
    cell = Cell()
    cell.client.calm_since = 9.0
    for node in cell.sim.nodes.all:
        cell.sim.network.disturbed["client 0", node.label] = node.calm_since = 9.0
    with pytest.raises(CheckFailed, match="L3"):
        cell.lose()


def test_nodes_that_were_paused_are_no_quorum() -> None:
    cell = Cell()
    for node in cell.sim.nodes.all[:2]:
        node.calm_since = 9.9
    cell.lose()


def test_nodes_that_stand_still_are_no_quorum() -> None:
    cell = Cell()
    cell.sim.true = 9.9
    for node in cell.sim.nodes.all[:2]:
        cell.sim.pause(node, 0.2, asleep=False)
    cell.sim.true = 10.0
    cell.lose()


@pytest.mark.parametrize("out", [True, False])
def test_nodes_out_of_touch_are_no_quorum(out: bool) -> None:
    cell = Cell()
    for node in "ab":
        cell.sim.network.disturbed[("client 0", node) if out else (node, "client 0")] = 9.9
    cell.lose()


@pytest.mark.parametrize("still", [True, False])
def test_nodes_that_held_for_somebody_else_are_no_quorum(still: bool) -> None:
    cell = Cell()
    for node in cell.sim.nodes.all[:2]:
        if still:
            node.held[NAME] = Held(OTHER, 1e9, 5, b"", 0)
        else:
            cell.sim.check.nodes.let_go[node.label, NAME] = {OTHER: 9.9}
    cell.lose()


def test_a_datagram_that_is_lost_disturbs_its_link_until_then() -> None:
    cell = Cell()
    cell.sim.network.cut(frozenset({("client 0", "a")}), 1.0)
    assert cell.client.core is not None
    cell.client.core.poll(NAME, cell.client.now(cell.sim.true))
    cell.sim.clients.turn(cell.client, [])
    assert cell.sim.network.disturbed == {("client 0", "a"): 10.0}
