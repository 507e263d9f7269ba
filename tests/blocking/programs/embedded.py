"""``embedded.py CELLFILE NODE FOLDER [create] [fork]``: a leader without an event loop that is a node too."""

from __future__ import annotations

import os
import sys

from paxlock import Cell, ClosedError, NodeConfig
from paxlock.blocking import HeldLease, Node, open_node


def say(*words: object) -> None:
    print(*words, flush=True)


def main() -> None:
    path, node_id, folder, *rest = sys.argv[1:]
    config = NodeConfig(Cell.load(path), node_id, folder)
    with open_node(config, create="create" in rest) as node:
        node.wait_serving(60.0)
        say(node.node_id, node.mode.name, node.node_statistics().names >= 0)
        with node.campaign("primary", ttl=1.0) as held:
            say("leads", held.term)
            if "fork" in rest:
                fork(node, held)
            held.wait_lost()


def fork(node: Node, held: HeldLease) -> None:
    """The child unwinds all blocks, and ends as an interpreter does."""
    child = os.fork()
    if child == 0:
        told = 0
        for look in (held.check, node.node_statistics, lambda: node.mode, lambda: node.poll("primary")):
            try:
                look()
            except ClosedError:
                told += 1
        say("child was told", told)
        sys.exit(5)
    say("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    held.check()
    say("parent", node.poll("primary").term == held.term, node.mode.name)


main()
