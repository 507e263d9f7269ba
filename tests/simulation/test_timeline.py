"""The timeline: right about who held what, readable, and never too wide."""

from __future__ import annotations

import pytest

from paxlock.core.lease import Candidate, Lease
from paxlock.core.messages import Accept, Message, Prepare, Promise, Renew
from paxlock.simulator import Scenario, Simulation
from paxlock.simulator.moments import Moment, What
from paxlock.simulator.timeline import KEY, HeldSpan, rendered, tenures

CANDIDATE = Candidate(b"s" * 16, 2)
PREPARE = Prepare(1, "jobs", 4, CANDIDATE, 0, 0, 0, "client 0")
OTHER_NAME = Prepare(2, "mail", 1, CANDIDATE, 0, 0, 0, "client 0")
PROMISE = Promise(1, "jobs", CANDIDATE, 5, 0, 0)
ACCEPT = Accept(3, "jobs", 5, Lease(CANDIDATE, 300, "", b""), 7, 0)

STORY = [
    Moment(0.0, "a", What.STARTED, text="record"),
    Moment(0.0, "b", What.STARTED, text="record"),
    Moment(0.001, "a", What.NOTICE, text="ModeChanged(mode=<NodeMode.SERVING: 3>, sits_out=0.0)"),
    Moment(0.002, "client 0", What.STARTED, text="session"),
    Moment(0.003, "client 0", What.SENT, other="a", messages=(PREPARE,)),
    Moment(0.003, "client 0", What.SENT, other="b", messages=(PREPARE,)),
    Moment(0.003, "client 0", What.LOST, other="c", messages=(PREPARE,)),
    Moment(0.004, "client 0", What.ARRIVED, other="a", messages=(PREPARE,)),
    Moment(0.005, "client 0", What.ARRIVED, other="a", messages=(PREPARE,)),
    Moment(0.006, "client 0", What.DROPPED, other="b", text="received, dropped_replay"),
    Moment(0.010, "client 0", What.GRANTED, name="jobs", term=5, until=0.110),
    Moment(0.012, "a", What.FAULT, text="node pause for 0.02 s"),
    Moment(0.013, "client 0", What.SENT, other="b", messages=(ACCEPT,)),
    Moment(0.014, "a", What.RESUMED),
    Moment(0.060, "client 0", What.EXTENDED, name="jobs", term=5, until=0.160),
    Moment(0.080, "client 0", What.ENDED, name="jobs", term=5),
    Moment(0.080, "client 0", What.LEFT, name="jobs"),
    Moment(0.090, "client 0", What.GRANTED, name="mail", term=1, until=0.150),
    Moment(0.095, "client 1", What.STARTED),
    Moment(0.100, "client 1", What.GRANTED, name="jobs", term=6, until=0.300),
    Moment(0.120, "client 1", What.STOPPED, text="killed"),
    Moment(0.120, "client 1", What.ENDED, name="jobs", term=6),
    Moment(0.130, "client 1.1", What.STARTED),
    Moment(0.200, "client 1.1", What.GRANTED, name="jobs", term=7, until=0.400),
    Moment(0.210, "cell", What.HEALED),
]


def line_of(part: str, lines: list[str]) -> str:
    found = [line for line in lines if part in line]
    assert len(found) == 1, f"{part!r} in {found}"
    return found[0]


def test_the_tenures_are_those_of_the_run() -> None:
    assert tenures(STORY) == [
        HeldSpan("jobs", 5, "client 0", 0.010, 0.080, "released"),
        HeldSpan("mail", 1, "client 0", 0.090, 0.150, "ran out"),
        HeldSpan("jobs", 6, "client 1", 0.100, 0.120, "its process was killed"),
        HeldSpan("jobs", 7, "client 1.1", 0.200, 0.400, "the run ended"),
    ]


def test_why_a_tenure_ended_is_found_in_what_else_happened() -> None:
    lost = [
        Moment(0.1, "client 0", What.GRANTED, name="jobs", term=5, until=0.3),
        Moment(0.2, "client 0", What.ENDED, name="jobs", term=5),
        Moment(0.2, "client 0", What.NOTICE, text="Lost(ticket=1, reason=<LossReason.EXPIRED: 'expired'>)"),
    ]
    assert tenures(lost)[0].why == "lost: Lost(ticket=1, reason=expired)"
    handed_over = [lost[0], Moment(0.15, "client 0", What.DETACHED, name="jobs", term=5), lost[1]]
    assert tenures(handed_over)[0].why == "released or given up by handle"


