"""``python -m tests.pods``: what happens to a cell in Kubernetes or Compose, played with network namespaces.

Pods that start empty at once, that all come back with other addresses, that lose one, two and all
volumes, and one that is started elsewhere while its old process lives. Needs root. Prints a report; ends with
1 where a promise was not kept, and with 77 where there are no network namespaces.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.pods.town import MAX_TTL_S, NODES, Town, until

NOT_HERE = 77  #: the exit code where this machine has no network namespaces for us
LAST_TERMS: list[int] = []


def token(town: Town) -> int:
    """Acquire and release a name: its fencing token, which must be above all before it."""
    code, handle = town.client.tell("acquire", "work", "--ttl", f"{MAX_TTL_S:.0f}s", "--wait", "30s")
    assert code == 0, town.client.said()
    term = int(town.status("work")["term"])
    assert term > max(LAST_TERMS, default=0), f"token {term} after {LAST_TERMS}"
    LAST_TERMS.append(term)
    assert town.client.tell("release", handle.strip())[0] == 0
    return term


def kill(town: Town, *node_ids: str) -> dict[str, Path]:
    """These pods are gone; their volumes stay."""
    for node_id in node_ids:
        town.nodes[node_id].kill()
    return {node_id: town.nodes[node_id].volume for node_id in node_ids}


def all_start_empty(town: Town) -> str:
    town.start(*NODES)
    took = town.wait_serving()
    return f"all three serve after {took:.1f} s, token {token(town)}"


def all_come_back_elsewhere(town: Town) -> str:
    holder = town.client.start("run", "held", "--ttl", f"{MAX_TTL_S:.0f}s", "--", "sleep", "600")
    until(lambda: town.status("held")["state"] == "led", "the name is held")
    before = town.status("held")["term"]
    town.start(*NODES, volumes=kill(town, *NODES))
    took = town.wait_serving()
    until(lambda: town.status("held")["state"] != "unknown", "a quorum answers")
    found = town.status("held")
    kept = (found["state"], found.get("term")) == ("led", before)
    if holder.poll() is None:
        assert kept, f"{found} after term {before}, and the holder works on"
        holder.terminate()
    holder.wait()
    fate = "its lease outlived that" if kept else "it was stopped in time"
    return f"killed, and back with other addresses after {took:.1f} s; a holder: {fate}; token {token(town)}"


def volumes_are_lost(count: int) -> Callable[[Town], str]:
    def play(town: Town) -> str:
        lost = NODES[:count]
        kill(town, *lost)
        town.start(*lost)
        took = town.wait_serving()
        return f"{count} of 3 lost; all serve after {took:.1f} s, token {token(town)}"

    return play


def the_old_process_lives(town: Town) -> str:
    old = town.nodes[NODES[0]]
    holder = town.client.start("run", "kept", "--ttl", f"{MAX_TTL_S:.0f}s", "--", "sleep", "600")
    until(lambda: town.status("kept")["state"] == "led", "the name is held")
    before = town.status("kept")["term"]
    town.start(NODES[0])
    took = town.wait_serving()
    found = town.status("kept")
    assert (found["state"], found.get("term")) == ("led", before), found
    assert holder.poll() is None, "the holder lost its lease"
    holder.terminate()
    holder.wait()
    fate = "still runs" if old.process.poll() is None else f"has stopped with {old.process.returncode}"
    return f"the new one serves after {took:.1f} s; the old one {fate}; a holder goes on; token {token(town)}"


STORIES: dict[str, Callable[[Town], str]] = {
    "three pods start empty at once": all_start_empty,
    "all come back with other addresses": all_come_back_elsewhere,
    "one volume is lost": volumes_are_lost(1),
    "two volumes are lost": volumes_are_lost(2),
    "all volumes are lost": volumes_are_lost(3),
    "a pod is started elsewhere, and its old process lives": the_old_process_lives,
}


def main() -> int:
    failed = 0
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="paxlock-pods-"))
        try:
            town = stack.enter_context(Town(Path(folder)))
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"there are no network namespaces to be had here: {error}", file=sys.stderr)
            return NOT_HERE
        for what, play in STORIES.items():
            try:
                print(f"{what}: {play(town)}", flush=True)
            except AssertionError as failure:
                failed += 1
                print(f"{what}: FAILED: {failure}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
