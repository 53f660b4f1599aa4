"""Multipart uploads in progress: known before their first part, every acknowledged part a checkpoint, all fenced."""

from __future__ import annotations

from collections.abc import Sequence

from executor.ledger.database import Database, Row, Transaction
from executor.ledger.leases import require_lease
from executor.ledger.values import Chunk, PartRecord, UploadRecord, UploadState
from schema.errors import LeaseLost

UPLOAD_COLUMNS = ", ".join(UploadRecord._fields)
PART_COLUMNS = ", ".join(PartRecord._fields)
OF_OBJECT = "run_id = :run_id AND batch_no = :batch_no AND ord = :ord"
OPEN_OF_OBJECT = f"{OF_OBJECT} AND state = {UploadState.OPEN:d}"


class Uploads:
    """The uploads of every object in parts. An object has at most one that is open."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, chunk: Chunk, upload: UploadRecord) -> None:
        """Record an upload before its first part. An earlier open one of the same object stays known, to be aborted.

        Raises LeaseLost. Idempotent.
        """
        with self._database.transaction() as transaction:
            require_lease(transaction, chunk)
            transaction.run(
                f"""
                UPDATE ledger.upload SET state = {UploadState.REPLACED:d}
                 WHERE {OPEN_OF_OBJECT} AND upload_id <> :upload_id""",
                **{**_place(chunk, upload.ord), "batch_no": upload.batch_no, "upload_id": upload.upload_id},
            )
            row = {**upload._asdict(), "run_id": chunk.run_id, "state": UploadState.OPEN, "key": encoded(upload.key)}
            again = "(run_id, batch_no, ord, upload_id) DO UPDATE SET state = excluded.state"
            transaction.insert("upload", [row], on_conflict=again)

    def find(self, run_id: int, batch_no: int, ord: int) -> tuple[UploadRecord, list[PartRecord]] | None:
        """The object's open upload with the parts recorded of it, by number."""
        with self._database.transaction() as transaction:
            return find_upload(transaction, run_id=run_id, batch_no=batch_no, ord=ord)

    def record_parts(self, chunk: Chunk, ord: int, parts: Sequence[PartRecord]) -> None:
        """Record acknowledged parts of the object's open upload; a part sent again replaces its record.

        Raises LeaseLost, also when the upload is no longer known.
        """
        if not parts:
            return
        with self._database.transaction() as transaction:
            require_lease(transaction, chunk)
            place = _place(chunk, ord)
            upload_id = transaction.value(f"SELECT upload_id FROM ledger.upload WHERE {OPEN_OF_OBJECT}", **place)
            if upload_id is None:
                raise LeaseLost(
                    f"run {chunk.run_id}, chunk {chunk.chunk_no}: the upload of object {ord} is no longer in the ledger"
                )
            newest = {part.part_no: part for part in parts}
            transaction.insert(
                "upload_part",
                [{**place, "upload_id": upload_id, **part._asdict()} for part in newest.values()],
                on_conflict="(run_id, batch_no, ord, upload_id, part_no) DO UPDATE"
                " SET etag = excluded.etag, checksum = excluded.checksum, size = excluded.size",
            )

    def forget(self, chunk: Chunk, ord: int) -> None:
        """Drop the object's open upload: it was completed, or the server no longer knows it. Raises LeaseLost."""
        with self._database.transaction() as transaction:
            require_lease(transaction, chunk)
            transaction.run(f"DELETE FROM ledger.upload WHERE {OPEN_OF_OBJECT}", **_place(chunk, ord))

    def unfinished(self, run_id: int) -> list[UploadRecord]:
        """Every upload of the run that was neither completed nor aborted, replaced ones included."""
        query = f"SELECT {UPLOAD_COLUMNS} FROM ledger.upload WHERE run_id = :run_id ORDER BY batch_no, ord"
        with self._database.transaction() as transaction:
            return [upload_of(row) for row in transaction.rows(query, run_id=run_id)]

    def close(self, run_id: int, batch_no: int, ord: int, *, upload_id: str | None = None) -> None:
        """Forget an aborted upload; *upload_id* None: every one of the object. Not fenced: for `cleanup`."""
        with self._database.transaction() as transaction:
            transaction.run(
                f"DELETE FROM ledger.upload WHERE {OF_OBJECT} AND (CAST(:id AS text) IS NULL OR upload_id = :id)",
                run_id=run_id,
                batch_no=batch_no,
                ord=ord,
                id=upload_id,
            )


def find_upload(
    transaction: Transaction, *, run_id: int, batch_no: int, ord: int
) -> tuple[UploadRecord, list[PartRecord]] | None:
    """See Uploads.find."""
    place = {"run_id": run_id, "batch_no": batch_no, "ord": ord}
    row = transaction.row(f"SELECT {UPLOAD_COLUMNS} FROM ledger.upload WHERE {OPEN_OF_OBJECT}", **place)
    if row is None:
        return None
    parts = transaction.rows(
        f"SELECT {PART_COLUMNS} FROM ledger.upload_part WHERE {OF_OBJECT} AND upload_id = :upload_id ORDER BY part_no",
        **place,
        upload_id=row.upload_id,
    )
    return upload_of(row), [PartRecord(*part)._replace(checksum=bytes(part.checksum)) for part in parts]


def encoded(key: str) -> bytes:
    """A key as bytes: PostgreSQL's text cannot hold a NUL."""
    return key.encode(errors="surrogatepass")


def upload_of(row: Row) -> UploadRecord:
    """A row of UPLOAD_COLUMNS as a value."""
    return UploadRecord(*row)._replace(key=bytes(row.key).decode(errors="surrogatepass"))


def _place(chunk: Chunk, ord: int) -> dict[str, int]:
    return {"run_id": chunk.run_id, "batch_no": chunk.batch_no, "ord": ord}
