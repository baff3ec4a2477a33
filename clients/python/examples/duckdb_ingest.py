"""Appends CSV files of hourly prices to a table, each as one version: DuckDB reads them, ADBC sends what it reads.

Run it twice: the second time every file is refused as already loaded, and the table stays as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import duckdb
from overlap import overlap_of

COLUMNS = {"ts": "TIMESTAMPTZ", "symbol": "VARCHAR", "close": "DOUBLE"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("files", metavar="FILE.csv", nargs="+", type=Path)
    arguments = parser.parse_args()

    with adbc.connect(f"grpc://{arguments.address}", autocommit=True) as connection, connection.cursor() as cursor:
        name = arguments.table.replace('"', '""')
        cursor.execute(
            f'CREATE TABLE IF NOT EXISTS "{name}" '
            "(ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE) "
            "WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')"
        )
        for file in arguments.files:
            # A relation is run when it is read: the file goes through DuckDB in pieces, and may be filtered or joined on the way.
            rows_of_file = duckdb.read_csv(str(file), columns=COLUMNS)
            try:
                rows = cursor.adbc_ingest(arguments.table, rows_of_file.to_arrow_reader(), mode="append")
            except adbc.Error as error:
                overlap = overlap_of(error)
                if overlap is None:
                    raise
                print(f"{file.name}: {overlap}")
            else:
                print(f"{file.name}: {rows} rows")


if __name__ == "__main__":
    main()
