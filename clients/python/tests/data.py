"""Rows for tests."""

from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

UTC = datetime.timezone.utc
DAY = datetime.datetime(2025, 3, 1, tzinfo=UTC)
SYMBOLS = ("AAPL", "NVDA")

SCHEMA = pa.schema(
    [
        pa.field("ts", pa.timestamp("us", "UTC")),
        pa.field("symbol", pa.string()),
        pa.field("close", pa.float64()),
    ]
)


def day_of(number: int, *, hours: range = range(24), symbols: tuple[str, ...] = SYMBOLS) -> pa.Table:
    """One row per symbol and hour of a day, counted from 0."""
    start = DAY + datetime.timedelta(days=number)
    rows = [
        {"ts": start + datetime.timedelta(hours=hour), "symbol": symbol, "close": 100.0 + hour}
        for symbol in symbols
        for hour in hours
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def daily_files(folder: Path, count: int) -> list[Path]:
    """Files of consecutive days."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for number in range(count):
        path = folder / f"{(DAY + datetime.timedelta(days=number)).date()}.parquet"
        pq.write_table(day_of(number), path)
        files.append(path)
    return files
