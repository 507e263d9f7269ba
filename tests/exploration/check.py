"""The spaces that are explored to their end, and what must come out: ``python -m tests.exploration --check``.

The default test suite explores the quick ones.
"""

from __future__ import annotations

import attrs

from tests.exploration import explore
from tests.exploration.bounds import BOUNDS, LIVES_BOUNDS, LivesBounds
from tests.exploration.cell import NODES
from tests.exploration.classes import Classes
from tests.exploration.lives import LivesExploration, explore_lives
from tests.exploration.lives_cell import LivesCell
from tests.exploration.lives_normal import NormalForm
from tests.exploration.search import Exploration, cell_of

__all__ = ["COMPARED", "SPACES", "Space", "check", "classes_hide", "dropping_hides", "normal_forms_hide"]


@attrs.frozen
class Space:
    """A space, searched state by state (``whole``) or by classes of columns, or by normal forms where there
    are two lives of one node, and how many states it has.

    Fewer would mean that something is not explored any more; where the rules change, so does this.
    """

    bounds: str
    states: int
    whole: bool = False
    quick: bool = False

    def __str__(self) -> str:
        reduced = "normal forms" if self.bounds in LIVES_BOUNDS else "classes"
        return f"{self.bounds}, {'every state' if self.whole else reduced}"

    def fault(self, minutes: float = 10.0) -> str:
        """Explore it: what is wrong with what came out, or ""."""
        if self.bounds in LIVES_BOUNDS:
            lives = explore_lives(LIVES_BOUNDS[self.bounds], minutes=minutes, whole=self.whole)
            exhausted, violation, states = lives.exhausted, lives.violation, lives.states
        else:
            report = explore(BOUNDS[self.bounds], minutes=minutes, condensed=not self.whole)
            exhausted, violation, states = report.exhausted, report.violation, report.states
        if violation:
            return f"VIOLATION: {violation}"
        if not exhausted:
            return f"not exhausted in {minutes} minutes"
        return "" if states == self.states else f"{states} states, and not {self.states}"


SPACES = (
    Space("small", 8_605, whole=True, quick=True),
    Space("commit", 8_605, whole=True, quick=True),
    Space("crash", 58_924, whole=True),
    Space("kill", 324_279, whole=True),
    Space("renew", 132_729, whole=True),
    Space("standing", 11_156, whole=True, quick=True),
    Space("standing-crash", 47_556, whole=True),
    Space("small", 596, quick=True),
    Space("commit", 596, quick=True),
    Space("crash", 596, quick=True),
    Space("kill", 1_372, quick=True),
    Space("refusals", 4_206),
    Space("forced", 609, quick=True),
    Space("forced-kill", 1_415, quick=True),
    Space("forced-renew", 10_341),
    Space("handles", 624, quick=True),
    Space("handles-kill", 3_408, quick=True),
    Space("handles-standing", 476, quick=True),
    Space("handles-renew", 3_498),
    Space("renew", 3_470, quick=True),
    Space("renew-crash", 7_074),
    Space("renew-kill", 25_959),
    Space("standing", 338, quick=True),
    Space("standing-crash", 338, quick=True),
    Space("standing-kill", 338, quick=True),
    Space("standing2", 19_851),
    Space("thrifty", 1_755, whole=True, quick=True),
    Space("thrifty-hand-off", 24_878, whole=True),
    Space("thrifty", 144, quick=True),
    Space("thrifty2", 15_125),
    Space("thrifty2-crash", 26_491),
    Space("thrifty2-kill", 15_125, quick=True),
    Space("thrifty-renew", 15_556),
    Space("thrifty-hand-off", 2_068, quick=True),
    Space("hand-off", 18_053, quick=True),
    Space("hand-off-crash", 22_138),
    Space("lives", 843, quick=True),
    Space("lives-tokens", 919, quick=True),
    Space("lives-late", 919, quick=True),
    Space("lives-renew", 8_904),
)

# Where the search with less is compared with the search of more, among the spaces that take longer.
COMPARED = {
    "dropping": ("crash", "standing"),
    "classes": ("crash", "renew", "standing-crash"),
    "normal forms": ("lives", "lives-tokens"),
}
EVERY_STATE = {"lives": 68_106, "lives-tokens": 102_034}  #: what there is without normal forms


