"""What a rule is written with: a step from one moment to the next, and its conditions, some of them guards.

A guard is a condition with a name. `Step.needs` takes it out where it is the one that is planted away; then
what stands for it, if anything does, is asked instead. So a planted error is the rule itself, less one guard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from invariant.logic import Formula, Term, World
from invariant.state import State

__all__ = ["Rule", "Step"]


@dataclass
class Step:
    """One way to take a step: ``values`` are whom and what it is about, ``after`` is the moment after it.

    ``planted`` is the guard that is taken out; the search takes out two where one makes the other needless,
    with a blank between them.
    """

    world: World
    before: State
    planted: str = ""
    prefix: str = ""
    values: dict[str, tuple[Term, str]] = field(default_factory=dict)
    conditions: list[Formula] = field(default_factory=list)
    guards: list[str] = field(default_factory=list)
    after: State = field(init=False)

    def __post_init__(self) -> None:
        self.after = self.before

    def some(self, name: str, sort: str) -> Term:
        """Whom or what the step is about: anything of this sort, within the conditions."""
        value = self.world.constant(f"{self.prefix}step.{name}", sort)
        self.values[name] = value, sort
        return value

    def needs(self, condition: Formula, guard: str = "", instead: Formula | None = None) -> None:
        """A condition of the step; with a name it is a guard."""
        if guard:
            self.guards.append(guard)
        if not guard or not self.lacks(guard):
            self.conditions.append(condition)
        elif instead is not None:
            self.conditions.append(instead)

    def lacks(self, guard: str) -> bool:
        """Whether this guard is the one that is taken out."""
        return guard in self.planted.split()

    def becomes(self, **changed: Callable[..., Term]) -> None:
        self.after = self.after.after(**changed)


@dataclass(frozen=True)
class Rule:
    """A rule: what it is called, where it stands in docs/protocol.md, and the sentence that tells a step of
    it.
    """

    name: str
    section: str
    sentence: str
    write: Callable[[Step], None]
