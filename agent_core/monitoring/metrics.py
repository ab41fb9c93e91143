"""A snapshot in Prometheus's words. Each latency is a histogram since the start."""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from agent_core.latency import BOUNDS_MS, Histogram
from agent_core.monitoring.health import ready
from agent_core.snapshot import Phase, Snapshot

CONTENT_TYPE = CONTENT_TYPE_LATEST
BOUNDS = (*(f"{bound / 1_000:g}" for bound in BOUNDS_MS), "+Inf")


def metrics(snapshot: Snapshot, now: float) -> bytes:
    """The page; `now` is monotonic."""
    return generate_latest(_Page(snapshot, now))


class _Page(Collector):
    def __init__(self, snapshot: Snapshot, now: float) -> None:
        self._snapshot = snapshot
        self._now = now

    def collect(self) -> Iterator[Metric]:
        snapshot = self._snapshot
        version = GaugeMetricFamily("edge_console_version", "1, labelled with the agent's version", labels=["version"])
        version.add_metric([snapshot.version], 1)
        yield version
        yield _gauge("ready", "1 while the socket is verified or polling works", ready(snapshot, self._now))
        yield _gauge("start_time_seconds", "When the agent started, in Unix seconds", snapshot.started_utc)
        yield _gauge("loop_lag_seconds", "How late the last alarm of the agent's loop was", snapshot.latency.loop_lag_ms / 1_000)
        yield _gauge("disk_ok", "1 while the ledger can be written", snapshot.disk.ok)
        yield from self._transports()
        yield from self._commands()
        yield from self._latencies()

    def _transports(self) -> Iterator[Metric]:
        link, polling = self._snapshot.link, self._snapshot.polling
        phases = GaugeMetricFamily("edge_console_link_phase", "1 for the phase that the link is in", labels=["phase"])
        for phase in Phase:
            phases.add_metric([phase], phase is link.phase)
        yield phases
        yield _gauge("link_attempt", "The attempt under way or waited for; 0 while online and stable", link.attempt)
        yield _counter("dials", "Attempts to connect", link.dials)
        yield _counter("links", "Links that were verified", link.sessions)
        drops = CounterMetricFamily("edge_console_drops", "Ends of links and attempts; deaf: found by the safety sync", labels=["cause"])
        for cause, count in link.drops:
            drops.add_metric([cause], count)
        yield drops
        yield _gauge("link_deaf", "1 while the socket does not bring what a sync finds", link.deaf)
        yield _counter("polls", "Polls that were sent", polling.polls)
        yield _counter("poll_failures", "Polls that failed", polling.failures)

    def _commands(self) -> Iterator[Metric]:
        commands = self._snapshot.commands
        yield _counter("commands_received", "Distinct commands taken", commands.received)
        yield _counter("commands_completed", "Commands that completed", commands.completed)
        yield _counter("commands_failed", "Commands that failed", commands.failed)
        yield _counter("commands_duplicate", "Commands that came again", commands.duplicates)
        yield _counter("commands_rejected", "Commands left with the backend", commands.rejected)
        yield _counter("frames_malformed", "Frames and commands that could not be read", commands.malformed)
        yield _gauge("commands_queued", "Commands that wait for their turn", commands.queued)
        yield _gauge("commands_running", "Commands that run", commands.running)
        yield _gauge("commands_scheduled", "Messages due later", self._snapshot.scheduled_count)
        yield _gauge("commands_unknown_outcome", "Commands that a crash left with unknown outcome", commands.interrupted)
        since = commands.oldest_waiting_utc
        waits = 0.0 if since is None else max(0.0, self._snapshot.utc - since)
        yield _gauge("oldest_waiting_seconds", "How long the first command in the queue has waited", waits)
        yield _gauge("acks_unproven", "Acks that are made and not proven", commands.outbox)
        yield _counter("acks_proven", "Acks that the backend is known to have", commands.proven)
        events = self._snapshot.events
        yield _gauge("events_unproven", "Events for the backend that it is not known to have", events.unproven)
        yield _counter("events_proven", "Events that the backend is known to have", events.proven)
        yield _counter("events_dropped", "Events given up, since the backend took none", events.dropped)

    def _latencies(self) -> Iterator[Metric]:
        latency = self._snapshot.latency
        ways = {"socket": latency.socket, "polling": latency.polling}
        yield _histogram("ack_seconds", "From a command's arrival to its ack", ways)
        yield _histogram("run_seconds", "Runs of handlers that are waited for", {"": latency.run})
        yield _histogram("proof_seconds", "From an ack on the wire to its proof", {"": latency.proof})
        yield _histogram("ping_seconds", "From a JSON ping to its pong", {"": latency.ping})


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"edge_console_{name}", says, value=float(value))


def _counter(name: str, says: str, value: int) -> Metric:
    return CounterMetricFamily(f"edge_console_{name}", says, value=value)


def _histogram(name: str, says: str, ways: dict[str, Histogram]) -> Metric:
    """By `way`, where there is more than one."""
    family = HistogramMetricFamily(f"edge_console_{name}", says, labels=["way"] if len(ways) > 1 else [])
    for way, histogram in ways.items():
        counts = histogram.since_start or (0,) * len(BOUNDS)
        family.add_metric([way] if len(ways) > 1 else [], list(zip(BOUNDS, accumulate(counts), strict=True)), histogram.sum_us / 1e6)
    return family
