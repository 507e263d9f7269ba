"""A failing run is made smaller before it is shown: fewer faults, calmer, fewer machines, shorter.

Every step plays the run anew, and is kept if the run still fails in the same check. What is left is a Case,
which writes itself as the command that replays it.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from functools import cached_property
from math import inf
from typing import Any

import attrs

from paxlock.core.durable import Durability
from paxlock.limits import CELL_SIZES
from paxlock.simulator.checkers import CheckFailed
from paxlock.simulator.minimising import minimised
from paxlock.simulator.plan import Fault, drawn_faults
from paxlock.simulator.scenario import Scenario
from paxlock.simulator.simulation import Outcome, Simulation

__all__ = ["Case", "check_of", "figure", "played", "shrink"]

RUNS_MAX = 400
SECONDS_MAX = 60.0
FAULTY_FOR_MIN_S = 0.05

#: what a calm run has instead: tried one by one
CALM: dict[str, Any] = {
    "loss": 0.0, "repeated": 0.0, "late": 0.0, "heavy_tail": 0.0, "reordered": 0.0, "damaged": 0.0,
    "left_out": 0, "detached": 0.0, "once": 0.0, "limited": 0.0, "cancelled": 0.0, "polls": 0.0,
    "far_node": 0.0, "far_client": 0.0, "uneven": 0.0,
    "revokes": 0.0, "publishes": 0.0, "insiders": 0.0,
    "watchers": 0, "hold_for_ever": 0.0, "short_tombstones": False, "durability": Durability.RECORD,
}  # fmt: skip
#: what there can be less of, from the least on
SIZES: dict[str, tuple[int, ...]] = {
    "burst": (0, 2, 10, 50), "names": (1, 2), "clients": (1, 2, 3, 4, 5), "nodes": (1, 3, 5),
    "wishes_max": (1, 2), "ttls": (1,), "rotations": (0, 1),
}  # fmt: skip


@attrs.frozen(slots=False)
class Case:
    """One run: a seed, its figures, and which of the faults drawn for them happen (None: all).

    ``drawn_nodes`` is the size of the cell that the figures were drawn with, if one was asked for.
    """

    seed: int
    scenario: Scenario
    kept: tuple[int, ...] | None = None
    drawn_nodes: int | None = None

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        drawn = drawn_faults(self.seed, self.scenario)
        return drawn if self.kept is None else tuple(drawn[at] for at in self.kept)

    @property
    def changes(self) -> dict[str, Any]:
        """The figures that are not those drawn for the seed."""
        drawn = attrs.asdict(Scenario.drawn(self.seed, self.drawn_nodes), recurse=False)
        changed = attrs.asdict(self.scenario, recurse=False)
        return {name: value for name, value in changed.items() if value != drawn[name]}

    def simulation(self, *, trace: bool = False) -> Simulation:
        return Simulation(self.seed, self.scenario, faults=self.faults, trace=trace)

    def command(self) -> str:
        """What replays this case in a shell, and shows its timeline."""
        words = [f"python -m paxlock.simulator --seed {self.seed}"]
        if self.drawn_nodes is not None:
            words.append(f"--nodes {self.drawn_nodes}")
        for name, value in self.changes.items():
            words.append(f"--set {name}={value.value if isinstance(value, enum.Enum) else value}")
        if self.kept is not None:
            words.append(f"--faults {','.join(map(str, self.kept)) or 'none'}")
        return " ".join([*words, "--trace"])

    def __str__(self) -> str:
        return self.command()


def figure(text: str) -> tuple[str, Any]:
    """A figure of the scenario and its value, from ``name=value``. Raises ValueError with a sentence."""
    name, _, value = text.partition("=")
    defaults = {field.name: field.default for field in attrs.fields(Scenario)}
    if name not in defaults:
        near = get_close_matches(name, defaults, n=1)
        raise ValueError(f"a scenario has no {name!r}" + (f"; is it {near[0]!r}?" if near else ""))
    kind: Any = type(defaults[name])
    choices: dict[str, Any] = {}
    if name == "nodes":
        choices = {str(size): size for size in CELL_SIZES}
    elif kind is bool:
        choices = {"True": True, "False": False}
    elif issubclass(kind, enum.Enum):
        choices = {str(item.value): item for item in kind}
    if choices:
        if value not in choices:
            raise ValueError(f"{name} is one of {', '.join(choices)}, not {value!r}")
        return name, choices[value]
    try:
        number = kind(value)
    except ValueError:
        number = -1
    if not 0 <= number < inf:
        raise ValueError(f"{name} is a {'whole ' if kind is int else ''}number, 0 or more, not {value!r}")
    return name, number


def played(simulation: Simulation) -> Outcome | Exception:
    """Play the run; its outcome, or what it failed with: a broken rule, or an error of the code itself."""
    try:
        return simulation.run()
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is a finding
        return failure


def check_of(failure: Exception) -> str:
    """The check that failed; for an error of the code itself, the name of its class."""
    return failure.check if isinstance(failure, CheckFailed) else type(failure).__name__


def shrink(
    case: Case,
    same_failure: Callable[[Exception], bool],
    *,
    runs_max: int = RUNS_MAX,
    seconds_max: float = SECONDS_MAX,
) -> Case:
    """The smallest case found from ``case`` on with which a run has the ``same_failure``.

    ``case`` itself must have it. At most ``runs_max`` runs are played, and none is begun after
    ``seconds_max`` seconds of processor time.
    """
    return _Shrinking(case, same_failure, runs_max, time.process_time() + seconds_max).smallest()


class _Shrinking:
    def __init__(
        self, case: Case, same_failure: Callable[[Exception], bool], runs_left: int, ends_at: float
    ) -> None:
        self._case = attrs.evolve(
            case, kept=tuple(range(len(case.faults))) if case.kept is None else case.kept
        )
        self._same_failure = same_failure
        self._runs_left = runs_left
        self._ends_at = ends_at

    def smallest(self) -> Case:
        before = None
        while before != self._case:
            before = self._case
            self._with_fewer_faults()
            for smaller in self._steps():
                self._try(smaller)
        return self._case

    def _with_fewer_faults(self) -> None:
        case = self._case
        minimised(case.kept or (), lambda kept: self._try({}, tuple(kept)))

    def _steps(self) -> Iterator[dict[str, Any]]:
        """Changes that make the present case smaller. One that works changes what comes after it."""
        for name, sizes in SIZES.items():
            for size in sizes:
                if size < getattr(self._case.scenario, name):
                    yield {name: size}
        for name, value in CALM.items():
            if getattr(self._case.scenario, name) != value:
                yield {name: value}
        for share in (0.25, 0.5, 0.75):
            shorter = round(self._case.scenario.faulty_for * share, 3)
            if shorter >= FAULTY_FOR_MIN_S:
                yield {"faulty_for": shorter}

    def _try(self, changes: dict[str, Any], kept: tuple[int, ...] | None = None) -> bool:
        """Play the case with these changes; if it still fails, it is the case from now on."""
        if self._runs_left <= 0 or time.process_time() > self._ends_at:
            return False
        self._runs_left -= 1
        scenario = attrs.evolve(self._case.scenario, **changes)
        if scenario.left_out > scenario.nodes // 2:
            scenario = attrs.evolve(scenario, left_out=scenario.nodes // 2)
        # A shorter run has the first of the same faults: their numbers stay.
        drawn = len(drawn_faults(self._case.seed, scenario))
        all_kept = self._case.kept if kept is None else kept
        case = attrs.evolve(
            self._case, scenario=scenario, kept=tuple(at for at in all_kept or () if at < drawn)
        )
        result = played(case.simulation())
        if isinstance(result, Outcome) or not self._same_failure(result):
            return False
        self._case = case
        return True
