"""Plans kept in a bucket, so that a pod or a machine of a fleet needs no volume: published once, fetched by each.

    s3://BUCKET/PREFIX/<plan id>.plan.yaml
    s3://BUCKET/PREFIX/<the plan's manifest folder>/<digest>.jsonl.gz

The plan's name is its id, and the id covers its content: whoever approved the id knows what will be carried out, no
matter what has happened to the bucket since.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from s3migrate.plan_url import PlanUrl
from s3migrate.settings import read_settings
from s3migrate.wiring import manifest_bucket, manifest_store
from schema.declaration import Side
from schema.errors import DestinationChanged, InputMissing, ObjectMissing, PlanCorrupt
from schema.files import batch_index
from schema.files.manifest import ManifestStore, publish_bytes
from schema.files.plan_document import to_document
from schema.files.planfile import dumps, plan_of
from schema.formats.yaml_strict import MAX_SIZE
from schema.plan import Plan
from storage.open_store import open_store
from storage.port import Guard


def fetch(url: PlanUrl) -> tuple[Plan, ManifestStore]:
    """The checked plan at *url* and the store of its manifests. Raises InputMissing, PlanCorrupt, StoreErrors."""
    side = _side(url)
    store = open_store(side)
    try:
        head = store.head(url.key)
        if head.size > MAX_SIZE:
            raise PlanCorrupt(f"{url} has {head.size:,} bytes; a plan has at most {MAX_SIZE:,}")
        data = bytearray(head.size)
        store.get(url.key, memoryview(data))
    except ObjectMissing:
        raise InputMissing(
            f"there is no plan at {url}; `s3migrate publish PLAN s3://BUCKET/PREFIX` puts it there"
        ) from None
    finally:
        store.close()
    folder = url.key.rpartition("/")[0]

    def manifests(name: str, destination: Side) -> ManifestStore:
        if name.startswith("s3://"):
            return manifest_store(name, Path(), destination)
        return manifest_bucket(side, f"{folder}/{name}" if folder else name)

    plan = plan_of(bytes(data), str(url), manifests)
    return plan, manifests(plan.manifest_store, plan.sections[0].destination)


def publish(plan: Plan, manifests: ManifestStore, to: PlanUrl, *, staging_folder: Path) -> PlanUrl:
    """Put *plan* and its manifests under *to*; returns the plan's URL. What is already there is not sent again.

    The plan is written last: once it is there, so are all of its manifests. Raises ManifestMissing, StoreErrors,
    LocalDiskError.
    """
    prefix = to.key.strip("/")
    url = PlanUrl(to.bucket, f"{prefix}/{plan.plan_id.removeprefix('sha256:')}.plan.yaml")
    side = _side(url)
    if not plan.manifest_store.startswith("s3://"):
        there = manifest_bucket(side, f"{prefix}/{plan.manifest_store}")
        for digest in plan.manifest_digests():
            if not there.has(digest):
                with manifests.open(digest) as file:
                    publish_bytes(there, digest, file.read(), staging_folder=staging_folder)
        if "batch_index" in to_document(plan):
            batch_index.publish(plan.batches, there, staging_folder)
    store = open_store(side)
    try:
        store.put(
            url.key, dumps(plan).encode(), [("content-type", "application/yaml")], guard=Guard(if_none_match=True)
        )
    except DestinationChanged:
        pass  # the same plan: its id is its name
    finally:
        store.close()
    return url


def _side(url: PlanUrl) -> Side:
    return replace(read_settings().plan_bucket, bucket=url.bucket)
