"""What a run found: one set of figures per scenario, participant and round; and its form as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from benchmarks.figures import Figures

FORMAT = 1


@attrs.define
class Results:
    """``rounds[scenario][participant]`` has one entry per round; an empty one where a round failed."""

    machine: dict[str, str]
    versions: dict[str, str]
    settings: dict[str, str]
    rounds: dict[str, dict[str, list[Figures]]] = attrs.field(factory=dict)
    left_out: list[str] = attrs.field(factory=list)  #: sentences: what was not measured, and why

    def add(self, scenario: str, participant: str, figures: Figures) -> None:
        self.rounds.setdefault(scenario, {}).setdefault(participant, []).append(dict(figures))

    def of(self, scenario: str, participant: str) -> list[Figures]:
        """The rounds of one participant; none where it did not take part."""
        return self.rounds.get(scenario, {}).get(participant, [])

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **attrs.asdict(self)}, indent=1, allow_nan=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Results:
        """Raises ValueError for a file of another format."""
        found: Mapping[str, Any] = json.loads(text)
        if found.get("format") != FORMAT:
            raise ValueError(f"not the results of this version: format {found.get('format')!r}")
        return cls(**{field.name: found[field.name] for field in attrs.fields(cls)})
