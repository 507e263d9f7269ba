"""Which change is worth a line: once when it comes, once when it is over, however many datagrams bring it."""

from __future__ import annotations

from collections.abc import Iterable

from paxlock.core.messages import NodeMode
from paxlock.observe.noticing import (
    AGAIN_S,
    FLOOD_PER_S,
    FLOOD_QUIET_S,
    LATE_S,
    LINES_PER_MINUTE,
    PLACES_MAX,
    SILENT_S,
    SLOW_WRITE_S,
    Level,
    LogLine,
    Observer,
)

SERVING, RECOVERING = NodeMode.SERVING, NodeMode.RECOVERING


def events(lines: Iterable[LogLine]) -> list[str]:
    return [line.event for line in lines]


def serving_observer(now: float = 0.0) -> Observer:
    """Node a of three, all of which serve and are known to."""
    observer = Observer("a", ["a", "b", "c"], now)
    lines = observer.changed_mode(SERVING, now)
    for number, peer in enumerate(("b", "c"), start=1):
        observer.asked(peer, number, now)
        lines += observer.answered(peer, number, SERVING, now + 0.01)
    assert events(lines) == ["peer_up", "quorum", "peer_up"]
    return observer


def test_a_peer_that_goes_on_answering_is_told_once() -> None:
    observer = serving_observer()
    lines: list[LogLine] = []
    for second in range(1, 30):
        for peer in ("b", "c"):
            observer.asked(peer, 10 + second, second)
            lines += observer.answered(peer, 10 + second, SERVING, second + 0.002)
        lines += observer.tick(second + 0.5, late=0.0, dropped=0)
    assert lines == []
    assert observer.peers["b"].answered == observer.peers["b"].asked == 30
    assert abs(observer.peers["b"].round_trip - 0.002) < 1e-9


def test_a_peer_that_falls_silent_is_told_once_and_the_quorum_with_the_second() -> None:
    observer = serving_observer()
    observer.answered("c", 0, SERVING, 2.0)
    assert observer.tick(SILENT_S - 0.1, late=0.0, dropped=0) == []
    down = observer.tick(SILENT_S + 0.1, late=0.0, dropped=0)
    assert [(line.event, line.fields["peer"]) for line in down] == [("peer_down", "b")]
    assert observer.tick(SILENT_S + 1.1, late=0.0, dropped=0) == []
    lost = observer.tick(2.0 + SILENT_S, late=0.0, dropped=0)
    assert events(lost) == ["peer_down", "quorum_lost"]
    assert lost[1].level is Level.ERROR and "1 of 3" in lost[1].sentence
    assert observer.tick(60.0, late=0.0, dropped=0) == []
    back = observer.answered("b", 0, SERVING, 65.5)
    assert events(back) == ["peer_up", "quorum_regained"]
    assert "after 60.0 s" in back[1].sentence
    assert observer.answered("b", 0, SERVING, 65.6) == []


def test_a_node_that_sits_out_answers_and_counts_for_nothing() -> None:
    observer = serving_observer()
    assert events(observer.answered("b", 0, RECOVERING, 1.0)) == ["peer_mode"]
    lines = observer.answered("c", 0, RECOVERING, 1.1)
    assert events(lines) == ["peer_mode", "quorum_lost"]
    assert observer.peers["c"].up


def test_at_the_start_no_quorum_is_lost_before_the_others_could_say_that_they_serve() -> None:
    observer = Observer("a", ["a", "b", "c"], 0.0)
    observer.answered("b", 0, NodeMode.STARTING, 0.1)
    observer.answered("c", 0, NodeMode.STARTING, 0.1)
    assert observer.changed_mode(SERVING, 0.5) == []
    assert events(observer.answered("b", 0, SERVING, 1.0)) == ["peer_mode", "quorum"]


def test_a_node_that_starts_alone_says_so() -> None:
    observer = Observer("a", ["a", "b", "c"], 0.0)
    assert observer.changed_mode(RECOVERING, 0.1) == []
    lines = observer.tick(SILENT_S + 0.2, late=0.0, dropped=0)
    assert events(lines) == ["peer_down", "peer_down", "quorum_lost"]
    assert lines[2].sentence.startswith("no quorum: 0 of 3")


def test_a_cell_of_one_node_has_a_quorum_at_once() -> None:
    assert events(Observer("a", ["a"], 0.0).changed_mode(SERVING, 0.1)) == ["quorum"]


def test_an_answer_to_an_earlier_question_measures_no_round_trip() -> None:
    observer = serving_observer()
    observer.asked("b", 7, 1.0)
    observer.asked("b", 8, 2.0)
    before = observer.peers["b"]
    observer.answered("b", 7, SERVING, 2.1)
    assert observer.peers["b"].round_trip == before.round_trip
    assert observer.peers["b"].answered == before.answered
    observer.answered("b", 8, SERVING, 2.2)
    observer.answered("b", 8, SERVING, 9.9)
    assert observer.peers["b"].answered == before.answered + 1
    assert abs(observer.peers["b"].round_trip - 0.2) < 1e-9


