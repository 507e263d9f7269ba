"""One play from the first process to the verdict."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import attrs

from paxlock.blocking import open_client
from tests.chaos.cluster import boot_time
from tests.two_versions.cell import Cell, Failed, Layout, Refused
from tests.two_versions.errands import Errands
from tests.two_versions.judge import Phase, Record, report, violations
from tests.two_versions.versions import Version, installed, this_tree

__all__ = ["Pace", "play", "play_versions"]

TRACE = "Traceback"
VERSION_WORD = "version"
Say = Callable[[str], None]


@attrs.frozen
class Pace:
    """For how long the traffic is looked at, in seconds: after a restart, and while all nodes are alike."""

    between: float
    whole: float
    killed: bool  #: both ways once more, with nodes that are killed


class Play:
    """What is done with the cell, and what was noted of it."""

    def __init__(self, cell: Cell, old: Version, new: Version, pace: Pace, say: Say) -> None:
        self.cell, self.old, self.new, self.pace, self.say = cell, old, new, pace, say
        self.errands = Errands(cell, (old, new))
        self.phases: list[Phase] = []
        self.dropped: Counter[str] = Counter()
        self.troubles: list[str] = []
        self.refusal = ""
        self.ended = float("inf")

    def run(self) -> None:
        """All parts; what goes wrong in them is a trouble."""
        try:
            self.cell.first_start(self.old)
            self.cell.start_clients((self.old, self.new))
            self.errands.start()
            self.cell.wait_held()
            self._whole("all nodes old")
            for kill in (False, True) if self.pace.killed else (False,):
                self._roll(self.new, kill=kill)
                self._whole("all nodes new")
                self._roll(self.old, kill=kill)
                if self.refusal:
                    break
                self._whole("all nodes old again")
            self.cell.wait("both command lines have acquired something", self.errands.each_acquired)
            self.ended = boot_time()
            for node_id in self.cell.nodes:
                self._note_dropped(node_id)
            self.errands.close()
            self.ended = boot_time()
            self.cell.finish()
        except (Failed, Refused) as failure:
            self.troubles.append(str(failure))
        finally:
            self.ended = min(self.ended, boot_time())
            self.errands.close()

    @contextmanager
    def _phase(self, what: str) -> Iterator[None]:
        self.say(what)
        began = boot_time()
        yield
        if early := self.cell.early_ends():
            raise Failed("; ".join(early))
        self.phases.append(Phase(what, began, boot_time()))

    def _whole(self, what: str) -> None:
        with self._phase(what):
            self.cell.look_on(self.pace.whole)

    def _roll(self, version: Version, *, kill: bool) -> None:
        """Node after node: stop it, start the other version, and look at the traffic for a while."""
        way = "upgrade" if version is self.new else "downgrade"
        with self._phase(f"rolling {way}, {'nodes killed' if kill else 'nodes stopped'}"):
            for node_id in self.cell.layout.node_ids:
                self._note_dropped(node_id)
                try:
                    self.cell.replace(node_id, version, kill=kill)
                except Refused as refused:
                    if version is self.new:
                        raise Failed(f"the new version refuses the store of the old one: {refused}") from None
                    self._refused(node_id, str(refused))
                    self.cell.look_on(self.pace.between)
                    return
                self.say(f"  {self.cell.started[-1]}")
                self.cell.look_on(self.pace.between)

    def _refused(self, node_id: str, said: str) -> None:
        """The old version does not take the newer store: it must say why, and leave the store as it is."""
        self.refusal = said.splitlines()[-1] if said else ""
        self.say(f"  {node_id}: the old version refuses: {self.refusal}")
        if TRACE in said or VERSION_WORD not in self.refusal:
            self.troubles.append(f"the refusal of the newer store does not say why: {said!r}")
        if self.cell.content(node_id) != self.cell.left:
            self.troubles.append(f"the old version has changed the store of {node_id} that it refuses")
        self.cell.go_on(node_id, self.new)
        if self.cell.started[-1].sat_out:
            self.troubles.append(f"{node_id} sat out after the old version had refused its store")
        self.say(f"  {self.cell.started[-1]}")

    def _note_dropped(self, node_id: str) -> None:
        """What a node has dropped in the life that ends now, as far as its version tells."""
        with open_client(self.cell.file, label="play") as client:
            told = next(each for each in client.counters() if each.node_id == node_id)
        if not told.answered:
            self.dropped["lives of nodes that told nothing"] += 1
        for key, count in told.counters.items():
            if key.startswith("dropped."):
                self.dropped[key] += count

    def lines(self) -> list[str]:
        """What the report is to tell of the play besides the traffic."""
        told = ["starts of nodes"]
        told += [f"    {started}" for started in self.cell.started]
        if self.refusal:
            told.append(f"no way back: {self.refusal}")
        told.append("command line")
        told += [f"    {what}: {count}" for what, count in sorted(self.errands.counts.items())]
        dropped = ", ".join(f"{count} {what}" for what, count in sorted(self.dropped.items()))
        told.append(f"dropped by nodes: {dropped or 'nothing'}")
        return told


def play(wheel: Path, layout: Layout, pace: Pace, say: Say) -> bool:
    """Play all of it with this wheel as the old version, and say a report; True where nothing was wrong.

    Then the folder with all that was noted is removed.
    """
    folder = Path(tempfile.mkdtemp(prefix="paxlock-versions-"))
    try:
        old, new = installed(wheel, folder / "venv"), this_tree()
        say(f"old: {old.number()}, {wheel.name}; new: {new.number()}, this tree")
        notes = folder / "play"
        notes.mkdir()
        found, text = play_versions(old, new, notes, layout, pace, say)
    except BaseException:
        shutil.rmtree(folder)
        raise
    say(text)
    shutil.rmtree(folder / "venv")
    if found:
        say(f"everything that was noted is in {notes}")
    else:
        shutil.rmtree(folder)
    return not found


def play_versions(
    old: Version, new: Version, folder: Path, layout: Layout, pace: Pace, say: Say
) -> tuple[list[str], str]:
    """Play all of it in an empty folder: the violations, and the report."""
    cell = Cell(layout, folder, old)
    with closing(cell):
        played = Play(cell, old, new, pace, say)
        played.run()
    record = Record.read(
        folder, played.phases, kept=cell.kept, ended=played.ended, failed=played.errands.failed
    )
    nothing = folder / "nothing"
    nothing.touch()
    found = violations(record, cell.all, played.troubles, nothing)
    return found, report(record, found, played.lines())
