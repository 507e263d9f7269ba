"""How a run of the comparison goes: what is chosen, what is missing, what fails, and how loops are run."""

from __future__ import annotations

import argparse
import gc
import math
import os
import threading
import time
from collections.abc import Generator, Mapping
from pathlib import Path

import attrs
import pytest

from benchmarks.__main__ import SCENARIOS, Plan, once, parser, plan_of, present, run
from benchmarks.bench import QUICK, Bench, Effort
from benchmarks.figures import Figures, Tenure
from benchmarks.interpreter import run_with, without_option
from benchmarks.peers.base import Peer
from benchmarks.peers.ours import Paxlock
from benchmarks.peers.zookeeper import mode
from benchmarks.processes import Failed, compile_package
from benchmarks.registry import PEERS
from benchmarks.results import Results
from benchmarks.runtimes import Asyncio, Job, Runtime, Threads, Trio, at_once
from benchmarks.scenarios.base import Column, Scenario, Table
from benchmarks.scenarios.contended import judged
from benchmarks.workloads import WORKLOADS, Context

MS = 1_000_000
TABLE = Table("t", (Column("x", "x", "count"),))


def empty() -> Results:
    return Results({}, {}, {})


def arguments(*words: str) -> argparse.Namespace:
    return parser().parse_args(words)


def test_without_options_everything_is_measured_three_times() -> None:
    plan = plan_of(arguments())
    assert plan.scenarios == SCENARIOS
    assert plan.peers == tuple(PEERS.values())
    assert plan.effort == Effort()
    assert plan.effort.rounds == 3


def test_a_quick_run_is_of_paxlock_alone() -> None:
    plan = plan_of(arguments("--quick"))
    assert [peer.name for peer in plan.peers] == ["paxlock"]
    assert plan.effort == QUICK


def test_another_interpreter_is_given_everything_but_its_own_name() -> None:
    assert without_option(["--quick", "--python", "/usr/bin/python3", "--rounds", "2"]) == [
        *("--quick", "--rounds", "2")
    ]
    assert without_option(["--python=/usr/bin/python3", "--quick"]) == ["--quick"]
    with pytest.raises(SystemExit):
        arguments("--pyth", "/usr/bin/python3")  # it would be asked for again, and again


def test_a_file_that_is_no_interpreter_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="python: no environment can be made with it: No such file"):
        run_with(tmp_path / "python", tmp_path, [])


def test_what_is_asked_for_is_measured_in_the_order_of_the_report() -> None:
    plan = plan_of(arguments("--scenarios", "E, A", "--peers", "etcd,paxlock", "--rounds", "5"))
    assert [scenario.key for scenario in plan.scenarios] == ["A", "E"]
    assert [peer.name for peer in plan.peers] == ["paxlock", "etcd"]
    assert plan.effort.rounds == 5


@pytest.mark.parametrize("words", [("--scenarios", "Z"), ("--peers", "consul"), ("--rounds", "0")])
def test_words_that_mean_nothing_are_refused(words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit):
        plan_of(arguments(*words))


class Absent(Paxlock):
    name = "absent"
    title = "Absent"

    def missing(self) -> list[str]:
        return ["absent-server (Debian)", "absent (PyPI)"]


def test_who_is_missing_is_left_out_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    results = empty()
    found = present([PEERS["paxlock"], Absent()], results)
    assert [peer.name for peer in found] == ["paxlock"]
    sentence = "Absent: install absent-server (Debian), absent (PyPI) to measure it"
    assert results.left_out == [sentence]
    assert sentence in capsys.readouterr().err
    assert list(results.versions) == ["paxlock"]


def test_one_failure_leaves_a_hole_and_the_rest_goes_on(tmp_path: Path) -> None:
    calls: list[tuple[int, str]] = []

    def measure(bench: Bench, peer: Peer) -> Figures:
        calls.append((bench.round, peer.name))
        if (bench.round, peer.name) == (2, "paxlock"):
            raise Failed("it fell over")
        return {"x": float(bench.round)}

    scenario = Scenario("A", "a", (TABLE,), measure, (("floor", lambda _: {"x": 9.0}),))
    peers = (PEERS["paxlock"], PEERS["etcd"])
    results = empty()
    run(Plan((scenario,), peers, attrs.evolve(QUICK, rounds=3)), results, tmp_path, tmp_path / "r.json")
    assert calls == [(n, name) for n in (1, 2, 3) for name in ("paxlock", "etcd")]
    assert results.of("A", "paxlock") == [{"x": 1.0}, {}, {"x": 3.0}]
    assert results.of("A", "etcd") == [{"x": 1.0}, {"x": 2.0}, {"x": 3.0}]
    assert results.of("A", "floor") == [{"x": 9.0}] * 3
    assert results.left_out == ["paxlock failed in A: Failed: it fell over"]
    assert Results.from_json((tmp_path / "r.json").read_text()) == results


