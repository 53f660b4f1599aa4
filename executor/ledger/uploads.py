"""Multipart uploads in progress and irreversible intents: durable before the world changes, fenced like all else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row, delete, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from executor.ledger.database import Database
from executor.ledger.flush import storable
from executor.ledger.leases import require_lease
from executor.ledger.values import Chunk, PartRecord, UploadRecord
from schema.errors import LeaseLost
from schema.tables import intent, upload, upload_part

OPEN, REPLACED = 1, 2


def record_upload(database: Database, chunk: Chunk, record: UploadRecord) -> None:
    """Note an upload before its first part. An earlier open one of the same object stays known, to be aborted.

    Raises LeaseLost. Saying the same again changes nothing.
    """
    with database.transaction() as connection:
        require_lease(connection, chunk)
        of_object = (
            upload.c.run_id == chunk.run_id,
            upload.c.batch_no == record.batch_no,
            upload.c.ord == record.ord,
        )
        others = update(upload).where(*of_object, upload.c.upload_id != record.upload_id, upload.c.state == OPEN)
        connection.execute(others.values(state=REPLACED))
        values = {**record._asdict(), "run_id": chunk.run_id, "state": OPEN, "key": encoded(record.key)}
        statement = upsert(upload).values(values)
        connection.execute(statement.on_conflict_do_update(index_elements=upload.primary_key, set_={"state": OPEN}))


def find_upload(
    database: Database, run_id: int, batch_no: int, ord: int
) -> tuple[UploadRecord, list[PartRecord]] | None:
    """The object's open upload with the parts recorded of it, by number."""
    with database.transaction() as connection:
        row = connection.execute(
            select(upload).where(
                upload.c.run_id == run_id, upload.c.batch_no == batch_no, upload.c.ord == ord, upload.c.state == OPEN
            )
        ).one_or_none()
        if row is None:
            return None
        parts = connection.execute(
            select(upload_part)
            .where(
                upload_part.c.run_id == run_id,
                upload_part.c.batch_no == batch_no,
                upload_part.c.ord == ord,
                upload_part.c.upload_id == row.upload_id,
            )
            .order_by(upload_part.c.part_no)
        ).all()
    return upload_of(row), [PartRecord(p.part_no, p.etag, bytes(p.checksum), p.size) for p in parts]


def record_parts(database: Database, chunk: Chunk, ord: int, parts: Sequence[PartRecord]) -> None:
    """Note acknowledged parts of the object's open upload; a part sent again replaces its record.

    Raises LeaseLost, also when the upload is no longer known.
    """
    if not parts:
        return
    with database.transaction() as connection:
        require_lease(connection, chunk)
        upload_id = connection.execute(
            select(upload.c.upload_id).where(
                upload.c.run_id == chunk.run_id,
                upload.c.batch_no == chunk.batch_no,
                upload.c.ord == ord,
                upload.c.state == OPEN,
            )
        ).scalar_one_or_none()
        if upload_id is None:
            raise LeaseLost(f"the upload of object {ord} in chunk {chunk.chunk_no} of run {chunk.run_id} was forgotten")
        place = {"run_id": chunk.run_id, "batch_no": chunk.batch_no, "ord": ord, "upload_id": upload_id}
        newest = {part.part_no: part for part in parts}
        statement = upsert(upload_part).values([{**place, **part._asdict()} for part in newest.values()])
        changed = {name: statement.excluded[name] for name in ("etag", "checksum", "size")}
        connection.execute(statement.on_conflict_do_update(index_elements=upload_part.primary_key, set_=changed))


def forget_upload(database: Database, chunk: Chunk, ord: int) -> None:
    """Drop the object's open upload: it was completed, or the server no longer knows it. Raises LeaseLost."""
    with database.transaction() as connection:
        require_lease(connection, chunk)
        connection.execute(
            delete(upload).where(
                upload.c.run_id == chunk.run_id,
                upload.c.batch_no == chunk.batch_no,
                upload.c.ord == ord,
                upload.c.state == OPEN,
            )
        )


def open_uploads(database: Database, run_id: int) -> Iterator[UploadRecord]:
    """Every upload of the run that was neither completed nor aborted, replaced ones included."""
    query = select(upload).where(upload.c.run_id == run_id).order_by(upload.c.batch_no, upload.c.ord)
    with database.transaction() as connection:
        rows = connection.execute(query).all()
    return map(upload_of, rows)


def close_upload(database: Database, run_id: int, batch_no: int, ord: int, upload_id: str | None) -> None:
    """Forget an aborted upload; *upload_id* None: every one of the object. Not fenced: for the janitor."""
    statement = delete(upload).where(upload.c.run_id == run_id, upload.c.batch_no == batch_no, upload.c.ord == ord)
    if upload_id is not None:
        statement = statement.where(upload.c.upload_id == upload_id)
    with database.transaction() as connection:
        connection.execute(statement)


def record_intent(database: Database, chunk: Chunk, ord: int, what: str) -> None:
    """Note what is about to be done to an object and cannot be undone; durable on return. Raises LeaseLost."""
    with database.transaction() as connection:
        require_lease(connection, chunk)
        connection.execute(text("SET LOCAL synchronous_commit = on"))
        row = {"run_id": chunk.run_id, "batch_no": chunk.batch_no, "ord": ord, "token": chunk.token}
        connection.execute(insert(intent), {**row, "what": storable(what)})


def encoded(key: str) -> bytes:
    """A key as bytes: PostgreSQL's text cannot hold a NUL."""
    return key.encode(errors="surrogatepass")


def upload_of(row: Row[Any]) -> UploadRecord:
    """A row of the upload table as a value."""
    return UploadRecord(
        batch_no=row.batch_no,
        ord=row.ord,
        bucket=row.bucket,
        key=bytes(row.key).decode(errors="surrogatepass"),
        upload_id=row.upload_id,
        source_etag=row.source_etag,
        source_version=row.source_version,
        source_size=row.source_size,
        part_size=row.part_size,
        parts=row.parts,
    )
