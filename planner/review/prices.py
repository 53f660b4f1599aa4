"""AWS list prices, as data. Printed beside every cost estimate with their source and date.

USD, us-east-1; requests per 1,000, traffic and retrieval per GB (10**9 bytes). From the AWS price list as the tests of
Infracost record it (last changed in July 2024), not read from AWS itself; GLACIER_IR, deletes and traffic between
regions are recalled figures.
What a restore from an archive costs depends on its tier; reading the restored copy costs no retrieval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

AS_OF = "2026-11-23"
SOURCE = "AWS price list, us-east-1, as Infracost's tests record it (July 2024); GLACIER_IR and traffic recalled"
GB = 10**9


@dataclass(frozen=True, slots=True)
class ClassPrice:
    """What one storage class costs to write and to read."""

    put_1k: Decimal
    get_1k: Decimal
    retrieve_gb: Decimal = Decimal(0)


CLASSES: Mapping[str, ClassPrice] = {
    "STANDARD": ClassPrice(Decimal("0.005"), Decimal("0.0004")),
    "INTELLIGENT_TIERING": ClassPrice(Decimal("0.005"), Decimal("0.0004")),
    "STANDARD_IA": ClassPrice(Decimal("0.01"), Decimal("0.001"), Decimal("0.01")),
    "ONEZONE_IA": ClassPrice(Decimal("0.01"), Decimal("0.001"), Decimal("0.01")),
    "GLACIER_IR": ClassPrice(Decimal("0.02"), Decimal("0.01"), Decimal("0.03")),
    "GLACIER": ClassPrice(Decimal("0.03"), Decimal("0.0004")),
    "DEEP_ARCHIVE": ClassPrice(Decimal("0.05"), Decimal("0.0004")),
}


@dataclass(frozen=True, slots=True)
class RestorePrice:
    """What restoring objects from an archive costs."""

    request_1k: Decimal
    gb: Decimal


RESTORES: Mapping[tuple[str, str], RestorePrice] = {
    ("GLACIER", "Expedited"): RestorePrice(Decimal("10.0"), Decimal("0.03")),
    ("GLACIER", "Standard"): RestorePrice(Decimal("0.03"), Decimal("0.01")),
    ("GLACIER", "Bulk"): RestorePrice(Decimal(0), Decimal(0)),
    ("DEEP_ARCHIVE", "Standard"): RestorePrice(Decimal("0.10"), Decimal("0.02")),
    ("DEEP_ARCHIVE", "Bulk"): RestorePrice(Decimal("0.025"), Decimal("0.0025")),
}
"""By storage class and tier. DEEP_ARCHIVE has no Expedited."""
LIST_1K = Decimal("0.005")
DELETE_1K = Decimal(0)
SAME_REGION_GB = Decimal(0)
INTER_REGION_GB = Decimal("0.02")
