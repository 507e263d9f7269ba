"""The metrics of docs/metrics.md by OpenTelemetry (extra ``otel``), for programs that export by it.

    paxlock.opentelemetry.instrument(node)

They are those of `paxlock.metrics.Collector`, under the same names, without the ``_total`` that Prometheus
adds. What is told is read when it is exported; nothing is kept here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider
from prometheus_client.core import Metric

from paxlock.errors import ClosedError
from paxlock.metrics import ClientSource, Collector, NodeSource

__all__ = ["instrument"]

METER = "paxlock"
TOGETHER_S = 0.2  #: the instruments of one export are asked one after the other: they are told of one moment


def instrument(source: NodeSource | ClientSource, meter_provider: MeterProvider | None = None) -> None:
    """Export what there is to know of an open node or client, by this provider or the global one.

    A source that is closed later gives nothing any more. Raises ClosedError for one that is not open.
    """
    snapshot = _Snapshot(Collector(source))
    families = snapshot.families()
    if not families:
        raise ClosedError("instrument() needs a node or client that is open")
    meter = (meter_provider or get_meter_provider()).get_meter(METER)
    for name, family in families.items():
        callbacks = [_observer(snapshot, name)]
        if family.type == "counter":
            meter.create_observable_counter(name, callbacks, description=family.documentation)
        else:
            meter.create_observable_gauge(name, callbacks, description=family.documentation)


class _Snapshot:
    """All metrics of one moment, for all instruments of an export. Thread-safe."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._lock = threading.Lock()
        self._families: dict[str, Metric] = {}
        self._taken = -TOGETHER_S

    def families(self) -> dict[str, Metric]:
        with self._lock:
            now = time.monotonic()
            if now - self._taken >= TOGETHER_S:
                self._families = {family.name: family for family in self._collector.collect()}
                self._taken = now
            return self._families


def _observer(snapshot: _Snapshot, name: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        family = snapshot.families().get(name)
        samples = family.samples if family is not None else []
        return [Observation(sample.value, dict(sample.labels)) for sample in samples]

    return observe
