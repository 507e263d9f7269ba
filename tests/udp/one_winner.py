"""``python tests/udp/one_winner.py --rounds 500``: of several that try at one moment exactly one wins.

Three nodes and some callers as processes on loopback, with others that only burn time beside them. In every
round 2 to 20 callers try a free name at one moment; in half of the rounds each with a client that was opened
for it, as the command line does. Exactly one must get it, and every other one must be told "held", with the
winner's label.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from processes import Event, ProcessCell, Program, boot_time, process_cell

CALLERS_MAX = 20
PROCESSES = 7
SOON_S = 0.03
NAMES = 5


class Rounds:
    """Plays rounds at a cell that serves. ``wrong`` are sentences about those that ended otherwise."""

    def __init__(self, cell: ProcessCell, *, seed: int, processes: int = PROCESSES) -> None:
        self.wrong: list[str] = []
        self.longest = 0.0
        self.told = Counter[str]()
        self._rng = Random(seed)
        self._callers = [cell.program("try_program.py", str(cell.path)) for _ in range(processes)]
        for caller in self._callers:
            caller.expect("open")

    def play(self, number: int) -> None:
        """One round: all are told, then the winner releases."""
        count = self._rng.randint(2, CALLERS_MAX)
        labels: dict[Program, list[str]] = {}
        for at in range(count):
            labels.setdefault(self._callers[at % len(self._callers)], []).append(f"caller {number}.{at}")
        fresh = self._rng.random() < 0.5
        order = {"name": f"name {number % NAMES}", "fresh": fresh, "at": boot_time() + SOON_S}
        for program, names in labels.items():
            program.tell("try", labels=names, **order)
        events: list[Event] = []
        for program, names in labels.items():
            events += [program.expect("acquired", "not acquired") for _ in names]
            program.expect("told")
        self._judge(number, events)
        for program in labels:
            program.tell("leave")
        for program in labels:
            program.expect("left")
            program.seen.clear()

    def _judge(self, number: int, events: list[Event]) -> None:
        winners = [event["label"] for event in events if event["event"] == "acquired"]
        losers = [event for event in events if event["event"] == "not acquired"]
        self.told.update(event["reason"] for event in losers)
        self.longest = max(self.longest, max(e["at"] for e in events) - min(e["at"] for e in events))
        others = [e["sentence"] for e in losers if e["reason"] != "HELD" or [e["holder"]] != winners]
        if len(winners) != 1 or others:
            self.wrong.append(f"round {number}, {len(events)} callers: {winners} won; {others}")


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that do nothing but burn time."""
    burning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(processes)]
    try:
        yield
    finally:
        for process in burning:
            process.kill()
            process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Of several that try at one moment exactly one gets the name."
    )
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--load", type=int, default=2, help="processes that only burn time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, process_cell(Path(folder), max_ttl=30.0) as cell:
        rounds = Rounds(cell, seed=options.seed)
        with busy(options.load):
            for number in range(options.rounds):
                rounds.play(number)
    for sentence in rounds.wrong:
        print(f"FAILED  {sentence}")
    print(
        f"{options.rounds} rounds in {time.perf_counter() - began:.0f} s, {len(rounds.wrong)} went wrong; "
        f"losers were told {dict(rounds.told)}; {rounds.longest:.3f} s at most from the first to the last"
    )
    return 1 if rounds.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
