"""/metrics of one apply process, served by a thread of prometheus-client."""

from __future__ import annotations

import errno

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, start_http_server

from s3migrate.watching.address import Address
from s3migrate.watching.metered import Metered
from s3migrate.watching.process_metrics import MigrationCollector
from schema.errors import UsageError


def registry_of(metered: Metered) -> CollectorRegistry:
    """Our own metrics, and those that the client library exports for any process."""
    registry = CollectorRegistry()
    registry.register(MigrationCollector(metered))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def serve_metrics(address: Address, metered: Metered) -> int:
    """Serve until the process ends; returns the port. Raises UsageError when the address is not available."""
    try:
        server, _thread = start_http_server(address.port, addr=address.host, registry=registry_of(metered))
    except OSError as error:
        taken = " another process listens there;" if error.errno == errno.EADDRINUSE else ""
        raise UsageError(
            f"metrics cannot be served at {address.host}:{address.port}:{taken} {error.strerror}; choose another "
            "address with --metrics HOST:PORT"
        ) from error
    return int(server.server_port)
