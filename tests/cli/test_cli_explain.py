"""`paxlock explain` and `audit` on a real cell."""

from __future__ import annotations

import json

import pytest
from paxlock_process import dev_cell

pytestmark = pytest.mark.processes


@pytest.mark.slow
def test_what_happened_is_told_and_audited() -> None:
    with dev_cell() as (cell, _):
        handle = cell.output("acquire", "job", "--ttl", "20s", "--label", "athens")
        cell.output("release", handle)
        cell.output("acquire", "job", "--ttl", "1s", "--label", "byblos")
        cell.output("acquire", "job", "--ttl", "20s", "--label", "corfu")  # waits for the lease to run out
        told = cell.output("explain", "job")
        lines = [line for line in told.splitlines() if " ago " in line]
        stories = [line.split(" ago ")[1] for line in lines]
        for number, who in ((1, "athens"), (2, "byblos"), (3, "corfu")):
            assert any(story.startswith(f"{who} became the holder in term {number}: ") for story in stories)
        assert any(story.startswith("athens let go, said ") for story in stories)
        assert any(story.startswith("the lease of byblos ran out at ") for story in stories)
        facts = json.loads(cell.output("explain", "job", "--json"))
        assert (facts["state"], facts["label"]) == ("led", "corfu")
        assert [each["answered"] for each in facts["journals"]] == [True] * 3
        assert {each["what"] for each in facts["history"]} >= {"accepted", "released", "expired"}
        assert "nothing is remembered of 'never'" in cell.output("explain", "never")
        assert "no two grants overlapped (names: 1, grants: 3, nodes: 3 of 3)" in cell.output("audit", "jo")
        audited = json.loads(cell.output("audit", "--json"))
        assert audited["overlaps"] == 0
        assert [grant["label"] for grant in audited["names"][0]["grants"]] == ["athens", "byblos", "corfu"]
        cell.fails(64, "explain", "")
