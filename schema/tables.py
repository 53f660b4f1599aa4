"""The ledger's tables for SQLAlchemy Core. The migrations make them; a test holds the two together.

Only what statements need is described here: columns, types, nullability and primary keys. Checks, partial
indexes, partitions, triggers and functions are the migrations' alone.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
)

SCHEMA = "ledger"
MIGRATIONS = Path(__file__).parent / "migrations"
ROLES = Path(__file__).parent / "roles.sql"
metadata = MetaData(schema=SCHEMA)
MOMENT = DateTime(timezone=True)

schema_version = Table(
    "schema_version",
    metadata,
    Column("version", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("applied_at", MOMENT, nullable=False),
    Column("applied_by", Text, nullable=False),
)

run = Table(
    "run",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("plan_id", Text, nullable=False),
    Column("lineage", Text, nullable=False),
    Column("serial", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("plan", JSON, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("objects", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("chunks_left", Integer, nullable=False),
    Column("audit_seq", BigInteger, nullable=False),
    Column("audit_head", LargeBinary, nullable=False),
    Column("created_at", MOMENT, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("tool_version", Text, nullable=False),
    Column("finished_at", MOMENT),
)

scope_lock = Table(
    "scope_lock",
    metadata,
    Column("endpoint", Text, primary_key=True),
    Column("bucket", Text, primary_key=True),
    Column("prefix", LargeBinary, primary_key=True),
    Column("run_id", Integer, nullable=False),
    Column("lock_id", Uuid, nullable=False),
    Column("operation", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("tool_version", Text, nullable=False),
    Column("created_at", MOMENT, nullable=False),
)

worker = Table(
    "worker",
    metadata,
    Column("worker_id", Integer, primary_key=True),
    Column("run_id", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("tool_version", Text, nullable=False),
    Column("started_at", MOMENT, nullable=False),
    Column("last_seen", MOMENT, nullable=False),
    Column("stopped_at", MOMENT),
    Column("exit_code", SmallInteger),
    Column("place", Text, nullable=False),
    Column("pid_started", BigInteger, nullable=False),
    Column("seen", JSON),
)

run_limit = Table(
    "run_limit",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("value", Double, nullable=False),
    Column("set_at", MOMENT, nullable=False),
)

stage = Table(
    "stage",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("stage_no", Integer, primary_key=True),
    Column("stage_id", Text, nullable=False),
    Column("gate", SmallInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("batches_left", Integer, nullable=False),
)

stage_dependency = Table(
    "stage_dependency",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("stage_no", Integer, primary_key=True),
    Column("needs_no", Integer, primary_key=True),
)

batch = Table(
    "batch",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("batch_no", Integer, primary_key=True),
    Column("batch_id", Text, nullable=False),
    Column("section", Text, nullable=False),
    Column("stage_no", Integer, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("objects", Integer, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("copy_left", Integer, nullable=False),
    Column("verify_left", Integer, nullable=False),
)

chunk = Table(
    "chunk",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("chunk_no", Integer, primary_key=True),
    Column("batch_no", Integer, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("lane", SmallInteger, nullable=False),
    Column("lo", Integer, nullable=False),
    Column("hi", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", SmallInteger, nullable=False),
    Column("token", Integer, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("lease_id", Uuid),
    Column("worker_id", Integer),
    Column("lease_until", MOMENT),
    Column("not_before", MOMENT),
    Column("n_done", Integer, nullable=False),
    Column("n_bad", Integer, nullable=False),
    Column("bytes_done", BigInteger, nullable=False),
    Column("outcomes", ARRAY(Integer), nullable=False),
    Column("digest", LargeBinary),
)

completion = Table(
    "completion",
    metadata,
    Column("finished_at", MOMENT, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("run_id", Integer, primary_key=True),
    Column("batch_no", Integer, primary_key=True),
    Column("ord", Integer, primary_key=True),
    Column("token", Integer, nullable=False),
    Column("outcome", SmallInteger, nullable=False),
    Column("attempts", SmallInteger, nullable=False),
    Column("destination_etag", Text, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
    Column("destination_version", Text),
)

failure = Table(
    "failure",
    metadata,
    Column("at", MOMENT, nullable=False),
    Column("run_id", Integer, primary_key=True),
    Column("batch_no", Integer, primary_key=True),
    Column("ord", Integer, primary_key=True),
    Column("token", Integer, primary_key=True),
    Column("kind", SmallInteger, primary_key=True),
    Column("attempt", Integer, primary_key=True),
    Column("terminal", Boolean, nullable=False),
    Column("worker_id", Integer, nullable=False),
    Column("http_status", SmallInteger, nullable=False),
    Column("error_code", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("request_id", Text, nullable=False),
)

verification = Table(
    "verification",
    metadata,
    Column("at", MOMENT, nullable=False),
    Column("run_id", Integer, primary_key=True),
    Column("batch_no", Integer, primary_key=True),
    Column("ord", Integer, primary_key=True),
    Column("token", Integer, primary_key=True),
    Column("ok", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
)

upload = Table(
    "upload",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("batch_no", Integer, primary_key=True),
    Column("ord", Integer, primary_key=True),
    Column("upload_id", Text, primary_key=True),
    Column("state", SmallInteger, nullable=False),
    Column("bucket", Text, nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("source_etag", Text, nullable=False),
    Column("source_version", Text),
    Column("source_size", BigInteger, nullable=False),
    Column("part_size", BigInteger, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("created_at", MOMENT, nullable=False),
)

upload_part = Table(
    "upload_part",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("batch_no", Integer, primary_key=True),
    Column("ord", Integer, primary_key=True),
    Column("upload_id", Text, primary_key=True),
    Column("part_no", Integer, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("checksum", LargeBinary, nullable=False),
)

intent = Table(
    "intent",
    metadata,
    Column("at", MOMENT, nullable=False),
    Column("run_id", Integer, nullable=False),
    Column("batch_no", Integer, nullable=False),
    Column("ord", Integer, nullable=False),
    Column("token", Integer, nullable=False),
    Column("what", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("run_id", Integer, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("at", MOMENT, nullable=False),
    Column("actor", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)
