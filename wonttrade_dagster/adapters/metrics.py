"""The metrics file: Prometheus text that goes on counting although every cycle is a new process.

Belongs here: the names of the metrics, and carrying their totals over from the file.
Does not belong here: what is worth counting elsewhere, serving over HTTP (a textfile collector reads it).
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from filelock import FileLock, Timeout
from prometheus_client import CollectorRegistry, write_to_textfile
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

Sample = tuple[str, str]
"""Metric name and label value ("" for a metric without a label)."""

COUNTERS: Mapping[str, tuple[str, str]] = {
    "wonttrade_cycles": ("Cycles by outcome", "outcome"),
    "wonttrade_actions_planned": ("Actions planned", ""),
    "wonttrade_actions_failed": ("Actions that the venue refused or that got lost", ""),
    "wonttrade_model_calls": ("Cycles in which the model answered", ""),
    "wonttrade_model_latency_seconds": ("Seconds waited for the model's answers", ""),
    "wonttrade_fees_usd": ("Fees of all fills", ""),
    "wonttrade_request_weight": ("Weight of all requests by the venue's rules", ""),
    "wonttrade_actions_sent": ("Actions sent to the venue", ""),
    "wonttrade_unprotected_seconds": ("Seconds that positions stood without a stop-loss", "symbol"),
}
"""Name without ``_total``: help and label."""

GAUGES: Mapping[str, tuple[str, str]] = {
    "wonttrade_last_cycle_timestamp_seconds": ("Time of the last finished cycle", ""),
    "wonttrade_last_model_latency_seconds": ("How long the model took last", ""),
    "wonttrade_model_usd_today": ("Cost of today's model calls (UTC) by the configured prices", ""),
    "wonttrade_breaker_open": ("1 while new model calls are paused after failures", ""),
    "wonttrade_account_value_usd": ("Account value after the last cycle", ""),
    "wonttrade_alerts": ("Alerts of the last cycle", ""),
    "wonttrade_ip_weight_last_minute": ("Weight of the last minute at the end of the last cycle", ""),
    "wonttrade_address_actions_used": ("Actions that the address has used since its beginning", ""),
    "wonttrade_address_actions_cap": ("Actions that the address may use", ""),
    "wonttrade_unprotected_positions": ("Positions without a stop-loss after the last cycle", ""),
}

_LOCK_SECONDS = 1.0


class MetricsFile(Collector):
    """Counters and gauges of one role, in one file of its own.

    Args:
        path: the file; replaced atomically on every update.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._samples: dict[Sample, float] = {}

    def update(self, increments: Mapping[Sample, float], gauges: Mapping[Sample, float]) -> None:
        """Add to the counters that the file holds, set the gauges, and write it. Raises ``OSError``."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(f"{self.path}.lock", timeout=_LOCK_SECONDS):
                self._apply(increments, gauges)
        except Timeout as error:
            raise OSError(f"{self.path}.lock is held by another process") from error

    def _apply(self, increments: Mapping[Sample, float], gauges: Mapping[Sample, float]) -> None:
        self._samples = dict(_stored(self.path))
        for sample, amount in increments.items():
            self._samples[sample] = self._samples.get(sample, 0.0) + amount
        self._samples.update(gauges)
        registry = CollectorRegistry()
        registry.register(self)
        write_to_textfile(str(self.path), registry)

    def collect(self) -> Iterable[Metric]:
        """The samples as metric families, for ``prometheus_client``."""
        for name, (text, label) in COUNTERS.items():
            counter = CounterMetricFamily(name, text, labels=[label] if label else [])
            yield self._filled(counter, name, label)
        for name, (text, label) in GAUGES.items():
            gauge = GaugeMetricFamily(name, text, labels=[label] if label else [])
            yield self._filled(gauge, name, label)

    def _filled(
        self, family: CounterMetricFamily | GaugeMetricFamily, name: str, label: str
    ) -> CounterMetricFamily | GaugeMetricFamily:
        for (sample_name, value_of_label), value in sorted(self._samples.items()):
            if sample_name == name:
                family.add_metric([value_of_label] if label else [], value)
        return family


def _stored(path: Path) -> Iterator[tuple[Sample, float]]:
    """What an earlier process left; a damaged file starts the counting anew, as a restart would."""
    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return
    for family in families:
        known = COUNTERS.get(family.name) or GAUGES.get(family.name)
        for sample in family.samples if known else ():
            yield (family.name, next(iter(sample.labels.values()), "")), float(sample.value)
