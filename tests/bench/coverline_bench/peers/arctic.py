"""ArcticDB in process, on LMDB: one time-indexed data frame per symbol. It has no SQL; data goes in through pandas."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import arcticdb
import pandas as pd
import pyarrow as pa
from arcticdb.version_store.library import ReadRequest, WritePayload

# LMDB maps its file at this size from the beginning; the file itself is as long as the data.
MAP_SIZE = "16GB"


class Arctic:
    def __init__(self, folder: Path, index: str) -> None:
        self.library = arcticdb.Arctic(f"lmdb://{folder}?map_size={MAP_SIZE}").create_library("bench")
        self.index = index
        self.symbols: set[str] = set()

    def append(self, symbol: str, data: pa.Table) -> None:
        frame = data.to_pandas().set_index(self.index)
        # Versions are what makes ArcticDB grow; nobody reads an old one here.
        self.library.append(symbol, frame, prune_previous_versions=True)

    def append_by(self, column: str, data: pa.Table) -> None:
        """One symbol for each value of `column`, all in one batch call."""
        frame = data.to_pandas().set_index(self.index)
        payloads = [WritePayload(str(name), group.drop(columns=column)) for name, group in frame.groupby(column, sort=False)]
        failures = [answer for answer in self.library.append_batch(payloads, prune_previous_versions=True)
                    if isinstance(answer, arcticdb.DataError)]
        if failures:
            raise RuntimeError(f"arcticdb refused {len(failures)} of {len(payloads)} symbols, first: {failures[0]}")
        self.symbols.update(payload.symbol for payload in payloads)

    def read(
        self, symbol: str, columns: list[str] | None = None, start: datetime | None = None, end: datetime | None = None
    ) -> pa.Table:
        """The rows of one symbol in the half-open range from `start` to `end`, whose bounds are whole microseconds."""
        # Their ranges include the end.
        last = None if end is None else pd.Timestamp(end - timedelta(microseconds=1))
        first = None if start is None else pd.Timestamp(start)
        whole = start is None and end is None
        return self.library.read(
            symbol,
            columns=columns,
            date_range=None if whole else (first, last),
            output_format=arcticdb.OutputFormat.PYARROW,
        ).data

    def last_rows(self, columns: list[str]) -> pa.Table:
        """The last row of every symbol: the symbol, its time and `columns`."""
        symbols = sorted(self.symbols)
        requests = [ReadRequest(symbol, row_range=(-1, None), columns=columns) for symbol in symbols]
        answers = self.library.read_batch(requests, output_format=arcticdb.OutputFormat.PYARROW)
        return pa.concat_tables(answer.data for answer in answers).add_column(0, "symbol", pa.array(symbols))