def test_every_moment_has_its_line_with_columns_for_the_machines() -> None:
    lines = list(rendered(STORY))
    assert lines[: len(KEY)] == list(KEY)
    assert line_of("a b 0 1", lines).strip() == "ms  a b 0 1"
    sent = line_of("client 0 -> a, b: Prepare 'jobs' #2 at least 4", lines)
    assert sent.startswith("      3.000  | : >  ")
    assert line_of("client 0 -> c: Prepare", lines).endswith("(lost)")
    assert line_of("a <- client 0", lines[: lines.index(sent) + 3]).startswith("      4.000  < : .")
    assert "     5.000  < : .    a <- client 0: Prepare 'jobs' #2 at least 4 (again)" in line_of(
        "(again)", lines
    )
    assert line_of("b drops a datagram of client 0: dropped_replay", lines).startswith("      6.000  | ! .")
    assert line_of("client 0 holds 'jobs', token 5, until 110.000", lines).startswith("     10.000  | : +")
    assert line_of("client 0 -> b: Accept 'jobs' #2 term 5 no. 7", lines).startswith("     13.000  = : >")
    assert line_of("client 0 has renewed 'jobs', token 5, until 160.000", lines)[15] == ":"
    assert line_of("client 0 ends 'jobs', token 5", lines).startswith("     80.000  | : -")
    assert line_of("FAULT node pause for 0.02 s", lines).startswith("     12.000  * : #")
    assert line_of("cell heals", lines).startswith("    210.000  | : . #")  # mail ran out at 150 ms


def test_the_summary_shows_tenures_to_scale() -> None:
    lines = list(rendered(STORY))
    row = " ".join(line_of("its process was killed", lines).split())
    assert row == "'jobs' 6 client 1 100.000 120.000 its process was killed"
    bar = lines[-2]
    assert bar.endswith("  'jobs'")
    assert bar.startswith("....5")  # 10 of 210 ms on 96 columns
    assert "5.........66" in bar
    assert bar.count("7") == 5
    assert "!" not in bar


def test_two_holders_at_once_stand_out() -> None:
    both = [
        Moment(0.0, "client 0", What.GRANTED, name="jobs", term=5, until=0.6),
        Moment(0.4, "client 1", What.GRANTED, name="jobs", term=6, until=1.0),
        Moment(1.0, "cell", What.HEALED),
    ]
    bar = list(rendered(both))[-1]
    assert bar == "5" * 38 + "!" * 19 + "6" * 39 + "  'jobs'"


def test_one_name_alone_can_be_shown() -> None:
    other: tuple[Message, ...] = (OTHER_NAME,)
    mixed: tuple[Message, ...] = (OTHER_NAME, PROMISE)
    story = [
        *STORY,
        Moment(0.3, "client 0", What.SENT, other="a", messages=other),
        Moment(0.3, "client 0", What.SENT, other="b", messages=mixed),
        Moment(0.3, "client 0", What.NOTICE, text="Changed(name='mail')"),
        Moment(0.3, "client 0", What.NOTICE, text="Changed(name='jobs')"),
        Moment(0.3, "client 0", What.SENT, other="c", messages=(Renew(1, b"s" * 16, 9, (2,)),)),
    ]
    lines = list(rendered(story, "jobs"))
    assert not [line for line in lines if "mail" in line]
    line_of("client 0 -> b: Promise 'jobs' #2 term 5", lines)
    line_of("client 0 -> c: Renew no. 9 attempts (2,)", lines)
    line_of("Changed(name='jobs')", lines)
    line_of("FAULT", lines)
    assert [line for line in rendered(story, "mail") if "token 1" in line]


@pytest.mark.parametrize("seed", range(6))
def test_real_runs_fit_the_width_and_agree_with_the_checkers(seed: int) -> None:
    simulation = Simulation(seed, Scenario.drawn(seed), trace=True)
    outcome = simulation.run()
    assert simulation.timeline is not None
    for name in (None, "name 0"):
        lines = list(rendered(simulation.timeline, name))
        assert max(map(len, lines)) <= 120
        assert not [line for line in lines if line != line.rstrip()]
    held = tenures(simulation.timeline)
    assert len(held) == outcome.tenures
    for one in held:
        tenure = simulation.check.exclusion
        found = [t for t in tenure.tenures.values() if (t.name, t.token) == (one.name, one.token)]
        assert len(found) == 1
        assert one.since == found[0].since
        if one.why not in ("ran out", "the run ended"):
            assert one.until == pytest.approx(min(found[0].ended, found[0].until))


def test_a_run_without_tenures_says_so() -> None:
    assert list(rendered([]))[-1] == "nobody held anything"
