"""Asks by pandas what a table holds since some moment, and what is missing in it."""

from __future__ import annotations

import argparse

import adbc_driver_flightsql.dbapi as adbc
import pandas as pd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("since", help="for example 2025-03-01T12:00:00Z", type=pd.Timestamp)
    arguments = parser.parse_args()

    with adbc.connect(f"grpc://{arguments.address}", autocommit=True) as connection:
        name = arguments.table.replace('"', '""')
        # pandas binds no parameters over ADBC, so the moment becomes text of the statement. It was parsed: it brings no SQL along.
        held = pd.read_sql(
            f'SELECT symbol, min(ts) AS first, max(ts) AS last, count(*) AS n FROM "{name}" '
            f"WHERE ts >= '{arguments.since.isoformat()}' GROUP BY symbol ORDER BY symbol",
            connection,
        )
        for row in held.itertuples():
            print(f"{row.symbol}: {text(row.first)} to {text(row.last)}, {row.n} rows")
        quoted = arguments.table.replace("'", "''")
        missing = pd.read_sql(f"SELECT * FROM gaps('{quoted}') ORDER BY symbol, gap_start", connection)
        for row in missing.itertuples():
            print(f"{row.symbol}: nothing from {text(row.gap_start)} to {text(row.gap_end)}, {row.missing_buckets} buckets")


def text(moment: pd.Timestamp) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


if __name__ == "__main__":
    main()
