"""Appends CSV files of hourly prices to a table by ADBC, each as one version.

Run it twice: the second time every file is refused as already loaded, and the table stays as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import pyarrow as pa
from overlap import overlap_of
from pyarrow import csv

COLUMNS = {"ts": pa.timestamp("us", "UTC"), "symbol": pa.string(), "close": pa.float64()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("files", metavar="FILE.csv", nargs="+", type=Path)
    arguments = parser.parse_args()

    # Every statement and every ingestion commits by itself, which ADBC is told by autocommit.
    with adbc.connect(f"grpc://{arguments.address}", autocommit=True) as connection, connection.cursor() as cursor:
        name = arguments.table.replace('"', '""')
        cursor.execute(
            f'CREATE TABLE IF NOT EXISTS "{name}" '
            "(ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE) "
            "WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')"
        )
        for file in arguments.files:
            try:
                rows = append(cursor, arguments.table, file)
            except adbc.Error as error:
                overlap = overlap_of(error)
                if overlap is None:
                    raise
                print(f"{file.name}: {overlap}")
            else:
                print(f"{file.name}: {rows} rows")


def append(cursor: Any, table: str, file: Path) -> int:
    """Sends a file as one append, read in pieces: all of it becomes one version, or nothing does."""
    batches = csv.open_csv(file, convert_options=csv.ConvertOptions(column_types=COLUMNS))
    return int(cursor.adbc_ingest(table, batches, mode="append"))


if __name__ == "__main__":
    main()
