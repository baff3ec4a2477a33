"""Asks by ADBC what a table holds since some moment, and what is missing in it."""

from __future__ import annotations

import argparse
import datetime

import adbc_driver_flightsql.dbapi as adbc


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("since", help="for example 2025-03-01T12:00:00Z", type=moment)
    arguments = parser.parse_args()

    with adbc.connect(f"grpc://{arguments.address}", autocommit=True) as connection, connection.cursor() as cursor:
        name = arguments.table.replace('"', '""')
        cursor.execute(
            f'SELECT symbol, min(ts), max(ts), count(*) FROM "{name}" WHERE ts >= ? GROUP BY symbol ORDER BY symbol',
            (arguments.since,),
        )
        for symbol, first, last, rows in cursor:
            print(f"{symbol}: {text(first)} to {text(last)}, {rows} rows")
        # The argument of a table function is part of the plan, so it is text of the statement and no parameter.
        quoted = arguments.table.replace("'", "''")
        cursor.execute(f"SELECT symbol, gap_start, gap_end, missing_buckets FROM gaps('{quoted}') ORDER BY symbol, gap_start")
        for symbol, start, end, buckets in cursor:
            print(f"{symbol}: nothing from {text(start)} to {text(end)}, {buckets} buckets")


def moment(written: str) -> datetime.datetime:
    # Python 3.10 does not know the Z.
    return datetime.datetime.fromisoformat(written.replace("Z", "+00:00"))


def text(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"


if __name__ == "__main__":
    main()
