"""The draw of the faults, and the guard that refuses old tokens."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from random import Random

from .guard import Guard
from .nemesis import LONG, FaultKind, drawn_kinds


def test_every_kind_comes_up_once_and_long_ones_alone() -> None:
    for seed in range(50):
        groups = drawn_kinds(Random(seed))
        assert sorted(kind.name for group in groups for kind in group) == sorted(FaultKind.__members__)
        assert all(sum(kind in LONG for kind in group) <= 1 for group in groups)
        assert all(group[0] not in LONG for group in groups if len(group) == 2)


def test_the_same_seed_draws_the_same() -> None:
    assert drawn_kinds(Random(3)) == drawn_kinds(Random(3))
    assert drawn_kinds(Random(3)) != drawn_kinds(Random(4))


def test_the_guard_refuses_what_is_older_than_the_newest(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    guard.start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as writer:
        for name, term, who in (("x", 5, "a"), ("x", 5, "a"), ("x", 4, "b"), ("y", 1, "b")):
            write = {"name": name, "term": term, "writer": who, "at": 1.0}
            writer.sendto(json.dumps(write).encode(), str(guard.address))
        guard.close()
    lines = [json.loads(line) for line in guard.path.read_text().splitlines()]
    assert [line["accepted"] for line in lines] == [True, True, False, True]
    assert (guard.accepted, guard.refused) == (3, 1)
    assert {name: writer for name, (writer, _) in guard.latest().items()} == {"x": "a", "y": "b"}
