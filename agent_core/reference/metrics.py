"""What an instance has done and holds, in Prometheus's words."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from agent_core.reference.hub import Hub

CONTENT_TYPE = CONTENT_TYPE_LATEST


def metrics(hub: Hub, utc: float, store_down: bool) -> bytes:
    """The page at `utc`."""
    return generate_latest(_Page(hub, utc, store_down))


class _Page(Collector):
    def __init__(self, hub: Hub, utc: float, store_down: bool) -> None:
        self._hub = hub
        self._utc = utc
        self._store_down = store_down

    def collect(self) -> Iterator[Metric]:
        hub, oldest = self._hub, self._hub.book.oldest_open()
        events = CounterMetricFamily("edge_backend_events", "What happened since the start, by name", labels=["event"])
        for name, count in sorted(hub.counts.items()):
            events.add_metric([name], count)
        yield events
        yield GaugeMetricFamily("edge_backend_agents_connected", "Agents with a socket here", hub.connected_count)
        yield GaugeMetricFamily("edge_backend_commands_open", "Commands at hand without a terminal ack", hub.open_count)
        waits = 0.0 if oldest is None else max(0.0, self._utc - oldest.queued_utc)
        yield GaugeMetricFamily("edge_backend_oldest_open_seconds", "Since the oldest of them was queued; 0: there is none", waits)
        yield GaugeMetricFamily("edge_backend_store_up", "0 while the store cannot be written", not self._store_down)
        for name, about in (("settled", "From a command's queueing to its terminal ack"), ("connected", "How long sockets lasted")):
            durations = hub.durations[name]
            yield HistogramMetricFamily(f"edge_backend_{name}_seconds", about, buckets=durations.buckets(), sum_value=durations.total)