def dropping_hides(name: str) -> str:
    """What differs if every message is kept; "" where the same situations of nodes and sessions are met."""
    reduced, whole = Exploration(BOUNDS[name]), Exploration(BOUNDS[name], reduced=False)
    one, other = reduced.run(minutes=10.0), whole.run(minutes=10.0)
    if not (one.exhausted and other.exhausted) or one.violation or other.violation:
        return f"{one}; {other}"
    if other.states <= one.states:
        return "nothing was dropped"
    return "" if reduced.met() == whole.met() else "other situations are met"


def classes_hide(name: str) -> str:
    """What differs between classes and every state; "" where the same situations of sessions are met,
    together, and a valid lease on as few nodes.
    """
    classes, whole = Exploration(BOUNDS[name], condensed=True), Exploration(BOUNDS[name])
    one, other = classes.run(minutes=10.0), whole.run(minutes=10.0)
    if not (one.exhausted and other.exhausted):
        return f"{one}; {other}"
    if one.states >= other.states:
        return "no states are one"
    assert isinstance(classes.columns, Classes)
    fold = classes.columns.fold
    same = classes.sessions.commons == whole.sessions.commons and _told_of(classes, fold) == _told_of(
        whole, fold
    )
    return "" if same else "other situations are met"


def _told_of(exploration: Exploration, fold: dict[int, int]) -> dict[object, int]:
    """Both sessions with what they keep of the nodes, in every state met, and how few nodes hold the lease
    that is valid; the two names of each as one, and sessions that are over by their tokens only.
    """
    sessions, columns = exploration.sessions, exploration.columns
    found: dict[object, int] = {}
    for state in exploration._parents:
        *commons, x, y, z = cell_of(state)
        views = [(columns.views[0][column], columns.views[1][column]) for column in (x, y, z)]
        c0, c1 = (fold.get(common, common) for common in commons)
        key = min((c0, c1, sorted(views)), (c1, c0, sorted((view1, view0) for view0, view1 in views)))
        holding = len(NODES)
        for session, common in enumerate(commons):
            if sessions.valid[common]:
                held = [columns.holder[column] for column in (x, y, z)]
                holding = sum(
                    1 for one in held if one and one[0] == session and one[1] >= sessions.valid[common]
                )
        found[repr(key)] = min(found.get(repr(key), holding), holding)
    return found


def normal_forms_hide(bounds: LivesBounds) -> str:
    """What differs between normal forms and every state; "" where the same situations are met, and every
    state has its like among the normal forms.
    """
    expected = EVERY_STATE.get(bounds.name)
    cell = LivesCell(bounds)
    form = NormalForm(cell)
    reduced, whole = LivesExploration(cell, form), LivesExploration(cell)
    one, other = reduced.run(minutes=10.0), whole.run(minutes=10.0)
    if not (one.exhausted and other.exhausted):
        return f"{one}; {other}"
    if one.states >= other.states:
        return "no states are one"
    if expected is not None and other.states != expected:
        return f"{other.states} states, and not {expected}"
    if form.seen(reduced.came) != form.seen(whole.came):
        return "other situations are met"
    missed = reduced.missed(whole.came)
    return "" if missed is None else f"nothing is met like {missed}"


def check() -> int:
    """Explore every space of the table, and compare searches: how many are not as they must be."""
    wrong = 0
    for space in SPACES:
        wrong += _told(str(space), f"{space.states} states", space.fault())
    for name in COMPARED["dropping"]:
        wrong += _told(f"{name}, every message kept", "the same situations", dropping_hides(name))
    for name in COMPARED["classes"]:
        wrong += _told(f"{name}, classes and every state", "the same situations", classes_hide(name))
    for name in COMPARED["normal forms"]:
        wrong += _told(
            f"{name}, normal forms and every state",
            "the same situations",
            normal_forms_hide(LIVES_BOUNDS[name]),
        )
    return wrong


def _told(what: str, right: str, fault: str) -> bool:
    print(f"{what}: {fault or right}", flush=True)
    return bool(fault)
