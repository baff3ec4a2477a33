"""Appends CSV files of hourly prices to a table by Polars, each as one version.

Run it twice: the second time every file is refused as already loaded, and the table stays as it is.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import adbc_driver_flightsql.dbapi as adbc
import polars as pl
from overlap import overlap_of

COLUMNS: dict[str, pl.DataType | type[pl.DataType]] = {"ts": pl.Datetime("us", "UTC"), "symbol": pl.String, "close": pl.Float64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("files", metavar="FILE.csv", nargs="+", type=Path)
    arguments = parser.parse_args()

    with adbc.connect(f"grpc://{arguments.address}", autocommit=True) as connection:
        with connection.cursor() as cursor:
            name = arguments.table.replace('"', '""')
            cursor.execute(
                f'CREATE TABLE IF NOT EXISTS "{name}" '
                "(ts TIMESTAMP(6) WITH TIME ZONE NOT NULL, symbol TEXT NOT NULL, close DOUBLE) "
                "WITH (index_column = 'ts', bucket = '1h', entity_columns = 'symbol')"
            )
        for file in arguments.files:
            frame = pl.read_csv(file, schema=COLUMNS)
            try:
                rows = frame.write_database(arguments.table, connection, if_table_exists="append", engine="adbc")
            except adbc.Error as error:
                overlap = overlap_of(error)
                if overlap is None:
                    raise
                print(f"{file.name}: {overlap}")
            else:
                print(f"{file.name}: {rows} rows")


if __name__ == "__main__":
    main()
