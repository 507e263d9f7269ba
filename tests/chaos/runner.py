"""One run from the first process to the verdict."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .cluster import Child, Cluster, Failed, Layout, boot_time
from .journal import History
from .nemesis import FaultKind, Nemesis, Pulse
from .report import Report, made
from .verdict import judged, recoveries

__all__ = ["run"]

MEASURE_S = 1.0
LOADED_S = 5.0  #: after so long a process has loaded what it needs: growth counts from here
Say = Callable[[str], None]


class _Scales:
    """Looks at the memory of all processes, once a second."""

    def __init__(self, children: list[Child]) -> None:
        self._children = children
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scales", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._over.wait(MEASURE_S):
            for child in list(self._children):
                if child.running and boot_time() > child.started + LOADED_S:
                    child.measure()

    def close(self) -> None:
        self._over.set()
        self._thread.join()


def run(
    layout: Layout, *, seed: int, seconds: float, say: Say, kinds: tuple[FaultKind, ...] = ()
) -> tuple[Report, Path]:
    """Play episodes for so long, end everything, and judge. Without violations the folder is removed.

    With ``kinds``, every episode has these faults. Interrupted, it still ends every process.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"paxlock-chaos-{seed}-"))
    say(f"seed {seed}, {layout.nodes} nodes, {seconds:g} s, in {folder}")
    try:
        with ExitStack() as stack:
            cluster = Cluster(layout, folder, seed)
            stack.callback(cluster.close)
            pulse = Pulse()
            stack.callback(pulse.close)
            stack.callback(_Scales(cluster.all).close)
            if layout.skewed and not cluster.skewed:
                say("libfaketime is not installed (Debian: apt-get install faketime): all clocks run alike")
            nemesis = Nemesis(cluster, seed, pulse)
            began = boot_time()
            troubles = _play(cluster, nemesis, seconds, say, kinds)
            finished = boot_time()
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        raise
    history = History.read(cluster.journals())
    (folder / "history.jsonl").write_text("".join(f"{op.to_json()}\n" for op in history.operations))
    (folder / "episodes.jsonl").write_text("".join(f"{episode.to_json()}\n" for episode in nemesis.episodes))
    found = list(recoveries(history, nemesis.episodes, layout, finished))
    violations = judged(history, cluster.all, cluster.guard.path, found, troubles)
    report = made(
        cluster, nemesis, history, found, seed=seed, seconds=finished - began, violations=violations
    )
    (folder / "report.json").write_text(report.to_json())
    if not violations:
        shutil.rmtree(folder)
    return report, folder


def _play(
    cluster: Cluster, nemesis: Nemesis, seconds: float, say: Say, kinds: tuple[FaultKind, ...]
) -> list[str]:
    """Episodes for so long once all has started, or until something has gone wrong that must not: gives what
    it was.
    """
    troubles = []
    try:
        cluster.start()
        ends = boot_time() + seconds
        while boot_time() < ends and not cluster.unexpected_ends():
            episode = nemesis.episode(kinds)
            what = ", ".join(kind.value for kind in episode.kinds)
            took = episode.calm - episode.healed
            say(f"{max(0.0, ends - boot_time()):6.1f} s left: {what}; all names back {took:.2f} s later")
        cluster.finish()
    except Failed as failure:
        troubles.append(str(failure))
    return troubles + cluster.unexpected_ends()
