"""chDB: ClickHouse in process, MergeTree ordered by the index."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from chdb import session


class Chdb:
    def __init__(self, folder: Path, table: str, order_by: str) -> None:
        self.session = session.Session(str(folder / "store"))
        self.file = folder / "incoming.parquet"
        self.table = table
        self.order_by = order_by
        self.created = False

    def append(self, data: pa.Table) -> None:
        pq.write_table(data, self.file, compression="zstd")
        source = f"SELECT * FROM file('{self.file}', Parquet)"
        if self.created:
            self.session.query(f"INSERT INTO {self.table} {source}")
        else:
            self.session.query(
                f"CREATE TABLE {self.table} ENGINE = MergeTree ORDER BY {self.order_by} "
                f"SETTINGS allow_nullable_key = 1 AS {source}"
            )
            self.created = True

    def sql(self, query: str) -> pa.Table:
        return self.session.query(query, "ArrowTable")

    def close(self) -> None:
        self.session.close()
