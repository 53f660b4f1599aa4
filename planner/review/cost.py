"""What AWS will charge for the requests, the retrieval and the traffic of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

from planner.review import prices
from planner.review.calibration import UNMEASURED, Calibration
from planner.review.workload import ClassWork, Largest
from schema.attributes.evidence import Counted
from schema.declaration import Declaration, Policy
from schema.ends import is_aws
from schema.plan import Risk, Section
from schema.storage_classes import target_storage_class

NOTHING = Counted(0, ())


class SectionWork(NamedTuple):
    """A section and what it carries."""

    section: Section
    classes: Mapping[str, ClassWork]
    """By the source's storage class."""
    largest: Largest
    unclear_order: Counted = NOTHING
    """Source keys whose listing does not show the order of their versions."""
    remarks: tuple[Risk, ...] = ()
    """Of its listings."""
    calibration: Calibration = UNMEASURED


ASSUMPTIONS: dict[str, str] = {
    "prices": prices.SOURCE,
    "prices_as_of": prices.AS_OF,
    "usd_per_gb_between_regions": str(prices.INTER_REGION_GB),
    "not_in_the_cost": "storage while both copies exist, KMS, tags, retries, traffic when the workers run elsewhere; "
    "an unknown storage class is charged as STANDARD",
}


def restore_assumptions(work: Sequence[SectionWork], policy: Policy) -> dict[str, str]:
    """The assumptions behind the price of restores; empty where there are none."""
    names = sorted({name for item in work for name, carried in item.classes.items() if carried.restores})
    if not names:
        return {}
    rows = [(name, _restore_price(name, policy)) for name in names]
    usd = "; ".join(f"{name} {price.request_1k} per 1,000 requests, {price.gb} per GB" for name, price in rows)
    kept = "the restored copies are stored beside the archived objects for restore_days, which is not in the cost"
    return {"usd_of_restores": f"tier {policy.restore_tier}: {usd}; {kept}"}


def cost(work: Sequence[SectionWork], requests: Mapping[str, int], declaration: Declaration) -> dict[str, Any] | None:
    """US dollars as quoted decimals; None unless both ends of every section are at AWS: no other prices are known.

    Reads at the source class, writes at the destination's, retrieval by the source class (of archived objects by
    the tier of the restore), traffic by regions.
    """
    if not any(item.classes for item in work):
        return None
    if not all(is_aws(item.section.source) and is_aws(item.section.destination) for item in work):
        return None
    thousands = requests["list"] * prices.LIST_1K + requests["delete"] * prices.DELETE_1K
    thousands += requests.get("head", 0) * prices.CLASSES["STANDARD"].get_1k
    retrieval = traffic = Decimal(0)
    for section, classes, *_ in work:
        same_region = section.source.region == section.destination.region
        by_traffic = prices.SAME_REGION_GB if same_region else prices.INTER_REGION_GB
        for name, carried in classes.items():
            there = _price(target_storage_class(name, declaration.preserve))
            here = _price(name)
            thousands += carried.reads * here.get_1k
            thousands += carried.writes * there.put_1k
            restore = _restore_price(name, declaration.policy)
            thousands += carried.restores * restore.request_1k
            thousands += carried.read_back * (here.get_1k + there.get_1k)
            retrieval += carried.bytes * here.retrieve_gb / prices.GB
            retrieval += carried.read_back_bytes * (here.retrieve_gb + there.retrieve_gb) / prices.GB
            retrieval += carried.restored_bytes * restore.gb / prices.GB
            # Of what is read again at both ends, one end is in another region than the workers.
            traffic += (carried.bytes + carried.read_back_bytes) * by_traffic / prices.GB
    by_requests = thousands / 1000
    return {
        "requests": _usd(by_requests),
        "retrieval": _usd(retrieval),
        "traffic": _usd(traffic),
        "total": _usd(by_requests + retrieval + traffic),
    }


def _price(storage_class: str) -> prices.ClassPrice:
    return prices.CLASSES.get(storage_class, prices.CLASSES["STANDARD"])


def _restore_price(storage_class: str, policy: Policy) -> prices.RestorePrice:
    """Of the tier that is asked for; Standard's where the class has no such tier."""
    nothing = prices.RestorePrice(Decimal(0), Decimal(0))
    standard = prices.RESTORES.get((storage_class, "Standard"), nothing)
    return prices.RESTORES.get((storage_class, policy.restore_tier), standard)


def _usd(amount: Decimal) -> str:
    return str(amount.quantize(Decimal("0.01"), ROUND_HALF_UP))
