"""GET and PUT of every key through our own wire, with nothing around it: no plan, no ledger, no proof.

What `apply` costs above this is what the promises cost. Endpoints and keys come from the environment, as for the other
contestants: SOURCE_URL, DESTINATION_URL, BUCKET.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from schema.declaration import Addressing, Side  # noqa: E402 - the checkout's own, not an installed one
from storage.open_store import open_store  # noqa: E402
from storage.port import Guard  # noqa: E402
from storage.s3.store import S3Store  # noqa: E402

THREADS = 8
ABSENT = Guard(if_none_match=True)
"""As apply writes."""


def store(url: str, prefix: str) -> S3Store:
    """One end."""
    side = Side(
        bucket=os.environ["BUCKET"],
        endpoint_url=url,
        region="us-east-1",
        addressing=Addressing.PATH,
        credentials={"env": prefix},
    )
    return open_store(side)


def main() -> int:
    """Copy everything; raises what the wire raises."""
    source, destination = store(os.environ["SOURCE_URL"], "OLD"), store(os.environ["DESTINATION_URL"], "NEW")
    waiting: queue.SimpleQueue[tuple[str, int] | None] = queue.SimpleQueue()
    for listed in source.list_objects(""):
        waiting.put((listed.key, listed.size))
    for _ in range(THREADS):
        waiting.put(None)
    failures: list[BaseException] = []

    def work() -> None:
        buffer = bytearray(1 << 20)
        try:
            while (item := waiting.get()) is not None:
                key, size = item
                if len(buffer) < size:
                    buffer = bytearray(size)
                body = memoryview(buffer)[:size]
                source.get(key, body)
                destination.put(key, body, (), guard=ABSENT)
        except BaseException as error:  # the thread's end is told by the exit code
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return 0


if __name__ == "__main__":
    sys.exit(main())
