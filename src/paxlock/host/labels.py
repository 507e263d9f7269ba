"""Who a client is that did not say so."""

from __future__ import annotations

import os

__all__ = ["default_label"]


def default_label() -> str:
    """Who is this, for people: host and process."""
    return f"{os.uname().nodename}:{os.getpid()}"[:64]
