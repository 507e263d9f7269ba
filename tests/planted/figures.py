"""Figures of scenarios in which planted bugs show themselves soon."""

from __future__ import annotations

from typing import Any

from paxlock.core.durable import Durability

__all__ = [
    "ADMINISTERED",
    "CALM",
    "CROWD",
    "CUT_OFF",
    "KILLS",
    "LEAVERS",
    "PAUSES",
    "PUBLISHED",
    "RESTARTS",
    "ROLLING",
    "ROTATION",
    "SPLIT",
    "STANDING",
    "TWINS",
    "WILLS",
]

CROWD: dict[str, Any] = {"nodes": 3, "clients": 5, "names": 1, "think": 0.02, "loss": 0.1, "late": 0.1}
RESTARTS: dict[str, Any] = {
    "nodes": 3, "names": 1, "clients": 4, "think": 0.02, "crashes": 8.0, "clean_stops": 0.0,
    "away_max": 0.03, "hold_max": 0.5, "ceiling_step": 4, "persist_max": 0.004,
}  # fmt: skip
KILLS: dict[str, Any] = {**RESTARTS, "crashes": 0.0, "kills": 12.0, "durability": Durability.RECORD}
CALM: dict[str, Any] = {
    "nodes": 3, "names": 1, "clients": 4, "think": 0.02, "loss": 0.0, "crashes": 0.0, "clean_stops": 0.0,
    "disk_losses": 0.0, "node_pauses": 0.0, "client_crashes": 0.0, "partitions": 0.0, "detached": 0.0,
    "cancelled": 0.0, "durability": Durability.RECORD,
}  # fmt: skip
PAUSES: dict[str, Any] = {
    **CALM, "client_pauses": 10.0, "away_max": 0.6, "hold_max": 0.5, "max_ttl_ms": 300,
    "drift_ppm": 100_000, "hold_for_ever": 0.5, "faulty_for": 1.0,
}  # fmt: skip
CUT_OFF: dict[str, Any] = {
    **CALM, "nodes": 5, "clients": 6, "wishes_max": 1, "once": 0.0, "limited": 0.0, "client_pauses": 0.0,
    "partitions": 3.0, "away_max": 0.6, "hold_for_ever": 0.8, "max_ttl_ms": 300, "ttl_min_ms": 250,
    "faulty_for": 1.5, "late": 0.25, "late_max": 0.3, "delay_max": 0.0008, "grace_ms": 10,
}  # fmt: skip
SPLIT: dict[str, Any] = {
    **CALM, "clients": 5, "loss": 0.4, "client_crashes": 8.0, "partitions": 8.0, "away_max": 0.2,
    "max_ttl_ms": 250, "faulty_for": 1.5, "ceiling_step": 1000,
}  # fmt: skip
ROLLING: dict[str, Any] = {
    **CALM, "clients": 3, "once": 0.0, "limited": 0.0, "crashes": 2.5, "away_max": 0.05, "hold_for_ever": 1.0,
    "max_ttl_ms": 250, "ttl_min_ms": 250, "faulty_for": 3.0, "late": 0.0, "heavy_tail": 0.0, "reordered": 0.0,
    "damaged": 0.0, "delay_max": 0.0008, "grace_ms": 10, "persist_max": 0.004, "slow_disks": 0.0,
    "disk_failures": 0.0, "node_suspends": 0.0, "client_pauses": 0.0, "client_suspends": 0.0,
    "one_way_splits": 0.0, "broken_links": 0.0, "holders_cut_off": 0.0,
}  # fmt: skip
LEAVERS: dict[str, Any] = {"cancelled": 0.6, "late": 0.3, "repeated": 0.3, "names": 1, "late_max": 0.1}
STANDING: dict[str, Any] = {
    "nodes": 3, "names": 1, "clients": 5, "once": 0.0, "loss": 0.2, "late": 0.2, "late_max": 0.2,
    "client_pauses": 5.0, "max_ttl_ms": 400, "ttls": 3, "faulty_for": 1.0, "drift_ppm": 10_000,
}  # fmt: skip
TWINS: dict[str, Any] = {
    **CALM, "clients": 6, "twins": 6.0, "max_ttl_ms": 250, "ttl_min_ms": 200, "faulty_for": 2.0,
    "client_crashes": 3.0, "partitions": 3.0, "holders_cut_off": 0.0, "away_max": 0.2, "hold_for_ever": 0.5,
    "hold_max": 0.5, "once": 0.0, "limited": 0.0, "disk_failures": 0.0, "clean_stops": 0.0,
}  # fmt: skip
ROTATION: dict[str, Any] = {
    **CALM, "rotations": 1, "rotation_step": 0.03, "key_look": 0.05, "hold_max": 0.5, "hold_for_ever": 0.3,
    "wishes_max": 2, "faulty_for": 0.6,
}  # fmt: skip
WILLS: dict[str, Any] = {
    **CALM, "clients": 4, "wishes_max": 2, "wills": 1.0, "client_crashes": 6.0, "daemons": 4.0,
    "forks": 0.0, "client_pauses": 2.0, "hold_for_ever": 0.6, "hold_max": 0.5, "max_ttl_ms": 400, "once": 0.0,
    "limited": 0.0, "faulty_for": 1.5, "late": 0.0, "away_max": 0.3, "durability": Durability.RECORD,
}  # fmt: skip
ADMINISTERED: dict[str, Any] = {
    **CALM, "revokes": 1.0, "publishes": 0.3, "hold_for_ever": 1.0, "wishes_max": 2, "max_ttl_ms": 400,
    "ttl_min_ms": 250, "faulty_for": 2.0, "once": 0.0, "limited": 0.0, "watchers": 2,
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    **CALM, "publishes": 1.0, "hold_for_ever": 1.0, "max_ttl_ms": 400, "ttl_min_ms": 300, "faulty_for": 1.5,
    "loss": 0.2, "late": 0.3, "late_max": 0.1, "repeated": 0.3, "polls": 0.5, "watchers": 2, "once": 0.0,
    "limited": 0.0, "client_pauses": 0.0,
}  # fmt: skip
