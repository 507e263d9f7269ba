"""The peers by their names on the command line."""

from __future__ import annotations

from benchmarks.peers.base import Peer
from benchmarks.peers.etcd import Etcd
from benchmarks.peers.ours import Embedded, InAsyncio, InThreads, Paxlock, WithLastWill, WithThrift
from benchmarks.peers.pysyncobj_locks import PySyncObj
from benchmarks.peers.redis_locks import Redis, Redlock
from benchmarks.peers.zookeeper import ZooKeeper

OURS = "paxlock"
PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        *(Paxlock(), InAsyncio(), InThreads(), Embedded(), WithLastWill(), WithThrift()),
        *(Etcd(), ZooKeeper(), Redlock(), Redis(), PySyncObj()),
    )
}