def test_an_unknown_peer_is_nobody() -> None:
    observer = serving_observer()
    assert observer.answered("z", 1, SERVING, 1.0) == [] and "z" not in observer.peers


def test_whoever_did_not_listen_does_not_call_the_others_silent() -> None:
    observer = serving_observer()
    lines = observer.tick(11.0, late=10.0, dropped=0)
    assert events(lines) == ["late_turn"]
    assert observer.late_turns == 1 and observer.longest_late == 10.0


def test_lateness_and_slow_writes_are_told_once_a_minute_with_how_many() -> None:
    observer = serving_observer()
    assert observer.wrote(SLOW_WRITE_S - 0.01, 1.0) == []
    assert events(observer.wrote(SLOW_WRITE_S, 1.0)) == ["slow_disk"]
    assert observer.wrote(2.0, 2.0) == [] and observer.wrote(0.5, 3.0) == []
    lines = observer.wrote(0.3, 1.0 + AGAIN_S)
    assert lines[0].fields == {"seconds": 0.3, "times": 3, "worst_seconds": 2.0}
    assert (observer.writes, observer.slow_writes, observer.longest_write) == (5, 4, 2.0)
    assert events(observer.tick(100.0, late=LATE_S, dropped=0))[0] == "late_turn"
    assert "late_turn" not in events(observer.tick(101.0, late=LATE_S, dropped=0))


def test_the_first_datagram_of_an_address_is_told_and_no_other() -> None:
    observer = serving_observer()
    first = observer.refused("key", "10.0.0.9", 1.0)
    assert events(first) == ["dropped_key"] and "10.0.0.9" in first[0].sentence
    for number in range(1000):
        assert observer.refused("key", "10.0.0.9", 1.0 + number / 100) == []
    assert events(observer.refused("cell", "10.0.0.9", 2.0)) == ["dropped_cell"]


def test_a_wrong_secret_is_told_once_for_each_session_and_never_itself() -> None:
    observer = serving_observer()
    (line,) = observer.refused_handle(b"S" * 16, 1.0)
    assert (line.event, line.fields) == ("wrong_secret", {"session": (b"S" * 16).hex()})
    assert observer.refused_handle(b"S" * 16, 2.0) == []
    assert events(observer.refused_handle(b"T" * 16, 2.0)) == ["wrong_secret"]
    lines = [line for n in range(1000) for line in observer.refused_handle(n.to_bytes(16), 3.0)]
    assert len(lines) == LINES_PER_MINUTE - 2


def test_what_is_ordinary_on_a_network_is_only_counted() -> None:
    observer = serving_observer()
    for reason in ("replay", "malformed", "version", "echo", "empty", "short"):
        assert observer.refused(reason, "10.0.0.9", 1.0) == []


def test_a_hostile_sender_with_many_addresses_does_not_flood_the_log_nor_the_memory() -> None:
    observer = serving_observer()
    lines: list[LogLine] = []
    for number in range(20_000):
        now = number / 100  # 200 s
        lines += observer.refused("key", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", now)
        if number % 100 == 0:
            lines += [line for line in observer.tick(now, late=0.0, dropped=0) if "dropped" in line.event]
    assert len(lines) <= 4 * (LINES_PER_MINUTE + 1)
    told = sum(1 for line in lines if line.event == "dropped_key")
    more = 0
    for line in lines:
        if line.event == "dropped_more":
            number_of_them = line.fields["datagrams"]
            assert isinstance(number_of_them, int)
            more += number_of_them
    assert told + more + observer._untold.get("key", 0) == 20_000
    assert len(observer._places) <= PLACES_MAX


def test_a_flood_is_told_when_it_begins_and_when_it_is_over() -> None:
    observer = Observer("a", ["a"], 0.0)
    lines: list[LogLine] = []
    dropped = 0
    for second in range(1, 60):
        if 5 <= second < 20:
            dropped += 10 * FLOOD_PER_S
        lines += observer.tick(float(second), late=0.0, dropped=dropped)
    found = [line for line in lines if line.event.startswith("flood")]
    assert events(found) == ["flood", "flood_over"]
    assert found[0].fields == {"per_second": 10 * FLOOD_PER_S}
    assert found[1].fields["datagrams"] == 15 * 10 * FLOOD_PER_S
    assert observer.floods == 1


def test_a_flood_that_comes_in_bursts_is_one_flood() -> None:
    observer = Observer("a", ["a"], 0.0)
    lines: list[LogLine] = []
    dropped = 0
    for second in range(1, 60):
        dropped += 2 * FLOOD_PER_S if second % int(FLOOD_QUIET_S / 2) == 0 else 0
        lines += observer.tick(float(second), late=0.0, dropped=dropped)
    assert events(line for line in lines if line.event.startswith("flood")) == ["flood"]