def test_a_mistake_of_the_harness_is_not_hidden() -> None:
    def broken() -> Mapping[str, float]:
        raise AssertionError("a bug")

    with pytest.raises(AssertionError):
        once(empty(), SCENARIOS[0], "paxlock", broken)


def test_peers_take_part_only_in_scenarios_that_there_are() -> None:
    known = {scenario.key for scenario in SCENARIOS}
    for peer in PEERS.values():
        assert set(peer.scenarios) <= known, peer.name


def test_the_first_turns_of_one_lock_are_not_judged() -> None:
    """Three clients ask at once and are served out of order; from then on in turn."""
    moments = [(client, 10 * MS * turn) for turn, client in enumerate([2, 0, 1, 2] + [0, 1, 2] * 5)]
    asked = [3 * MS, 1 * MS, 2 * MS]
    tenures = []
    for client, at in moments:
        tenures.append(Tenure(client, asked[client], 3 * MS + at, 9 * MS + at))
        asked[client] = 9 * MS + at
    found = judged(tenures, 3, 0, 10_000 * MS)
    assert found["longest_waiter"] == 1.0
    assert found["gap_p50"] == pytest.approx(0.004)
    assert found["overlaps"] == 0.0


def test_a_lock_that_nobody_got_is_no_figure() -> None:
    found = judged([], 3, 0, 1000 * MS)
    assert math.isnan(found["gap_p50"])
    assert math.isnan(found["per_s"])
    assert found["evenness"] == math.inf


@pytest.mark.parametrize("runtime", [Trio(), Asyncio(), Threads()], ids=["trio", "asyncio", "threads"])
def test_a_workload_runs_the_same_in_every_runtime(runtime: Runtime) -> None:
    """Ten jobs that each wait 50 ms, side by side, and the value at the end."""
    done: list[int] = []

    async def main() -> str:
        def waiting(number: int) -> Job:
            async def run() -> None:
                await runtime.sleep(0.05)
                done.append(number)

            return run

        await runtime.gather(*map(waiting, range(10)))
        return "end"

    begin = time.monotonic()
    assert runtime.run(main) == "end"
    assert sorted(done) == list(range(10))
    assert time.monotonic() - begin >= 0.05


def test_an_error_of_one_thread_comes_out_after_all_have_ended() -> None:
    ended = threading.Event()

    async def bad() -> None:
        raise KeyError("x")

    async def good() -> None:
        ended.set()

    with pytest.raises(KeyError):
        at_once(Threads().gather(bad, good))
    assert ended.is_set()


def test_a_blocking_client_that_waits_for_a_loop_is_found() -> None:
    async def waits() -> None:
        class Pending:
            def __await__(self) -> Generator[None, None, None]:
                yield

        await Pending()

    with pytest.raises(RuntimeError, match="event loop"):
        at_once(waits())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Zookeeper version: 3.8.0\nLatency min/avg/max: 0/1.0/4\nMode: leader\nNode count: 5\n", "leader"),
        ("Zookeeper version: 3.8.0\nMode: follower\n", "follower"),
        ("This ZooKeeper instance is not currently serving requests\n", ""),
        ("", ""),
    ],
)
def test_who_leads_is_read_from_the_answer(answer: str, expected: str) -> None:
    assert mode(answer) == expected


def test_a_client_that_is_ready_collects_no_more_what_it_has_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Young cycles are collected as ever; what was there before is not walked through."""

    class Told(Threads):
        async def line(self) -> str:
            return "go\n"

    context = Context(Paxlock(), Told(), {}, 10.0, [], {})
    try:
        assert at_once(context.ready()) == "go"
        assert (gc.isenabled(), gc.get_count()[1:]) == (True, (0, 0))
        assert gc.get_freeze_count() > len(gc.get_objects())
    finally:
        gc.unfreeze()
    assert "ready" in capsys.readouterr().out


def test_workloads_are_found_by_name() -> None:
    assert {
        "pairs",
        "workers",
        "contend",
        "hold",
        "succeed",
        "steady",
        "change",
        "watch",
        "crowd",
        "first",
    } == set(WORKLOADS)


def test_a_package_is_compiled_as_pip_does_it_and_anew_when_it_has_changed(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("a = 1\n", encoding="utf-8")
    assert compile_package(tmp_path)
    (compiled,) = (tmp_path / "__pycache__").iterdir()
    first = compiled.read_bytes()
    assert compile_package(tmp_path)
    assert compiled.read_bytes() == first
    source.write_text("a = 1 + 1 + 1\n", encoding="utf-8")
    os.utime(source, (1, 1))
    assert compile_package(tmp_path)
    assert compiled.read_bytes() != first
    source.write_text("a = = 1\n", encoding="utf-8")
    os.utime(source, (2, 2))
    assert not compile_package(tmp_path)
