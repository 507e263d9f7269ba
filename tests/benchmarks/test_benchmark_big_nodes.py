"""The measurement of big nodes, with small ones: that it runs, and finds what is there."""

from __future__ import annotations

import re

import pytest

from benchmarks import big_nodes

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(big_nodes, "SETTLES_S", 0.0)


@pytest.mark.slow
def test_a_node_that_holds_leases_is_stopped_killed_and_started(capsys: pytest.CaptureFixture[str]) -> None:
    big_nodes.main(["--parts", "leases", "--leases", "50", "--data", "3"])
    told = capsys.readouterr().out
    assert "50 leases with 3 bytes of data" in told
    for what in ("all are acquired", "clean stop", "start from the snapshot", "start from the state file"):
        (cpu, peak), *more = re.findall(rf"\| {what} \| ([0-9.]+) s \| [0-9.]+ s \| ([0-9]+) MiB \|", told)
        assert not more
        assert re.search(rf"\| {what} \|.*\| 0 \|$", told, re.MULTILINE), "none is lost"
        assert 0.0 <= float(cpu) < 60.0
        assert 5 < int(peak) < 500


@pytest.mark.slow
@pytest.mark.parametrize("nodes", [1, 3])
def test_all_names_that_nodes_know_are_listed(nodes: int, capsys: pytest.CaptureFixture[str]) -> None:
    big_nodes.main(["--parts", "names", "--names", "300", "--nodes", str(nodes)])
    told = capsys.readouterr().out
    assert f"300 names that are held, known to each of {nodes} nodes" in told
    assert re.search(r"memory of `paxlock ls`, peak \| [1-9][0-9]* MiB", told)


def test_a_part_that_there_is_not_is_refused() -> None:
    with pytest.raises(SystemExit):
        big_nodes.main(["--parts", "leases,letters"])
