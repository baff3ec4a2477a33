"""Polars in process, over Parquet files: lazy frames in place of SQL."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow as pa


class Bars:
    """The bars of a folder of Parquet files."""

    def __init__(self, folder: Path) -> None:
        self.files = folder / "*.parquet"

    def _scan(self) -> pl.LazyFrame:
        # Anew for each question, as another file may have come.
        return pl.scan_parquet(self.files)

    def symbol(
        self, symbol: str, columns: list[str], start: datetime | None = None, end: datetime | None = None
    ) -> pa.Table:
        rows = self._scan().filter(pl.col("symbol") == symbol)
        if start is not None and end is not None:
            rows = rows.filter(pl.col("ts") >= start, pl.col("ts") < end)
        return rows.select(columns).collect().to_arrow()

    def last(self) -> pa.Table:
        """Symbol, time and close of the last row of each symbol."""
        by_time = pl.col("close").sort_by("ts").last()
        return self._scan().group_by("symbol").agg(pl.col("ts").max(), by_time).collect().to_arrow()

    def daily_candles(self) -> pa.Table:
        return (
            self._scan()
            .group_by("symbol", pl.col("ts").dt.truncate("1d").alias("day"))
            .agg(
                pl.col("open").sort_by("ts").first(),
                pl.col("high").max(),
                pl.col("low").min(),
                pl.col("close").sort_by("ts").last(),
                pl.col("volume").sum(),
            )
            .collect()
            .to_arrow()
        )

    def cross_section(self, start: datetime, end: datetime) -> pa.Table:
        """Symbol, close and volume of every bar in the half-open range."""
        within = self._scan().filter(pl.col("ts") >= start, pl.col("ts") < end)
        return within.select("symbol", "close", "volume").collect().to_arrow()
