"""The root key is changed in whole cells, by an operator who follows docs/keys.md.

Every run is checked as any other, and by its key book; what the book must see is planted here and in
tests/planted/in_keys.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from paxlock.simulator import CheckFailed, Scenario, Simulation, run
from paxlock.simulator.key_book import KeyBook
from paxlock.simulator.machines import NodeMachine
from paxlock.simulator.moments import Moment, What
from paxlock.simulator.rotation import Rotation
from paxlock.wire.header import SessionSender

CALM = Scenario(
    faulty_for=0.8,
    clients=4,
    once=0.0,
    detached=0.0,
    hold_max=0.3,
    rotations=1,
    rotation_step=0.03,
    key_look=0.05,
)
SEEDS = range(4)


def played(seed: int, scenario: Scenario) -> Simulation:
    simulation = Simulation(seed, scenario, trace=True)
    simulation.run()
    return simulation


def readings(simulation: Simulation) -> list[Moment]:
    return [m for m in simulation.timeline or () if m.text.startswith("reads its keys anew")]


def book_of(simulation: Simulation) -> KeyBook:
    book = simulation.rotation.book
    assert book is not None
    return book


@pytest.mark.parametrize("seed", SEEDS)
def test_a_key_is_changed_and_nobody_loses_a_lease(seed: int) -> None:
    simulation = played(seed, CALM)
    assert simulation.rotation.over
    for node in simulation.nodes.all:
        told = [m.text.partition(": ")[2] for m in readings(simulation) if m.who == node.label]
        assert told == [
            "seals by root key 0, opens by 1 too",
            "seals by root key 1, opens by 0 too",
            "seals by root key 1",
        ]
    notices = [m.text for m in simulation.timeline or () if m.what is What.NOTICE]
    assert not any(text.startswith("Lost(") for text in notices)


def test_some_clients_have_the_root_key_and_some_a_key_of_their_own() -> None:
    clients = [client for seed in SEEDS for client in played(seed, CALM).workload.clients]
    grants = {bool(client.endpoint.sender.grant) for client in clients}  # type: ignore[union-attr]
    assert grants == {False, True}


def test_a_client_is_granted_its_key_anew_under_its_id() -> None:
    """Often with another expiry: then its sender changes, and its session does not."""
    changed = 0
    for seed in SEEDS:
        simulation = Simulation(seed, CALM)
        before: dict[str, SessionSender] = {}
        simulation.at(0.1, lambda to, of: to.update(senders(of)), before, simulation)
        simulation.run()
        for label, sender in senders(simulation).items():
            assert sender.session == before[label].session
            changed += sender.grant != before[label].grant
    assert changed


def senders(simulation: Simulation) -> dict[str, SessionSender]:
    found = {client.label: client.endpoint.sender for client in simulation.workload.clients}
    return {label: sender for label, sender in found.items() if isinstance(sender, SessionSender)}


def test_what_is_refused_for_its_key_is_what_the_book_explains() -> None:
    """Where nothing is damaged: what was under way while its receiver dropped the key."""
    refused = 0
    for seed in SEEDS:
        for figures in ({}, {"loss": 0.2, "late": 0.2, "partitions": 4.0, "rotations": 2}):
            simulation = played(seed, attrs.evolve(CALM, **figures))  # type: ignore[arg-type]
            counts = simulation.datagrams()
            assert counts["dropped_key"] + counts["dropped_seal"] == book_of(simulation).refused
            refused += counts["dropped_key"]
    assert refused


def test_a_node_that_starts_in_between_has_the_keys_of_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the file was changed and the HUP has not come: then it is ahead of the others."""
    started: set[tuple[int, ...]] = set()
    shipped = KeyBook.loaded

    def loaded(book: KeyBook, endpoint: Any, generations: tuple[int, ...]) -> None:
        if endpoint not in book._has and not isinstance(endpoint.sender, SessionSender):
            started.add(generations)
        shipped(book, endpoint, generations)

    monkeypatch.setattr(KeyBook, "loaded", loaded)
    for seed in range(6):
        simulation = played(seed, attrs.evolve(CALM, crashes=12.0, away_max=0.05))
        for node in simulation.nodes.all:
            assert node.endpoint is not None
            assert book_of(simulation).has(node.endpoint) == (1,)
    assert started == {(0,), (0, 1), (1, 0), (1,)}


