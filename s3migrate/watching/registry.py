"""The single list of all metrics: names, labels, meanings. A test compares it with what is exported, and with the
dashboard and the alert rules in deploy/.

Names follow Prometheus' conventions: base units, `_total` for counters, `_info` for facts. No label contains a key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class MetricKind(StrEnum):
    """What a metric is to Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    name: str
    """As it is queried; a histogram's without _bucket, _sum and _count."""
    kind: MetricKind
    help: str
    labels: tuple[str, ...] = ()


_RUN = ("run", "name")
_COUNTER, _GAUGE, _HISTOGRAM = MetricKind.COUNTER, MetricKind.GAUGE, MetricKind.HISTOGRAM

RUN_METRICS = (
    Metric("s3migrate_run_info", _GAUGE, "1, for each run of the ledger.", (*_RUN, "plan_id", "serial", "version")),
    Metric(
        "s3migrate_run_state",
        _GAUGE,
        "1 for the state the run is in, 0 for the others; closed: open, but stopped by its calendar.",
        (*_RUN, "state"),
    ),
    Metric("s3migrate_objects", _GAUGE, "Objects of the run by state.", (*_RUN, "state")),
    Metric("s3migrate_bytes", _GAUGE, "Bytes of the run's objects, planned and done.", (*_RUN, "state")),
    Metric("s3migrate_ended_objects_total", _COUNTER, "Objects finished, by outcome.", (*_RUN, "outcome")),
    Metric("s3migrate_ended_bytes_total", _COUNTER, "Bytes of the objects finished.", _RUN),
    Metric("s3migrate_failures_total", _COUNTER, "Objects that failed for good, by error.", (*_RUN, "reason")),
    Metric("s3migrate_chunks", _GAUGE, "Chunks of the run's batches by state.", (*_RUN, "state")),
    Metric("s3migrate_workers", _GAUGE, "Processes that reported within the last minute.", _RUN),
    Metric("s3migrate_desired_workers", _GAUGE, "Processes the run can use now, in all.", _RUN),
    Metric("s3migrate_eta_seconds", _GAUGE, "Time left, judged by the run's rates so far.", (*_RUN, "bound")),
    Metric("s3migrate_planned_duration_seconds", _GAUGE, "Duration that the plan expected.", _RUN),
    Metric("s3migrate_run_age_seconds", _GAUGE, "Time since the run was accepted.", _RUN),
    Metric("s3migrate_last_completion_timestamp_seconds", _GAUGE, "When an object was last finished.", _RUN),
    Metric("s3migrate_verified_objects_total", _COUNTER, "Objects proven, or not, between stages.", (*_RUN, "verdict")),
    Metric("s3migrate_run_requests_total", _COUNTER, "Requests by priced class.", (*_RUN, "side", "request_class")),
    Metric("s3migrate_run_thread_seconds_total", _COUNTER, "Where threads' time went.", (*_RUN, "waiting_for")),
)
"""From the ledger, by `status --serve`; correct whatever has happened to the processes."""

_SIDE = ("side", "operation")
PROCESS_METRICS = (
    Metric("s3migrate_request_duration_seconds", _HISTOGRAM, "From sending to the last byte, if it succeeded.", _SIDE),
    Metric("s3migrate_first_byte_seconds", _HISTOGRAM, "From sending to the first byte, if it succeeded.", _SIDE),
    Metric("s3migrate_requests_total", _COUNTER, "Requests finished.", (*_SIDE, "code_class")),
    Metric("s3migrate_throttled_requests_total", _COUNTER, "Requests refused as too many.", ("side",)),
    Metric("s3migrate_retries_total", _COUNTER, "Attempts at an object that failed and are repeated.", ("reason",)),
    Metric("s3migrate_wire_bytes_total", _COUNTER, "Bytes of request and response bodies.", ("side", "direction")),
    Metric("s3migrate_in_flight_requests", _GAUGE, "Requests sent and not finished.", ("side",)),
    Metric("s3migrate_concurrency_limit", _GAUGE, "Threads wanted now."),
    Metric("s3migrate_thread_seconds_total", _COUNTER, "Where the threads' time went.", ("waiting_for",)),
    Metric("s3migrate_breaker_state", _GAUGE, "0 closed, 1 half-open, 2 open.", ("endpoint",)),
    Metric("s3migrate_limit", _GAUGE, "This process's share of a limit of the run.", ("limit",)),
    Metric("s3migrate_limit_used_ratio", _GAUGE, "Used part of that share, at the busiest endpoint.", ("limit",)),
    Metric("s3migrate_buffer_bytes", _GAUGE, "Bytes reserved for objects in flight."),
    Metric("s3migrate_buffer_limit_bytes", _GAUGE, "The memory budget."),
    Metric("s3migrate_ledger_queue_rows", _GAUGE, "Results not yet written to the ledger."),
    Metric("s3migrate_ledger_commit_duration_seconds", _HISTOGRAM, "Duration of a flush, with waits for the ledger."),
    Metric("s3migrate_object_size_bytes", _HISTOGRAM, "Sizes of the objects finished."),
)
"""From one apply process, by `apply --metrics`, in addition to the process_* metrics of prometheus-client."""

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*RUN_METRICS, *PROCESS_METRICS)}
