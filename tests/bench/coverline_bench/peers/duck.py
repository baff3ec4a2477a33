"""DuckDB in process: over Parquet files written by pyarrow, and on its own storage."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq


class DuckParquet:
    """One zstd Parquet file per append, queried in place."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.files = 0
        self.connection = duckdb.connect()

    def append(self, data: pa.Table) -> None:
        pq.write_table(data, self.folder / f"{self.files:05d}.parquet", compression="zstd")
        self.files += 1

    def view(self, name: str) -> None:
        self.connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet('{self.folder}/*.parquet')")

    def sql(self, query: str) -> pa.Table:
        return self.connection.sql(query).to_arrow_table()


class DuckNative:
    """DuckDB's own database file."""

    def __init__(self, file: Path, name: str) -> None:
        self.connection = duckdb.connect(str(file))
        self.name = name
        self.created = False

    def append(self, data: pa.Table) -> None:
        self.connection.register("incoming", data)
        verb = f"INSERT INTO {self.name}" if self.created else f"CREATE TABLE {self.name} AS"
        self.connection.execute(f"{verb} SELECT * FROM incoming")
        self.created = True

    def sql(self, query: str) -> pa.Table:
        return self.connection.sql(query).to_arrow_table()
