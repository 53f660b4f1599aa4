"""What a server was asked, counted in the classes in which requests are priced."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from schema.flow.request_classes import RequestClass
from support.fault_relay import Exchange

CLASSES = {
    RequestClass.GET: ("get", "head"),
    RequestClass.PUT: ("put", "copy", "create", "part", "part-copy", "complete"),
    RequestClass.DELETE: ("delete", "abort"),
    RequestClass.LIST: ("list", "list-versions", "list-uploads", "list-parts"),
}
OPERATION_CLASS = {operation: kind for kind, operations in CLASSES.items() for operation in operations}


def requests_in(exchanges: Iterable[Exchange]) -> dict[RequestClass, int]:
    """Requests that arrived, by priced class."""
    return dict(Counter(OPERATION_CLASS[exchange.operation] for exchange in exchanges))
