"""Asks what a table holds since some moment, and what is missing in it: DuckDB works on what ADBC fetches as Arrow.

DuckDB's own extension adbc_scanner would do the same from SQL; this needs no extension.
"""

from __future__ import annotations

import argparse
import datetime

import adbc_driver_flightsql.dbapi as adbc
import duckdb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", metavar="HOST:PORT")
    parser.add_argument("table")
    parser.add_argument("since", help="for example 2025-03-01T12:00:00Z", type=moment)
    arguments = parser.parse_args()

    here = duckdb.connect()
    here.execute("SET TimeZone = 'UTC'")
    here.execute("CREATE MACRO text(moment) AS strftime(moment, '%Y-%m-%dT%H:%M:%SZ')")
    with adbc.connect(f"grpc://{arguments.address}", autocommit=True) as connection, connection.cursor() as cursor:
        name = arguments.table.replace('"', '""')
        # The server leaves out what is too old. The rows come in pieces, and DuckDB reads each once.
        cursor.execute(f'SELECT ts, symbol FROM "{name}" WHERE ts >= ?', (arguments.since,))
        here.register("prices", cursor.fetch_record_batch())
        here.execute("SELECT symbol, text(min(ts)), text(max(ts)), count(*) FROM prices GROUP BY symbol ORDER BY symbol")
        for symbol, first, last, rows in here.fetchall():
            print(f"{symbol}: {first} to {last}, {rows} rows")
        # What is missing only the server knows.
        quoted = arguments.table.replace("'", "''")
        cursor.execute(f"SELECT * FROM gaps('{quoted}')")
        here.register("missing", cursor.fetch_record_batch())
        here.execute("SELECT symbol, text(gap_start), text(gap_end), missing_buckets FROM missing ORDER BY symbol, gap_start")
        for symbol, start, end, buckets in here.fetchall():
            print(f"{symbol}: nothing from {start} to {end}, {buckets} buckets")


def moment(written: str) -> datetime.datetime:
    # Python 3.10 does not know the Z.
    return datetime.datetime.fromisoformat(written.replace("Z", "+00:00"))


if __name__ == "__main__":
    main()
