"""The registry's metrics as prometheus-client's families. A name or label that is not in the registry is a bug."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from executor.flow.meters import Histogram
from s3migrate.watching.registry import METRICS, MetricKind

Samples = Iterable[tuple[tuple[str, ...], float]]
"""Label values, in the registry's order, and the value."""
_FAMILIES: Mapping[MetricKind, type[CounterMetricFamily | GaugeMetricFamily]] = {
    MetricKind.COUNTER: CounterMetricFamily,
    MetricKind.GAUGE: GaugeMetricFamily,
}


def family(name: str, samples: Samples) -> Metric:
    """A counter or a gauge."""
    metric = METRICS[name]
    made = _FAMILIES[metric.kind](metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        made.add_metric(labels, value)
    return made


def histogram_family(name: str, histograms: Mapping[tuple[str, ...], Histogram]) -> Metric:
    """A histogram for each set of label values."""
    metric = METRICS[name]
    made = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
    for labels, histogram in histograms.items():
        made.add_metric(labels, histogram.cumulative(), histogram.sum)
    return made