def test_a_paused_node_reads_its_keys_when_it_goes_on_and_the_operator_waits() -> None:
    scenario = attrs.evolve(CALM, node_pauses=8.0, away_max=0.4)
    for seed in SEEDS:
        simulation = played(seed, scenario)
        paused: dict[str, float] = {}
        for moment in simulation.timeline or ():
            if moment.what is What.FAULT and "node pause" in moment.text:
                paused[moment.who] = moment.true
            elif moment.what is What.RESUMED:
                paused.pop(moment.who, None)
            elif moment.text.startswith("reads its keys anew"):
                assert moment.who not in paused


@pytest.mark.parametrize(
    "figures",
    [
        {"twins": 6.0},
        {"echoes": 20.0, "crashes": 6.0},
        {"forks": 10.0, "wills": 1.0, "client_crashes": 6.0},
        {"client_suspends": 6.0, "client_stalls": 6.0, "away_max": 0.6},
        {"disk_losses": 4.0, "left_out": 1},
    ],
    ids=lambda figures: next(iter(figures)),
)
def test_a_rotation_goes_together_with_other_faults(figures: dict[str, Any]) -> None:
    for seed in SEEDS:
        simulation = played(seed, attrs.evolve(CALM, rotations=2, **figures))
        assert simulation.rotation.over
        assert readings(simulation)


def test_an_unsealed_cell_has_no_keys_to_change() -> None:
    simulation = played(1, attrs.evolve(CALM, sealed=False))
    assert simulation.rotation.over
    assert not readings(simulation)


def test_some_seeds_have_rotations_and_some_of_these_last_beyond_the_heal() -> None:
    drawn = [Scenario.drawn(seed) for seed in range(60)]
    assert {scenario.rotations for scenario in drawn} == {0, 1, 2}
    assert not any(Scenario.drawn(seed, near=True).rotations for seed in range(60))
    assert any(
        moment.what is What.HEALED
        for seed in SEEDS
        for moment in _before_the_last_reading(played(seed, attrs.evolve(CALM, key_look=0.5)))
    )


def _before_the_last_reading(simulation: Simulation) -> list[Moment]:
    return [m for m in simulation.timeline or () if m.true < readings(simulation)[-1].true]


# Operators who do not follow the page


def test_an_operator_who_promotes_before_every_node_has_read_the_key_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nobody(rotation: Rotation, nodes: list[str]) -> Iterator[float]:
        yield 0.0

    monkeypatch.setattr(Rotation, "_hang_up", nobody)
    with pytest.raises(CheckFailed, match=r"keys: .* nobody is to seal by a key before every node has it"):
        run(1, CALM)


def test_an_operator_who_drops_the_key_of_those_who_still_need_it_is_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    granted = Rotation._grant

    def once(rotation: Rotation, new: int, slot: int) -> None:
        if new == 0:
            granted(rotation, new, slot)

    monkeypatch.setattr(Rotation, "_grant", once)
    with pytest.raises(CheckFailed, match=r"keys: .* sealed when that one was about to be dropped"):
        run(1, CALM)


def test_a_node_that_does_not_read_its_file_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    reloaded = Rotation._reload

    def deaf(rotation: Rotation, node: NodeMachine) -> None:
        if node.label != "b":
            reloaded(rotation, node)

    monkeypatch.setattr(Rotation, "_reload", deaf)
    with pytest.raises(CheckFailed, match="keys: "):
        run(1, CALM)
