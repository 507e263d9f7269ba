"""The same metrics by OpenTelemetry, of a client."""

from __future__ import annotations

import pytest
import trio

import paxlock
from paxlock.errors import ClosedError

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric, NumberDataPoint

from paxlock.opentelemetry import TOGETHER_S, instrument


def told(reader: InMemoryMetricReader) -> dict[str, Metric]:
    """What an export has."""
    data = reader.get_metrics_data()
    if data is None:
        return {}
    return {
        metric.name: metric
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def points(metric: Metric) -> dict[str, float]:
    """The value of each point, by its attributes."""
    return {
        ",".join(map(str, (point.attributes or {}).values())): point.value
        for point in metric.data.data_points
        if isinstance(point, NumberDataPoint)
    }


async def test_a_client_is_exported() -> None:
    reader = InMemoryMetricReader()
    with trio.fail_after(60):
        async with paxlock.open_dev_cell(3) as cell, paxlock.open_client(cell) as client:
            instrument(client, MeterProvider([reader]))
            assert points(told(reader)["paxlock_client_leases"]) == {"": 0}
            async with client.lock("job"):
                await trio.sleep(TOGETHER_S)
                found = told(reader)
                assert points(found["paxlock_client_leases"]) == {"": 1}
                assert points(found["paxlock_client_messages"])["accepted"] >= 2
                kinds = [
                    type(found[name].data).__name__
                    for name in ("paxlock_client_leases", "paxlock_client_messages")
                ]
                assert kinds == ["Gauge", "Sum"]


class Closed:
    def statistics(self) -> paxlock.Statistics:
        raise ClosedError


def test_what_is_closed_cannot_be_instrumented() -> None:
    with pytest.raises(ClosedError, match="that is open"):
        instrument(Closed(), MeterProvider([InMemoryMetricReader()]))
