"""Programs in which paxlock cannot run, or only in part, by what their host does to threads and forks."""

from __future__ import annotations

import os
import sys
import warnings
from typing import Any

from paxlock.errors import ConfigError
from paxlock.host.native import has_patched

__all__ = ["check_host", "check_host_of_node"]


def check_host() -> None:
    """Raise ConfigError where no thread can keep a lease, and warn where it can only at times."""
    patcher: Any = sys.modules.get("eventlet.patcher")
    if patcher is not None and (patcher.is_monkey_patched("thread") or patcher.is_monkey_patched("socket")):
        raise ConfigError(
            "eventlet has patched this program, and no lease can be kept in it: run the work under the lock "
            "as a process of its own (paxlock run), or take gevent, threads or asyncio"
        )
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None and hasattr(uwsgi, "masterpid"):
        _check_uwsgi(uwsgi)


def check_host_of_node() -> None:
    """Raise ConfigError in a program in which trio, and so a node, cannot run."""
    check_host()
    if has_patched("select"):
        raise ConfigError(
            "gevent has patched this program, and no node can run in it: run the node as a process of its "
            "own (paxlock serve), and open a client here"
        )


def _check_uwsgi(uwsgi: Any) -> None:
    """The module that uWSGI gives to its programs."""
    master: int = uwsgi.masterpid()
    if uwsgi.worker_id() == 0 and (master == os.getpid() or (master == 0 and uwsgi.numproc > 1)):
        # It forks without having Python's own lock: a worker waits for ever for a thread that had it then.
        raise ConfigError(
            "uWSGI has not forked its workers yet, and a thread of the client could leave them hanging for "
            "ever: use the client in the workers only (in requests, or from uwsgidecorators.postfork), or "
            "start uWSGI with --lazy-apps"
        )
    if not uwsgi.has_threads:
        warnings.warn(
            "uWSGI lets no thread run between two requests, so a lease that is held for longer than one is "
            "lost: start uWSGI with --enable-threads",
            RuntimeWarning,
            stacklevel=4,
        )
