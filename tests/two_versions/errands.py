"""Traffic by the command line: what one version has acquired, the other renews and releases by its handle."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from typing import Any

from paxlock.simulator.linearizability import OperationKind, OperationOutcome
from tests.chaos.cluster import boot_time
from tests.chaos.journal import Journal
from tests.two_versions.cell import Cell
from tests.two_versions.judge import FailedCall
from tests.two_versions.versions import Version

__all__ = ["Errands"]

PATIENCE = "20s"
FIRM_SHARE = 0.95  #: of a ttl from the call on: on so much a holder counts at least, whatever its clock does
NO_QUORUM, USAGE, OVERLAPPED = 69, 64, 1
#: What is asked besides, in turn. The later ones may not be known to the other version.
NEEDED = (("status",), ("ls",))
ASKED = (("stats",), ("audit",), ("explain", "alpha"))


class Errands:
    """A thread that runs ``paxlock`` commands of both versions by turns, until it is closed."""

    def __init__(self, cell: Cell, versions: tuple[Version, ...]) -> None:
        self.failed: list[FailedCall] = []
        self.counts: Counter[str] = Counter()
        self._cell = cell
        self._versions = versions
        self._journals = {
            version.name: Journal(cell.folder / f"cli-{version.name}.journal", f"cli-{version.name}")
            for version in versions
        }
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="errands", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def each_acquired(self) -> bool:
        """Whether the command of each version has acquired something by now, or a call has failed."""
        return bool(self.failed) or all(
            any(what.startswith(f"acquired by {version.name},") for what in tuple(self.counts))
            for version in self._versions
        )

    def close(self) -> None:
        """End after the present round."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        pairs = itertools.cycle(itertools.product(self._versions, self._versions))
        questions = itertools.cycle((*NEEDED, *ASKED))
        for (first, second), question in zip(pairs, questions, strict=False):
            if self._over.is_set():
                return
            self._round(self._cell.layout.names[0], first, second)
            self._ask(question, second)

    def _fail(self, version: Version, verb: str, name: str, code: int, said: str) -> None:
        call = FailedCall(f"cli-{version.name}", verb, name, f"exit code {code}: {said}", boot_time())
        self.failed.append(call)

    def _round(self, name: str, first: Version, second: Version) -> None:
        """``first`` acquires; ``second`` looks, renews and releases."""
        journal, ttl = self._journals[first.name], self._cell.layout.max_ttl
        call, called = journal.call(OperationKind.ACQUIRE, name), boot_time()
        how = ("--ttl", f"{ttl:g}s", "--wait", PATIENCE, "--json")
        code, told, said = self._cell.tell(first, "acquire", name, *how)
        if code:
            journal.answer(call, OperationOutcome.REFUSED)
            self._fail(first, "acquire", name, code, said)
            return
        facts = json.loads(told)
        term, handle = facts["term"], facts["handle"]
        journal.answer(call, OperationOutcome.OK, term=term, deadline=called + FIRM_SHARE * ttl)
        self._look(journal, name, term, second)
        called = boot_time()
        code, _, said = self._cell.tell(second, "renew", handle)
        if code:
            self._fail(second, "renew", name, code, said)
        else:
            journal.extended(name, term, ttl, called + FIRM_SHARE * ttl)
        call = journal.call(OperationKind.RELEASE, name, term)
        code, _, said = self._cell.tell(second, "release", handle)
        journal.answer(call, OperationOutcome.UNKNOWN if code else OperationOutcome.OK)
        if code:
            self._fail(second, "release", name, code, said)
        self.counts[f"acquired by {first.name}, renewed and released by {second.name}"] += 1

    def _look(self, journal: Journal, name: str, term: int, version: Version) -> None:
        """The other version must see who holds."""
        call = journal.call(OperationKind.POLL, name)
        code, told, said = self._cell.tell(version, "status", name, "--json")
        facts: dict[str, Any] = json.loads(told) if told else {"state": "unknown"}
        state, seen = facts["state"], facts.get("term", 0)
        known = code == 0 and state != "unknown"
        outcome = OperationOutcome.OK if known else OperationOutcome.UNKNOWN
        journal.answer(call, outcome, term=seen, state=state)
        if (state, seen) != ("led", term):
            self._fail(version, "status", name, code, f"{state}, token {seen}, not {term}; {said}")

    def _ask(self, question: tuple[str, ...], version: Version) -> None:
        """A question about the cell. One that the nodes do not know may stay without an answer."""
        code, told, said = self._cell.tell(version, *question)
        what = f"{question[0]} by {version.name}"
        if code == 0:
            self.counts[f"{what}: answered"] += 1
        elif question in ASKED and code == NO_QUORUM:
            self.counts[f"{what}: not answered"] += 1
        elif version.name == "old" and question == ("audit",) and code == OVERLAPPED:
            # Whether two held is judged by the holders' stamps; what the old one made of journals is history.
            self.counts[f"{what}: tells of an overlap"] += 1
        elif question in ASKED and code == USAGE:
            self.counts[f"{what}: no such command"] += 1
        else:
            self._fail(version, question[0], "", code, f"{said}\n{told}".strip())
