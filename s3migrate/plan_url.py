"""The URL of a plan in a bucket."""

from __future__ import annotations

import re
from typing import NamedTuple, Self

_URL = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{0,254})/([^\x00-\x1f]+)")


class PlanUrl(NamedTuple):
    """s3://BUCKET/KEY of a plan, or s3://BUCKET/PREFIX where plans are published."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        found = _URL.fullmatch(text)
        if found is None:
            raise ValueError("a plan in a bucket is named s3://BUCKET/KEY")
        return cls(found[1], found[2])

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"
