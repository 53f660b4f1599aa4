"""What one writes without a tool: list, then get_object and put_object in a pool of threads.

Objects above 16 MB go through boto3's managed transfer. Endpoints and keys come from the environment, as for
the other contestants: SOURCE_URL, DESTINATION_URL, BUCKET.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
from botocore.config import Config

THREADS = 32
WHOLE = 16_000_000


def client(url: str) -> Any:
    """A client with a pool as large as the threads."""
    return boto3.client("s3", endpoint_url=url, config=Config(max_pool_connections=THREADS + 8))


def main() -> int:
    """Copy everything; the exit code says whether all of it arrived."""
    source, destination = client(os.environ["SOURCE_URL"]), client(os.environ["DESTINATION_URL"])
    bucket = os.environ["BUCKET"]

    def copy(entry: dict[str, Any]) -> None:
        answer = source.get_object(Bucket=bucket, Key=entry["Key"])
        words = {"ContentType": answer["ContentType"], "Metadata": answer["Metadata"]}
        if entry["Size"] <= WHOLE:
            destination.put_object(Bucket=bucket, Key=entry["Key"], Body=answer["Body"].read(), **words)
        else:
            destination.upload_fileobj(answer["Body"], bucket, entry["Key"], ExtraArgs=words)

    pages = source.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    entries = [entry for page in pages for entry in page.get("Contents", ())]
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(copy, entries):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
