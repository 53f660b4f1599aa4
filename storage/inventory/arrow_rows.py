"""Rows of Parquet and ORC files, read by pyarrow, which is an extra: s3migrate[inventory]."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any

from schema.errors import InventoryCorrupt, UsageError
from storage.inventory.columns import Column, Row, Value, column_named

BATCH = 8192
"""Rows in memory at a time."""


def parquet_rows(file: IO[bytes], name: str) -> Iterator[Row]:
    """The rows of a Parquet *file*; *name* is what messages call it. Raises InventoryCorrupt, UsageError."""
    arrow = _arrow(name)
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
        columns = _columns_of(opened.schema_arrow.names)
        for batch in opened.iter_batches(batch_size=BATCH, columns=list(columns)):
            yield from _rows(batch, columns, name)
    except (arrow.ArrowException, OSError) as error:
        raise InventoryCorrupt(f"{name} is not a Parquet file that can be read: {error}") from None


def orc_rows(file: IO[bytes], name: str) -> Iterator[Row]:
    """The rows of an ORC *file*, as parquet_rows."""
    arrow = _arrow(name)
    from pyarrow import orc

    try:
        opened = orc.ORCFile(file)
        columns = _columns_of(opened.schema.names)
        for number in range(opened.nstripes):
            stripe = opened.read_stripe(number, columns=list(columns))
            for start in range(0, stripe.num_rows, BATCH):
                yield from _rows(stripe.slice(start, BATCH), columns, name)
    except (arrow.ArrowException, OSError) as error:
        raise InventoryCorrupt(f"{name} is not an ORC file that can be read: {error}") from None


def _arrow(name: str) -> Any:
    try:
        import pyarrow as pa
    except ImportError:
        raise UsageError(f"reading {name} needs pyarrow: pip install 's3migrate[inventory]'") from None
    return pa


def _columns_of(names: Iterable[str]) -> dict[str, Column]:
    return {name: column for name in names if (column := column_named(name)) is not None}


def _rows(batch: Any, columns: dict[str, Column], name: str) -> Iterator[Row]:
    read = {column: _values(batch.column(field)) for field, column in columns.items()}
    for number in range(batch.num_rows):
        yield Row({column: values[number] for column, values in read.items()}, name)


def _values(column: Any) -> list[Value]:
    """Text, numbers and truth values as they are; times as milliseconds since the epoch."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("ms", column.type.tz), safe=False).cast(pa.int64())
    elif pa.types.is_binary(column.type):
        column = column.cast(pa.string())
    found: list[Value] = column.to_pylist()
    return found
