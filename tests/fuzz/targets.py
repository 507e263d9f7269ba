"""All targets by name."""

from __future__ import annotations

from .client_target import CLIENT
from .codec_target import CODEC, MESSAGES
from .config_target import CONFIG
from .engine import Target
from .files_target import FILES
from .node_target import ENDPOINT, NODE

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {
    target.name: target for target in (CODEC, MESSAGES, ENDPOINT, NODE, CLIENT, FILES, CONFIG)
}
