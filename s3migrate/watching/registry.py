"""Every metric there is: the single list of names, labels and meanings. A test holds all that is exported against it,
and the dashboard and the alert rules in deploy/.

Names follow Prometheus' rules: base units, `_total` on counters, `_info` for facts. No label holds a key.
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
        "1 for the state the run is in, 0 for the others; closed: open, but not by its calendar.",
        (*_RUN, "state"),
    ),
    Metric("s3migrate_objects", _GAUGE, "Objects of the run by where they stand.", (*_RUN, "state")),
    Metric("s3migrate_bytes", _GAUGE, "Bytes of the run's objects, planned and done.", (*_RUN, "state")),
    Metric("s3migrate_ended_objects_total", _COUNTER, "Objects that came to their end, by how.", (*_RUN, "outcome")),
    Metric("s3migrate_ended_bytes_total", _COUNTER, "Bytes of the objects that came to their end.", _RUN),
    Metric("s3migrate_failures_total", _COUNTER, "Objects given up, by error.", (*_RUN, "reason")),
    Metric("s3migrate_chunks", _GAUGE, "Chunks of the run's batches by state.", (*_RUN, "state")),
    Metric("s3migrate_workers", _GAUGE, "Processes heard of within the last minute.", _RUN),
    Metric("s3migrate_desired_workers", _GAUGE, "Processes the run can use now, in all.", _RUN),
    Metric("s3migrate_eta_seconds", _GAUGE, "Time left as the run's rates have been.", (*_RUN, "bound")),
    Metric("s3migrate_planned_duration_seconds", _GAUGE, "What the plan expected.", _RUN),
    Metric("s3migrate_run_age_seconds", _GAUGE, "Since the run was accepted.", _RUN),
    Metric("s3migrate_last_completion_timestamp_seconds", _GAUGE, "When objects last came to their end.", _RUN),
    Metric("s3migrate_verified_objects_total", _COUNTER, "Objects proven, or not, on the way.", (*_RUN, "verdict")),
    Metric("s3migrate_run_requests_total", _COUNTER, "Requests by priced class.", (*_RUN, "side", "request_class")),
    Metric("s3migrate_run_thread_seconds_total", _COUNTER, "Where threads' time went.", (*_RUN, "waiting_for")),
)
"""From the ledger, by `status --serve`; true whatever became of the processes."""

_SIDE = ("side", "operation")
PROCESS_METRICS = (
    Metric("s3migrate_request_duration_seconds", _HISTOGRAM, "From sending to the last byte, if answered well.", _SIDE),
    Metric("s3migrate_first_byte_seconds", _HISTOGRAM, "From sending to the first byte, if answered well.", _SIDE),
    Metric("s3migrate_requests_total", _COUNTER, "Requests that ended.", (*_SIDE, "code_class")),
    Metric("s3migrate_throttled_requests_total", _COUNTER, "Refused because there were too many.", ("side",)),
    Metric("s3migrate_retries_total", _COUNTER, "Attempts at an object that are made again.", ("reason",)),
    Metric("s3migrate_wire_bytes_total", _COUNTER, "Of bodies.", ("side", "direction")),
    Metric("s3migrate_in_flight_requests", _GAUGE, "Sent and not ended.", ("side",)),
    Metric("s3migrate_concurrency_limit", _GAUGE, "Threads wanted now."),
    Metric("s3migrate_thread_seconds_total", _COUNTER, "Where the threads' time went.", ("waiting_for",)),
    Metric("s3migrate_breaker_state", _GAUGE, "0 closed, 1 half-open, 2 open.", ("endpoint",)),
    Metric("s3migrate_limit", _GAUGE, "This process's share of a limit of the run.", ("limit",)),
    Metric("s3migrate_limit_used_ratio", _GAUGE, "How much of it is used, at the busiest endpoint.", ("limit",)),
    Metric("s3migrate_buffer_bytes", _GAUGE, "Reserved for objects in flight."),
    Metric("s3migrate_buffer_limit_bytes", _GAUGE, "The memory budget."),
    Metric("s3migrate_ledger_queue_rows", _GAUGE, "Results on their way to the ledger."),
    Metric("s3migrate_ledger_commit_duration_seconds", _HISTOGRAM, "Of a flush, waits for the ledger included."),
    Metric("s3migrate_object_size_bytes", _HISTOGRAM, "Of the objects that came to their end."),
)
"""From one apply process, by `apply --metrics`; beside them the process_* of prometheus-client."""

METRICS: Mapping[str, Metric] = {metric.name: metric for metric in (*RUN_METRICS, *PROCESS_METRICS)}
