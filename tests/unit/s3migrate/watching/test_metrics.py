"""What is exported is in the registry, all of it, and what is asked of Prometheus in deploy/ is exported."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric as Family
from support.snapshots import snapshot, worker

from executor.apply.surroundings import ProcessState, Window
from executor.flow.meters import SECONDS, SIZES, Histogram, RequestMeter
from executor.flow.side_counters import SideCounters
from s3migrate.watching.metered import Metered
from s3migrate.watching.process_metrics import MigrationCollector
from s3migrate.watching.registry import METRICS, PROCESS_METRICS, RUN_METRICS, Metric, MetricKind
from s3migrate.watching.run_metrics import RunCollector
from schema.errors import Throttled, WhichSide
from schema.flow.samples import SIDES
from storage.port import RequestSample

DEPLOY = Path(__file__).parents[4] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana/s3migrate.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus/alerts.yaml").read_text())
SUFFIXES = ("_bucket", "_sum", "_count")
SCRAPED = {"instance", "job", "le"}
"""Labels that Prometheus adds, and a histogram's own."""


def process() -> Metered:
    """A process that has sent some requests and works."""
    view = worker().seen
    assert view is not None
    sizes, flushes = Histogram(SIZES), Histogram(SECONDS)
    sizes.observe(5000)
    flushes.observe(0.02)
    state = ProcessState(view, [float(n) for n in range(9)], 10, 100, 7, flushes, sizes)
    meters = {side: RequestMeter() for side in SIDES}
    for error in (None, Throttled("slow down", status=503)):
        for meter in meters.values():
            meter.begin()
            meter.end(RequestSample("GetObject", 0.04, 0.01, 100, error))
    return Metered(Window(lambda: state), meters, {side: SideCounters() for side in SIDES}, Counter({"Throttled": 2}))


def families() -> list[Family]:
    return [*RunCollector([snapshot()]).collect(), *MigrationCollector(process()).collect()]


def test_what_is_exported_is_what_the_registry_lists_and_nothing_is_missing() -> None:
    exported = {family.name.removesuffix("_total") for family in families()}
    assert exported == {name.removesuffix("_total") for name in METRICS}
    for family in families():
        metric = METRICS.get(family.name) or METRICS[f"{family.name}_total"]
        assert family.type == metric.kind.value
        assert family.samples, f"{family.name} has no figure"
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == set(metric.labels)


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_names_keep_prometheus_rules(metric: Metric) -> None:
    assert re.fullmatch(r"s3migrate_[a-z0-9_]+", metric.name)
    assert (metric.kind is MetricKind.COUNTER) == metric.name.endswith("_total")
    assert metric.help.endswith(".")
    assert not set(metric.labels) & {"key", "le", "instance", "job"}


def test_no_metric_is_in_both_lists() -> None:
    assert len(METRICS) == len(RUN_METRICS) + len(PROCESS_METRICS)


def test_figures_are_the_ledgers() -> None:
    registry = CollectorRegistry()
    registry.register(RunCollector([snapshot()]))
    text = generate_latest(registry).decode()
    assert 's3migrate_objects{name="photos",run="3",state="done"} 432100.0' in text
    assert 's3migrate_ended_objects_total{name="photos",outcome="copied",run="3"} 432000.0' in text
    assert 's3migrate_run_state{name="photos",run="3",state="open"} 1.0' in text
    assert 's3migrate_desired_workers{name="photos",run="3"} 5.0' in text


def test_what_is_not_known_is_not_exported() -> None:
    registry = CollectorRegistry()
    registry.register(RunCollector([snapshot(eta=None, planned_seconds=None, last_completion=None)]))
    text = generate_latest(registry).decode()
    for name in ("s3migrate_eta_seconds", "s3migrate_planned_duration", "s3migrate_last_completion"):
        assert f"\n{name}" not in text


def test_a_process_tells_of_its_requests() -> None:
    metered = process()
    registry = CollectorRegistry()
    registry.register(MigrationCollector(metered))
    text = generate_latest(registry).decode()
    assert 's3migrate_requests_total{code_class="5xx",operation="GetObject",side="source"} 1.0' in text
    assert 's3migrate_request_duration_seconds_bucket{le="0.05",operation="GetObject",side="source"} 1.0' in text
    assert 's3migrate_request_duration_seconds_bucket{le="0.025",operation="GetObject",side="source"} 0.0' in text
    assert 's3migrate_limit{limit="bandwidth"} 1.048576e+08' in text, "its share, half of 200 MiB/s"
    assert metered.meters[WhichSide.SOURCE].in_flight == 0


def test_a_process_that_has_not_begun_tells_no_more_than_it_knows() -> None:
    names = {family.name for family in MigrationCollector(Metered(Window(), {}, {})).collect()}
    assert "s3migrate_concurrency_limit" not in names


def expressions() -> Iterator[tuple[str, str]]:
    """(where, what is asked) of every panel, variable and rule."""
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            asked = re.sub(r"\$__(rate_interval|range)", "5m", target["expr"])
            yield panel["title"], asked
    for group in ALERTS["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


ASKED = list(expressions())


def selectors(node: Any, within: str = "") -> Iterator[tuple[Any, str]]:
    """(vector selector, the function right around it) of a parsed expression."""
    kind = type(node).__name__
    if kind == "VectorSelector":
        yield node, within
    elif kind == "MatrixSelector":
        yield node.vector_selector, within
    elif kind == "Call":
        for argument in node.args:
            yield from selectors(argument, node.func.name)
    elif kind == "BinaryExpr":
        yield from selectors(node.lhs)
        yield from selectors(node.rhs)
    elif kind in ("AggregateExpr", "ParenExpr", "UnaryExpr", "SubqueryExpr"):
        yield from selectors(node.expr)
    else:
        assert kind in ("NumberLiteral", "StringLiteral"), kind


@pytest.mark.parametrize(("where", "expression"), ASKED, ids=[where for where, _ in ASKED])
def test_every_query_parses_and_asks_for_what_there_is(where: str, expression: str) -> None:
    found = list(selectors(promql_parser.parse(expression)))
    assert found, where
    for selector, function in found:
        metric = METRICS.get(selector.name) or next(
            METRICS[selector.name.removesuffix(end)] for end in SUFFIXES if selector.name.endswith(end)
        )
        assert {matcher.name for matcher in selector.matchers.matchers} <= {*metric.labels, *SCRAPED}
        counts = metric.kind in (MetricKind.COUNTER, MetricKind.HISTOGRAM)
        assert (function in ("rate", "increase")) == counts, f"{where}: {selector.name} under {function or 'nothing'}"


def test_every_metric_is_on_the_dashboard() -> None:
    shown = " ".join(expression for _, expression in ASKED)
    assert [name for name in METRICS if name not in shown] == []


def test_the_dashboard_has_no_two_panels_of_one_number() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers)) >= 20


def test_there_are_five_alerts_and_each_says_what_to_do() -> None:
    rules = [rule for group in ALERTS["groups"] for rule in group["rules"]]
    assert len(rules) == 5
    assert all(rule["annotations"]["action"] and rule["annotations"]["summary"] for rule in rules)
